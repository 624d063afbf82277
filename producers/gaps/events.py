"""Publishes gaps as rows of `producer_gaps`: one JSON message for each change of a gap's state.

A producer depends on the broker alone. While ClickHouse is away, events wait on the broker like trades. Any consumer
of trades can consume their gaps, too.
"""

from __future__ import annotations

import msgspec

from config.registry import SymbolRegistry
from config.settings import Settings
from producers.gaps.gap import Gap
from producers.kafka.publisher import KafkaPublisher
from producers.timestamps import now_us


class GapEvent(msgspec.Struct):
    """One state of a gap. Times are µs since the epoch (UTC), 0 for none.

    `symbol` is the canonical symbol. `from_id` and `to_id` are "" where ids have no order. `ids_missing` trades between
    those at `from_time` and `to_time` were missing; `ids_open` of them are not published yet.
    """

    exchange: str
    symbol: str
    exchange_symbol: str
    from_id: str
    to_id: str
    from_time: int
    to_time: int
    ids_missing: int
    ids_open: int
    state: str
    detected_at: int
    healed_at: int
    noted_at: int


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(GapEvent)


def read_event(value: bytes) -> GapEvent | None:
    """Decode a message; None if it is no gap event."""
    try:
        return _decoder.decode(value)
    except (msgspec.DecodeError, RecursionError):
        return None


class GapEvents:
    """Publishes the gaps of one exchange code. Call it with a gap."""

    def __init__(self, publisher: KafkaPublisher, settings: Settings, code: str) -> None:
        """Read the symbol registry.

        Raises:
            RegistryError: the symbols file cannot be used.
        """
        markets = SymbolRegistry.load(settings.symbols_file).content.exchanges.get(code, {})
        self._canonical = {
            name: entry.canonical for symbol, entry in markets.items() for name in (symbol, *entry.aliases)
        }
        self._publisher = publisher
        self._topic = settings.gaps_topic
        self._code = code

    def __call__(self, gap: Gap) -> None:
        """Publish the current state of a gap."""
        note = GapEvent(
            self._code,
            self._canonical.get(gap.symbol, gap.symbol),
            gap.symbol,
            gap.from_id,
            gap.to_id,
            gap.from_us,
            gap.to_us,
            gap.found,
            gap.missing,
            gap.state,
            gap.detected_us,
            gap.healed_us,
            now_us(),
        )
        self._publisher.publish_event(self._topic, f"{self._code}:{gap.symbol}".encode(), _encoder.encode(note))
