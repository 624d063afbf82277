"""How fast a series stores answers, compared with inserts row by row."""
