"""The cold tier alone: each layer's offload, re-derivation, and what one would write first instead."""
