"""Operating the stack: start, stop, restart, upgrade, restore, a full disk, and what it says of itself."""
