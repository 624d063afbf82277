"""Finds trades that the stream did not bring, and fills them over REST. May import `rest`, `kafka` and below."""
