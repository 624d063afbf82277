"""Commands over hot and cold tables, as their user and over shards."""
