"""Reads and checks the `options` of a replay, in Tardis Machine's format.

Source: https://docs.tardis.dev/tardis-machine/replaying-historical-data. `pin` is our own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

from config.valid_times import EARLIEST, END
from serving.errors import ApiError
from serving.market_data.markets import Markets

LONGEST_WINDOW_S = 86_400
# The exchanges' names of their channels of trades. Only these channels are recorded.
_CHANNELS = frozenset({"trade", "trades", "trades-all", "publicTrade", "market_trades", "match", "matches"})
_PIN = re.compile(r"[a-z][a-z0-9_]{0,62}")
_ILLEGAL, _INVALID = -1100, -1130


class _Filter(msgspec.Struct, forbid_unknown_fields=True):
    channel: str
    symbols: list[str] = []


class _Options(msgspec.Struct, forbid_unknown_fields=True):
    exchange: str
    since: str = msgspec.field(name="from")
    until: str = msgspec.field(name="to")
    filters: list[_Filter] = []
    with_disconnects: bool = msgspec.field(name="withDisconnects", default=False)
    pin: str = ""


_decoder = msgspec.json.Decoder(_Options)


@dataclass(frozen=True)
class Window:
    """The messages of an exchange that a producer received in [from_us, to_us), µs since the epoch (UTC).

    Attributes:
        exchange: the exchange's code.
        from_us: start, inclusive.
        to_us: end, exclusive.
        spellings: the exchange's own symbols of the wanted markets; empty: all messages.
        pin: name of the pin to read; "": the present rows.
    """

    exchange: str
    from_us: int
    to_us: int
    spellings: tuple[str, ...] = ()
    pin: str = ""


def read_options(text: str, markets: Markets) -> Window:
    """The window of `options`, a JSON object.

    Raises:
        ApiError: -1100 for another text, -1130 for an invalid value, -1121 for a market that the exchange does not
            have; the message says which.
    """
    try:
        options = _decoder.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ApiError(_ILLEGAL, f"Illegal characters found in parameter 'options': {error}.") from error
    if options.exchange not in markets.exchanges:
        raise invalid(f"'exchange' must be one of {', '.join(markets.exchanges)}.")
    if options.with_disconnects:
        raise invalid("'withDisconnects' must be false: Raw has no disconnects. X-Medallion-Missing names known gaps.")
    if options.pin and not _PIN.fullmatch(options.pin):
        raise invalid("'pin' must be the name of a pin, as `medallion pin list` shows it.")
    from_us, to_us = _moment("from", options.since), _moment("to", options.until)
    if not from_us < to_us:
        raise invalid("'from' must be before 'to'.")
    if to_us - from_us > LONGEST_WINDOW_S * 1_000_000:
        raise invalid("'from' and 'to' must be at most 24 hours apart.")
    return Window(options.exchange, from_us, to_us, _spellings(options, markets), options.pin)


def _moment(name: str, text: str) -> int:
    """µs since the epoch of an ISO 8601 date or time; without an offset it is UTC."""
    try:
        parsed = datetime.fromisoformat(text)
        moment = parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
        is_known = EARLIEST <= moment < END
    except (ValueError, OverflowError):
        is_known = False
    if not is_known:
        raise invalid(f"'{name}' must be a time since 1970 such as 2026-11-28 or 2026-11-28T10:00:00.5Z.")
    since = moment - EARLIEST
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def _spellings(options: _Options, markets: Markets) -> tuple[str, ...]:
    """The exchange's own symbols of all filters; () for all markets, if there is no filter or one without symbols."""
    for wanted in options.filters:
        if wanted.channel not in _CHANNELS:
            raise invalid(f"'channel' must be one of {', '.join(sorted(_CHANNELS))}: only trades are recorded.")
    if not options.filters or any(not wanted.symbols for wanted in options.filters):
        return ()
    own_symbols: set[str] = set()
    for symbol in (symbol for wanted in options.filters for symbol in wanted.symbols):
        spellings = markets.spellings(options.exchange, symbol)
        if not spellings:
            raise ApiError(-1121, f"Invalid symbol: {options.exchange} has no market {symbol[:100]!a}.")
        own_symbols |= spellings
    return tuple(sorted(own_symbols))


def invalid(what: str) -> ApiError:
    """An option is not valid, for the reason `what`."""
    return ApiError(_INVALID, f"Data sent for parameter 'options' is not valid: {what}", reason=what)
