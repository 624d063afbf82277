"""Reads raw messages from ClickHouse, hot or from Iceberg, in pieces of bounded size."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import IO, Any

from serving.errors import ApiError
from serving.market_data.hot_reader import AccessDeniedError, HotReader, Row
from serving.replay.options import Window, invalid

MOST_MESSAGES = 50_000_000
_MOST_GAPS = 20
# A piece ends with the second in which it reaches so many messages. Its result mostly fits in memory.
_PIECE = 20_000
_SECONDS = 60
_BLOCK = 1 << 18


@dataclass(frozen=True)
class Piece:
    """The messages of some seconds: received in [from_us, to_us), ingested in [first_us, last_us] (µs, UTC)."""

    from_us: int
    to_us: int
    first_us: int
    last_us: int


@dataclass(frozen=True)
class Plan:
    """The queries of a replay.

    Attributes:
        window: the window of the request.
        names: the table and its columns, for the SQL files.
        messages: rows of Raw. A message that Kafka delivered twice counts twice, and is sent once.
        pieces: in the order of time.
        missing: sentences about messages that the window is known to lack.
    """

    window: Window
    names: dict[str, str]
    messages: int
    pieces: tuple[Piece, ...]
    missing: tuple[str, ...]


class RawSource:
    """Reads the windows of replays."""

    def __init__(self, reader: HotReader) -> None:
        self._reader = reader

    async def plan(self, window: Window, now_us: int) -> Plan:
        """Count the messages of a window by second, and cut it into pieces. `now_us`: the time now (µs, UTC).

        Raises:
            ApiError: 403 if Raw may not be read, -1130 for a pin without views or too many messages, -1001, -1007.
        """
        names = await self._names(window)
        try:
            seconds = await self._reader.rows("replay_seconds", _values(window), within=_SECONDS, **names)
        except AccessDeniedError as error:
            reason = "This ClickHouse user may not read Raw: set MEDALLION_CLICKHOUSE_USER to one that may."
            message = "The service's ClickHouse user may not read raw messages."
            raise ApiError(-1002, message, 403, reason) from error
        messages = sum(row["messages"] for row in seconds)
        if messages > MOST_MESSAGES:
            raise invalid(
                f"the window has {messages:,} messages, and one replay at most {MOST_MESSAGES:,}."
                " Ask for a shorter one."
            )
        gaps = await self._reader.rows("replay_gaps", _values(window) | {"limit": _MOST_GAPS + 1})
        return Plan(window, names, messages, tuple(pieces(window, seconds)), tuple(_missing(window, gaps, now_us)))

    async def blocks(self, plan: Plan) -> AsyncIterator[bytes]:
        """The lines of a plan, block by block. Memory holds one block, and a temporary file the rest of a piece.

        Raises:
            ApiError: ClickHouse does not answer.
        """
        async for answer in self._answers(plan, "replay_messages"):
            while block := answer.read(_BLOCK):
                yield block

    def envelopes(self, plan: Plan) -> AsyncIterator[IO[bytes]]:
        """The Kafka messages of a plan: a file of lines for each piece, which is closed when the next one is read.

        Messages without a payload are left out.

        Raises:
            ApiError: (from the iteration) ClickHouse does not answer.
        """
        return self._answers(plan, "replay_envelopes")

    async def _answers(self, plan: Plan, name: str) -> AsyncIterator[IO[bytes]]:
        for piece in plan.pieces:
            values = _values(plan.window) | {
                "from": piece.from_us,
                "to": piece.to_us,
                "first": piece.first_us,
                "last": piece.last_us,
            }
            answer = await self._reader.file(name, values, within=_SECONDS, **plan.names)
            with answer:
                yield answer

    async def _names(self, window: Window) -> dict[str, str]:
        views = await self._reader.rows("replay_views", {"pin_database": f"pin_{window.pin}"})
        found = {(row["place"], row["name"]) for row in views}
        if window.pin:
            if ("pin", "raw_trades") not in found:
                raise invalid(
                    f"ClickHouse has no views of the pin {window.pin} that this user may read."
                    f" `medallion pin show {window.pin} --views` makes them."
                )
            return {"source": f"pin_{window.pin}.raw_trades", "place": "raw_topic, raw_partition, raw_offset"}
        # The first run of the offload makes the view of hot and cold rows.
        table = "trades_raw_all" if ("here", "trades_raw_all") in found else "trades_raw"
        return {"source": table, "place": "_topic, _partition, _offset"}


def pieces(window: Window, seconds: list[Row]) -> list[Piece]:
    """Join seconds (`second`, `messages`, `first_ingested`, `last_ingested`) to pieces that cover all of them."""
    joined: list[Piece] = []
    held: list[Row] = []
    messages = 0
    for number, row in enumerate(seconds, start=1):
        held.append(row)
        messages += row["messages"]
        if messages < _PIECE and number < len(seconds):
            continue
        joined.append(
            Piece(
                max(held[0]["second"] * 1_000_000, window.from_us),
                min((row["second"] + 1) * 1_000_000, window.to_us),
                min(second["first_ingested"] for second in held),
                max(second["last_ingested"] for second in held),
            )
        )
        held, messages = [], 0
    return joined


def _values(window: Window) -> dict[str, Any]:
    return {"exchange": window.exchange, "symbols": window.spellings, "from": window.from_us, "to": window.to_us}


def _missing(window: Window, gaps: list[Row], now_us: int) -> list[str]:
    found = []
    if window.pin:
        found.append(f"What was not in Iceberg when the pin {window.pin} was made.")
    if window.to_us > now_us:
        found.append("What comes after now: the window is not over.")
    found += [
        f"{row['exchange_symbol']}: {row['state']} gap of {row['ids_open'] or 'an unknown number of'} trades "
        f"from {_text(row['from_us'])} to {_text(row['to_us'])}."
        for row in gaps[:_MOST_GAPS]
    ]
    return [*found, *(["More gaps: see the view producer_gaps."] if len(gaps) > _MOST_GAPS else [])]


def _text(micros: int) -> str:
    return datetime.fromtimestamp(micros / 1_000_000, UTC).isoformat(timespec="milliseconds")
