"""Rules, amounts, kinds and matches: pure functions."""
