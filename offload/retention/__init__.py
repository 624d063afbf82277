"""The gate that drops hot partitions, and the views over hot and cold rows. May import `proof` and below."""
