"""The `medallion` command.

Rooms: `common` (printing, context, SQL); beside each other `stack`, `messages`, `dlq`, `cold`; on top the entry point.
"""
