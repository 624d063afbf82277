"""The `medallion` command.

Folders: `common` is imported by all others; `stack`, `messages`, `dlq` and `cold` have the subcommands.
"""
