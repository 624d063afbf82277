"""Bronze message → Silver and Gold committed: our worker, and the obvious ways to write one."""
