"""Refuses what a web page of another site makes the operator's browser send.

A page may post text to any address, and a name of its own site may lead to this machine (DNS rebinding). Both show: the
first in `Origin` or `Sec-Fetch-Site`, the second in `Host`.
"""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

_LOCAL = frozenset({"localhost"})
_OWN_SITES = frozenset({"", "none", "same-origin"})


def check(host: str) -> Middleware:
    """A middleware that answers 403 to requests that another site is behind; `host` is the name listened on."""
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
    """Why a request is refused, "" where it is not.

    Args:
        host: the Host header; every browser sends one.
        origin: the Origin header, None where there is none.
        names: host names of our own, lower case; addresses are always ours, since no one can make them lead elsewhere.
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
