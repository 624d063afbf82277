"""Makes an insert durable, effectively once: intent, fence, Silver, dead letters. May import `seen` and before."""
