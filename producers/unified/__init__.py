"""Any exchange that ccxt knows, by its name alone: ccxt's sockets, requests and parsers behind our envelope."""

from producers.unified import library

# Before any module of this package imports ccxt.
library.install()
