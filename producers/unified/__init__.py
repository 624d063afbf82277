"""Any exchange that ccxt knows, by its name alone: ccxt's sockets, requests and parsers behind our envelope."""
