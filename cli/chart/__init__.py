"""Candles as a picture: in the terminal, PNG, SVG, HTML. May import `common`."""
