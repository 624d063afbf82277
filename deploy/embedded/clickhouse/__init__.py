"""The embedded ClickHouse node: the chDB engine behind ClickHouse's two standard interfaces."""
