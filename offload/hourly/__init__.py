"""What one offload run does to each layer, and how far the cold tables are. May import `files` and below."""
