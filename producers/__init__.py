"""Reads the messages of exchanges, live or recorded, and publishes their trades to the raw topics.

May import `schemas`, `config` and libraries only.
"""
