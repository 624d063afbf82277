"""Bronze message → Silver and Gold committed: our worker beside the ways that come to mind first."""
