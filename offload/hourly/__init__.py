"""The offload run, layer by layer, and the progress of the cold tables. May import `files` and below."""
