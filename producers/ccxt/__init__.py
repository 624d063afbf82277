"""Any exchange that ccxt knows, behind our envelope. May import `stream`, `rest` and what they may import."""
