"""The gate, and the views over both tiers."""
