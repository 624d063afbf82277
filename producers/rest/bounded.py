"""Bounds on HTTP answers: their size, their unpacked size, and no redirects."""

from __future__ import annotations

import zlib
from types import SimpleNamespace
from typing import Any

import aiohttp

# Largest answer of a REST interface, unpacked. A page of 1,000 trades is below 1 MiB; the longest list of
# markets that an exchange serves is below 10 MiB.
ANSWER_BYTES = 16 * 2**20
_PIECE_BYTES = 65_536


class TooLargeError(aiohttp.ClientPayloadError):
    """An answer is larger than the bound. It is discarded."""


class RedirectError(aiohttp.ClientError):
    """A server redirected the request. Redirects are not followed: keys and requests are for one host only."""


class BoundedResponse(aiohttp.ClientResponse):
    """An answer of at most `ANSWER_BYTES`, counted as it is unpacked."""

    async def read(self) -> bytes:
        """The body.

        Raises:
            TooLargeError: the body is larger than the bound.
            aiohttp.ClientError: as aiohttp's own method.
        """
        if self._body is None:
            body = bytearray()
            async for piece in self.content.iter_chunked(_PIECE_BYTES):
                body += piece
                if len(body) > ANSWER_BYTES:
                    self.close()
                    raise TooLargeError(f"{self.url.host} sent an answer of more than {ANSWER_BYTES:,} bytes")
            self._body = bytes(body)
        return self._body


async def _refuse_redirect(
    _session: aiohttp.ClientSession, _context: SimpleNamespace, redirect: aiohttp.TraceRequestRedirectParams
) -> None:
    target = redirect.response.headers.get("Location", "")
    raise RedirectError(f"HTTP {redirect.response.status}: {redirect.url.host} redirects to {target[:200]}")


def bounded_session(**options: Any) -> aiohttp.ClientSession:
    """An aiohttp session with bounded answers. It follows no redirect, not even in a WebSocket handshake."""
    tracing = aiohttp.TraceConfig()
    tracing.on_request_redirect.append(_refuse_redirect)
    return aiohttp.ClientSession(response_class=BoundedResponse, trace_configs=[tracing], **options)


def decompressed(data: bytes, wbits: int, most: int) -> bytes:
    """Unpack `data`, holding at most `most` bytes (`wbits`: as for zlib.decompressobj).

    Raises:
        TooLargeError: it unpacks to more.
        zlib.error: the data is damaged or cut off.
    """
    unpacking = zlib.decompressobj(wbits)
    body = unpacking.decompress(data, most + 1)
    if len(body) > most:
        raise TooLargeError(f"{len(data):,} bytes unpack to more than {most:,}")
    if not unpacking.eof:
        raise zlib.error("cut before its end")
    return body
