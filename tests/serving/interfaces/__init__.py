"""The interfaces of other people's clients."""
