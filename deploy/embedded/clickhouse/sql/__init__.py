"""What a client's SQL is, and what it may do: text in, a decision out. Imports nothing of the node but its errors."""
