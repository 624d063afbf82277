"""The `medallion` command.

Folders: `common` is imported by all others, which have the subcommands.
"""
