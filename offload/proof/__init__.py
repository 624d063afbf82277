"""Proofs: counts, hot against cold, one trade through every layer. May import `hourly`, `maintain` and below."""
