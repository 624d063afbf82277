"""A re-derivation: Bronze, Silver and Gold of a day again. May import `difference`, `publish` and below."""
