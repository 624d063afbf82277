"""The page, and what it says of each candle."""
