"""What one offload run does to each layer, and how far it has come. May import `files` and below."""
