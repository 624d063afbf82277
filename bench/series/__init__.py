"""How fast a series takes answers, beside inserts row by row."""
