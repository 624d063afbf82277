"""The native port."""
