"""Re-derives Bronze, Silver and Gold of a day by today's rules. May import `difference`, `publish` and below."""
