"""The cold tier: offload, verify, lineage, pins, re-derivation. May import `common`."""
