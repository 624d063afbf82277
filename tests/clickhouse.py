"""What every test tells the nodes that it starts, and their clients, of the operator's password: this module only."""

from __future__ import annotations

import json

from pydantic import SecretStr

from config.settings import Settings

PASSWORD = "the tests' own"
_VARIABLE = "MEDALLION_CLICKHOUSE_PASSWORD"
# On the node's command line, and in the environment of the node and of whoever talks to it.
ARGUMENTS = ("--password-env", _VARIABLE)
ENVIRONMENT = {_VARIABLE: PASSWORD}


def as_json(settings: Settings) -> str:
    """Settings for a child process of a test, with their secrets, which `model_dump_json` leaves out."""
    secrets = {name: value.get_secret_value() for name, value in settings if isinstance(value, SecretStr)}
    return json.dumps(settings.model_dump(mode="json") | secrets)


# How the names of tables begin that a refresh is filling.
REFRESHING = (".tmp", "_tmp_replace_")
