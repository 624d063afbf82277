"""Asks ClickHouse whether it answers at all, before a statement whose result may take minutes or an hour."""

from __future__ import annotations

from typing import Any

from config.connections import clickhouse_requests
from config.errors import MedallionError
from config.settings import Settings

CONNECT_S = 10
# A busy server answers `/ping` at once, whatever its statements take.
PING_S = 30


class SilentServerError(MedallionError):
    """The server takes connections and does not answer; the message says what to do."""


def check_answers(settings: Settings) -> None:
    """Check that the server answers over HTTP.

    Where nobody takes the connection, nothing is raised: the client that comes next says so.

    Raises:
        SilentServerError: it takes the connection and does not answer.
    """
    # Many commands and services load this module, and few of them ask.
    import requests  # noqa: PLC0415

    connection: dict[str, Any] = clickhouse_requests(settings)
    url = f"{connection.pop('url')}ping"
    try:
        requests.get(url, **connection, allow_redirects=False, stream=True, timeout=(CONNECT_S, PING_S)).close()
    except requests.ReadTimeout as error:
        raise SilentServerError(
            f"The server at {settings.clickhouse_host}:{settings.clickhouse_http_port} takes connections and does not"
            f" answer within {PING_S:g} s: `medallion status` shows whether the stack runs, `medallion down` and `up`"
            " start it again; of a deployed stack, restart ClickHouse, or correct MEDALLION_CLICKHOUSE_HOST and"
            " MEDALLION_CLICKHOUSE_HTTP_PORT."
        ) from error
    except requests.RequestException:
        return
