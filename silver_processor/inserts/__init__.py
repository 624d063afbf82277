"""One insert made durable, effectively once: intent, fence, ClickHouse, broker. May import `letters` and below."""
