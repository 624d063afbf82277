"""Publishes an exchange's history, from dumps or over REST. May import `gaps` and what it may import."""
