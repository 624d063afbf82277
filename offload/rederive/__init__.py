"""Bronze, Silver and Gold of a day again, by today's rules. May import `difference`, `publish` and below."""
