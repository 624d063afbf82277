"""The checks of every request (host, origin, token), and the security headers of every response."""

from __future__ import annotations

import hmac
import time
from collections.abc import Awaitable, Callable
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs, urlsplit

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving import errors, metrics
from serving.errors import ApiError
from serving.rest.endpoints import json_response

COOKIE = "medallion_token"
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
# Health and metrics need no token (docs/threats.md).
_WITHOUT_TOKEN = frozenset({"/healthz", "/readyz", "/metrics"})
_HEADERS = {
    # The chart library puts a style sheet into the page. Everything else comes from this service.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_POLICY_VIOLATION = 1008

log = structlog.get_logger(__name__)


class Guard:
    """Middleware: refuses clients without the token and pages of other sites, adds security headers."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        """`token`: the token that clients must send. "": the service is on the loopback address; then `Host` must be a
        name of it, so that another site's name that resolves to this address is refused.
        """
        self._app = app
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if scope["type"] == "websocket":
            if refusal is not None:
                await send({"type": "websocket.close", "code": _POLICY_VIOLATION, "reason": refusal.message})
                return
            await self._app(scope, receive, send)
            return
        await self._http(refusal, scope, receive, send)

    async def _http(self, refusal: ApiError | None, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(_HEADERS)
                headers.setdefault("Cache-Control", "no-store")
                endpoint = getattr(scope.get("route"), "path", "none")
                metrics.REQUESTS.labels(endpoint, message["status"]).inc()
                metrics.ANSWERS.labels(endpoint).observe(time.perf_counter() - started)
            await send(message)

        if refusal is not None:
            await _answer(refusal)(scope, receive, send_guarded)
            return
        if self._token and scope["path"] == "/" and (given := self._in_address(scope)):
            await self._remember(given)(scope, receive, send_guarded)
            return
        try:
            await self._app(scope, receive, send_guarded)
        except Exception:
            # Starlette has already sent the response of `HANDLERS`.
            log.exception("request failed", path=scope["path"])

    def _refusal(self, scope: Scope) -> ApiError | None:
        headers = Headers(scope=scope)
        if not self._token and _host(headers.get("host", "")) not in LOOPBACK:
            return errors.forbidden()
        origin = headers.get("origin")
        if origin is not None and origin.partition("://")[2] != headers.get("host"):
            return errors.forbidden()
        if self._token and scope["path"] not in _WITHOUT_TOKEN and not self._knows_token(scope, headers):
            return errors.unauthorised()
        return None

    def _knows_token(self, scope: Scope, headers: Headers) -> bool:
        """Whether Binance's API-key header, the bearer token, the cookie or the page's address has the token."""
        given = (
            headers.get("x-mbx-apikey"),
            headers.get("authorization", "").removeprefix("Bearer "),
            _cookie(headers),
            self._in_address(scope),
        )
        return any(one is not None and hmac.compare_digest(one.encode(), self._token.encode()) for one in given)

    def _in_address(self, scope: Scope) -> str | None:
        """The token in the address of the page: a browser's first request cannot send a header."""
        values = parse_qs(scope["query_string"].decode("latin-1")).get("token", []) if scope["path"] == "/" else []
        return values[0] if values else None

    def _remember(self, token: str) -> Response:
        """Redirect to the page without the token in its address, and set the cookie."""
        answer = RedirectResponse("/", 303)
        answer.set_cookie(COOKIE, token, httponly=True, samesite="strict")
        return answer


def _host(header: str) -> str:
    try:
        return urlsplit(f"//{header}").hostname or ""
    except ValueError:
        return ""


def _cookie(headers: Headers) -> str | None:
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return None
    return found.value if found else None


def _answer(error: ApiError) -> Response:
    return json_response({"code": error.code, "msg": error.message}, error.status)


async def _refuse(request: Request, error: Exception) -> Response:
    """An `ApiError` of an endpoint, as JSON."""
    del request
    assert isinstance(error, ApiError)
    return _answer(error)


async def _refuse_path(request: Request, error: Exception) -> Response:
    """A path or a method that does not exist, as JSON."""
    del request
    refusal = errors.not_found()
    return _answer(ApiError(refusal.code, refusal.message, getattr(error, "status_code", refusal.status)))


async def _refuse_failure(request: Request, error: Exception) -> Response:
    """An unexpected error, as JSON. The log has the traceback."""
    del request, error
    return _answer(errors.unavailable())


# The response to each kind of error, for the application behind the guard.
HANDLERS: dict[Any, Callable[[Request, Exception], Awaitable[Response]]] = {
    ApiError: _refuse,
    HTTPException: _refuse_path,
    Exception: _refuse_failure,
}
