"""The cold tier alone: the offload of each layer, the re-derivation, and obvious ways to write Silver instead."""
