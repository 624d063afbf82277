"""Dead letters judged again, and read again. May import `seen` and below."""
