"""Reads the parameters of a request by Binance's rules: each at most once, each known, each in its range."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from config.valid_times import END_US
from serving import errors
from serving.market_data.intervals import INTERVALS, Interval

_NUMBER = r"^[0-9]{1,20}$"
_WORDS = r"""^(\w{1,20}|\["\w{1,20}"(,"\w{1,20}")*\])$"""
_SYMBOL = r"^[A-Z0-9-_.]{1,20}$"
# Times from here on are µs since the epoch, smaller ones ms: Binance reads both. It is the year 5138 in ms, 1973 in µs.
_LEAST_MICROS = 10**14
_MOST_SYMBOLS = 500
# Binance's first and last time zone, s ahead of UTC.
_WESTMOST, _EASTMOST = -12 * 3_600, 14 * 3_600


class RequestParameters:
    """The parameters of one request; each method reads one of them."""

    def __init__(self, sent: Iterable[tuple[str, str]], known: frozenset[str]) -> None:
        """`known`: the names of the parameters that the endpoint reads.

        Raises:
            ApiError: -1101 for one that is given twice, -1104 for one that is not known, -1105 for an empty one.
        """
        pairs = list(sent)
        values: Mapping[str, str] = dict(pairs)
        if len(values) != len(pairs):
            raise errors.repeated()
        read = len(values.keys() & known)
        if read != len(values):
            raise errors.unread(read, len(values))
        for name, value in values.items():
            if not value:
                raise errors.empty(name)
        self._values = values

    def text(self, name: str) -> str:
        """A required parameter.

        Raises:
            ApiError: -1102.
        """
        if name not in self._values:
            raise errors.missing(name)
        return self._values[name]

    def optional(self, name: str) -> str | None:
        """A parameter, None if it is absent."""
        return self._values.get(name)

    def choice(self, name: str, choices: frozenset[str]) -> str | None:
        """One of `choices`, None if it is absent.

        Raises:
            ApiError: -1130.
        """
        value = self._values.get(name)
        if value is not None and value not in choices:
            raise errors.invalid(name)
        return value

    def words(self, name: str) -> frozenset[str] | None:
        """A word, or a JSON list of words; None if it is absent.

        Raises:
            ApiError: -1100.
        """
        value = self._values.get(name)
        if value is None:
            return None
        if re.fullmatch(_WORDS, value, re.ASCII) is None:
            raise errors.illegal(name, _WORDS)
        return frozenset(re.findall(r"\w+", value))

    def number(self, name: str) -> int | None:
        """A whole number, None if it is absent.

        Raises:
            ApiError: -1100.
        """
        value = self._values.get(name)
        if value is None:
            return None
        if re.fullmatch(_NUMBER, value, re.ASCII) is None:
            raise errors.illegal(name, _NUMBER)
        return int(value)

    def limit(self, default: int, most: int) -> int:
        """The number of rows: `default` if absent, `most` if larger.

        Raises:
            ApiError: -1100, -1130 for 0.
        """
        value = self.number("limit")
        if value == 0:
            raise errors.invalid("limit")
        return default if value is None else min(value, most)

    def times(self) -> tuple[int | None, int | None]:
        """`startTime` and `endTime`, ms since the epoch, both inclusive: the whole ms between those of `times_us`.

        Raises:
            ApiError: -1100, -1128 if the end is before the start.
        """
        start, end = self.times_us()
        return None if start is None else -(-start // 1000), None if end is None else end // 1000

    def times_us(self) -> tuple[int | None, int | None]:
        """`startTime` and `endTime`, µs since the epoch, both inclusive. The client may send ms or µs.

        Raises:
            ApiError: -1100, -1128 if the end is before the start.
        """
        start, end = self._micros("startTime", 0), self._micros("endTime", 999)
        if start is not None and end is not None and end < start:
            raise errors.contradictory()
        return start, end

    def _micros(self, name: str, rest: int) -> int | None:
        """A time, µs. `rest`: µs after the start of a ms, if the client sent ms."""
        value = self.number(name)
        if value is None:
            return None
        return min(value if value >= _LEAST_MICROS else value * 1000 + rest, END_US)

    def interval(self) -> Interval:
        """`interval`.

        Raises:
            ApiError: -1102, -1120.
        """
        code = self.text("interval")
        if code not in INTERVALS:
            raise errors.invalid_interval()
        return INTERVALS[code]

    def zone(self) -> int:
        """`timeZone`: s by which its clocks are ahead of UTC; 0 if absent.

        The text is hours (`8`, `-4`), or hours and minutes (`05:45`).

        Raises:
            ApiError: -1130 for another text, or one outside -12:00 to +14:00.
        """
        found = re.fullmatch(r"([+-]?)(\d{1,2})(?::([0-5]\d))?", self._values.get("timeZone", "0"), re.ASCII)
        if found is None:
            raise errors.invalid("timeZone")
        sign, hours, minutes = found.groups(default="0")
        east = (int(hours) * 60 + int(minutes)) * (-60 if sign == "-" else 60)
        if not _WESTMOST <= east <= _EASTMOST:
            raise errors.invalid("timeZone")
        return east

    def symbols(self, names: frozenset[str]) -> tuple[str, ...] | None:
        """`symbol`, or `symbols` (a JSON list); each must be one of `names`. None: both are absent.

        Raises:
            ApiError: -1100, -1121, -1128 if both are given.
        """
        one, several = self.optional("symbol"), self.optional("symbols")
        if one is not None and several is not None:
            raise errors.contradictory()
        if one is not None:
            return (known_symbol(one, names),)
        if several is None:
            return None
        legal = r"""^\["[A-Z0-9-_.]{1,20}"(,"[A-Z0-9-_.]{1,20}")*\]$"""
        listed = re.fullmatch(r'\[\s*"[^"\\]+"(\s*,\s*"[^"\\]+")*\s*\]', several)
        found = re.findall(r'"([^"]+)"', several) if listed else []
        if not found or len(found) > _MOST_SYMBOLS:
            raise errors.illegal("symbols", legal)
        return tuple(dict.fromkeys(known_symbol(name, names) for name in found))

    def symbol(self, names: frozenset[str]) -> str:
        """`symbol`, which is required and must be one of `names`.

        Raises:
            ApiError: -1100, -1102, -1121.
        """
        return known_symbol(self.text("symbol"), names)


def known_symbol(symbol: str, names: frozenset[str]) -> str:
    """`symbol`, if it is one of `names`.

    Raises:
        ApiError: -1100, -1121.
    """
    if symbol in names:
        return symbol
    if re.fullmatch(_SYMBOL, symbol, re.ASCII) is None:
        raise errors.illegal("symbol", _SYMBOL)
    raise errors.invalid_symbol()
