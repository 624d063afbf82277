"""Finds trades that the stream did not bring, and publishes them from REST. May import `rest`, `kafka` and what they
may import.
"""
