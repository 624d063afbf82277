"""Settings of every service and the symbol registry: what an operator may change without touching code.

Imports no other package."""
