"""The whole pipeline, measured from outside: latency, sustained rate, idle, parts."""
