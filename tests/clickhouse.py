"""What every test tells the nodes that it starts, and their clients, of the operator's password: this module only."""

from __future__ import annotations

PASSWORD = "the tests' own"
_VARIABLE = "MEDALLION_CLICKHOUSE_PASSWORD"
# On the node's command line, and in the environment of the node and of whoever talks to it.
ARGUMENTS = ("--password-env", _VARIABLE)
ENVIRONMENT = {_VARIABLE: PASSWORD}
