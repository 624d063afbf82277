"""What leaves the hot tables, and the views over hot and cold rows. May import `proof` and below."""
