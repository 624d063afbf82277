"""Invariant: ccxt loaded class by class is the ccxt that everybody has, and only what is asked for takes memory."""

from __future__ import annotations

import asyncio
import inspect
import json
import subprocess
import sys
from typing import Any

from producers.ccxt.venue import Socket, VenueMixin, make
from producers.exchanges.model import Rate
from producers.venue_limits import VenueLimits

_CLASSES = """
import json, sys
{first}
import ccxt.async_support, ccxt.pro
loaded = sum(name.startswith("ccxt.") for name in sys.modules)
found = {{
    package.__name__: {{
        name: [[one.__module__, one.__qualname__] for one in getattr(package, name).__mro__]
        for name in package.exchanges
    }}
    for package in (ccxt, ccxt.async_support, ccxt.pro)
}}
names = [name for name in vars(ccxt) if not name.startswith("_")]
print(json.dumps([found, getattr(ccxt.async_support, "mtgox", None), loaded, names]))
"""


def classes(first: str) -> tuple[dict[str, dict[str, object]], object, int, set[str]]:
    script = _CLASSES.format(first=first)
    found, unknown, loaded, names = json.loads(subprocess.check_output([sys.executable, "-c", script]))
    return found, unknown, loaded, set(names)


def test_every_exchange_of_ccxt_is_the_same_class_and_none_is_loaded_before_it_is_asked_for() -> None:
    whole, unknown, many, names = classes("")
    found, unknown_here, few, names_here = classes("import producers.ccxt")
    assert found == whole
    assert len(found["ccxt.pro"]) > 50
    assert unknown is unknown_here is None
    assert names <= names_here
    assert few < 40
    assert many > 300


def test_ccxt_has_the_private_parts_that_our_venue_uses() -> None:
    async def made() -> tuple[Any, Any]:
        rate = Rate(1, 1.0)
        venue = make("kraken", VenueLimits("kraken", rate, rate, failures=1, open_s=1.0), 1.0)
        try:
            return venue, venue.client("ws://127.0.0.1:9")
        finally:
            await venue.close()

    venue, client = asyncio.run(made())
    assert isinstance(client, Socket)
    of_clients = {"subscriptions", "futures", "isConnected", "error", "connection", "gunzip", "inflate"}
    assert of_clients | {"decompressBinary", "on_message_callback"} <= {*dir(client)}
    of_venues = {"urls", "options", "streaming", "trades", "clients", "session", "tcp_connector", "on_json_response"}
    assert of_venues | {"markets", "has", "rateLimit", "last_response_headers"} <= {*dir(venue)}
    of_sockets = (
        "handle_message",
        "handle_text_or_binary_message",
        "receive",
        "create_connection",
        "reject",
        "on_error",
    )
    for ours, theirs, names in (
        (Socket, Socket.__base__, (*of_sockets, "on_error", "on_close")),
        (VenueMixin, type(venue).__mro__[2], ("open", "client")),
    ):
        for name in names:
            expected = inspect.signature(getattr(theirs, name)).parameters
            assert [*inspect.signature(getattr(ours, name)).parameters] == [*expected], name
