"""Verification, lineage and traces."""
