"""ccxt and requests have the parts that our code relies on: an upgrade that moves one fails at once."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

import ccxt
import requests

from producers.ccxt.venue import Socket, VenueMixin, make
from producers.exchanges.model import Rate
from producers.venue_limits import VenueLimits


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
    assert of_clients | {"decompressBinary", "on_message_callback", "closed"} <= {*dir(client)}
    of_venues = {"urls", "options", "streaming", "trades", "clients", "session", "tcp_connector", "on_json_response"}
    of_answers = {"last_http_response", "last_response_headers", "last_request_url"}
    of_venues |= {"markets", "has", "rateLimit", "aiohttp_trust_env", "set_markets", "set_markets_from_exchange"}
    assert of_venues | of_answers <= {*dir(venue)}
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


def test_ccxt_and_requests_have_what_a_list_of_markets_needs() -> None:
    """What `config.symbols.market_lists` uses."""
    exchange = ccxt.kraken()
    assert isinstance(exchange.session, requests.Session)
    assert exchange.markets_by_id is None, "none are loaded yet"
    answer = requests.Response()
    answer._content = b"a list"
    assert answer.content == b"a list"
