"""The cold tier on its own: each layer's offload, the re-derivation, and obvious ways to write Silver instead."""
