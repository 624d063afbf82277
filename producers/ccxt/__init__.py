"""Any exchange that ccxt knows, behind our envelope; may import `stream`, `rest` and what they may."""

from producers.ccxt import import_hook

# Before any module of this package imports ccxt.
import_hook.install()
