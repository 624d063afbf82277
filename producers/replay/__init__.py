"""Publishes recorded messages at a chosen speed; may import `kafka` and what it may."""
