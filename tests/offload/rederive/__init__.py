"""Re-derivation and accepted corrections."""
