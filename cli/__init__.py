"""The `medallion` command. It may import every other package.

Folders: `common`, then `coverage`, then those with the subcommands. A folder may import those before it."""
