"""What one offload run does to each layer, and the progress of the cold tables. May import `files` and below."""
