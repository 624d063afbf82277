"""The connection data for clients of ClickHouse: host, ports, database, user, and URLs to paste."""

from __future__ import annotations

from urllib.parse import quote

from cli.common.context import print_table
from config.settings import Settings

ANALYST = "analyst"


def connection(settings: Settings, user: str, password: str = "") -> dict[str, str | int]:
    """The connection data by name; the URLs have the password if one is given.

    Args:
        settings: of the stack.
        user: the user of the client.
        password: of the user; "" to leave it out.
    """
    host, database = settings.clickhouse_host, settings.clickhouse_database
    account = f"{user}:{quote(password, safe='')}" if password else user
    native, http = f"{host}:{settings.clickhouse_port}", f"{host}:{settings.clickhouse_http_port}"
    is_secure = settings.clickhouse_tls
    jdbc_password = f"&password={quote(password, safe='')}" if password else ""
    return {
        "host": host,
        "native_port": settings.clickhouse_port,
        "http_port": settings.clickhouse_http_port,
        "database": database,
        "user": user,
        "native": f"clickhouse{'s' * is_secure}://{account}@{native}/{database}",
        "sqlalchemy": f"clickhousedb://{account}@{http}/{database}{'?secure=true' * is_secure}",
        "jdbc": f"jdbc:clickhouse:{'https' if is_secure else 'http'}://{http}/{database}?user={user}{jdbc_password}",
    }


def print_connection(data: dict[str, str | int], *, has_password: bool) -> None:
    """Print the result of `connection`."""
    title = "Connect a client" + ("" if has_password else " (medallion status --show-password: with the password)")
    print_table(title, ("", "value"), [(name.replace("_", " "), str(value)) for name, value in data.items()])
