"""From a Bronze message to committed rows of Silver and Gold: our worker, and the obvious ways to write one."""
