"""Publishes an exchange's history, from dumps or over REST; may import `gaps` and what it may."""
