"""The cold tier: offload, verify, lineage, pins, re-derivation. Of `cli` it may import only `common`."""
