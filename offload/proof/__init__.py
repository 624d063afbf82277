"""Proofs: counts, hot against cold, traces through every layer. May import `hourly`, `maintain` and below."""
