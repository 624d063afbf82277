"""Finds trades that the stream did not bring and fills them over REST; may import `rest`, `kafka` and what they may."""
