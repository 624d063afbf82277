"""Dead letters: list, show, replay, accept. May import `common`."""
