"""Candles as a picture: in the terminal, PNG, SVG, HTML. Of `cli` it may import only `common`."""
