"""Refuses requests that a web page of another site makes the operator's browser send.

Such a page can post text to any address. It can also make a name of its own site point to this machine (DNS rebinding).
`Origin` and `Sec-Fetch-Site` show the first, `Host` shows the second.
"""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

_LOCAL = frozenset({"localhost"})
_OWN_SITES = frozenset({"", "none", "same-origin"})


def check(host: str) -> Middleware:
    """A middleware that answers 403 to requests from another site. `host` is the name that the server listens on."""
    names = _LOCAL | {host.lower()}

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        reason = refused(request.headers.get("Host", ""), request.headers.get("Origin"), names)
        if request.headers.get("Sec-Fetch-Site", "") not in _OWN_SITES:
            reason = reason or "the request comes from a page of another site"
        if reason:
            return web.Response(text=f"Refused: {reason}\n", status=403)
        return await handler(request)

    return middleware


def refused(host: str, origin: str | None, names: frozenset[str]) -> str:
    """The reason to refuse a request; "" if there is none.

    Args:
        host: the Host header; every browser sends one.
        origin: the Origin header; None if there is none.
        names: our own host names, lower case. An IP address is always accepted: no site can rebind it.
    """
    if host and not _is_ours(host, names):
        return f"the Host header names another machine ({host[:100]!r}): use 127.0.0.1 or localhost"
    if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
        return f"the request comes from a page of another site ({origin[:100]!r})"
    return ""


def _is_ours(host: str, names: frozenset[str]) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    if name in names:
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
