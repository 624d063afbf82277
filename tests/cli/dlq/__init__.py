"""Commands over dead letters."""
