"""One insert made durable, effectively once: intent, fence, Silver, dead letters. May import `seen` and below."""
