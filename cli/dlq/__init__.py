"""Dead letters: list, show, replay, accept. Of `cli` it may import only `common`."""
