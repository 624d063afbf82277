"""Publishes gaps as rows of `producer_gaps`: one JSON message for each change of a gap's state.

A producer needs only the broker. While ClickHouse is away, gap events wait on the broker, as trades do.
"""

from __future__ import annotations

import msgspec

from config.registry import SymbolRegistry
from config.settings import Settings
from config.valid_times import END_US
from producers.gaps.gap import Gap
from producers.kafka.publisher import KafkaPublisher
from producers.timestamps import now_us


class GapEvent(msgspec.Struct):
    """The state of a gap at one moment. Times are µs since the epoch (UTC), 0 for none.

    `symbol`: the canonical symbol. `from_id`, `to_id`: the first and the last missing id, "" if ids have no order.
    `ids_missing` trades between those at `from_time` and `to_time` were missing at first; `ids_open` of them still are.
    `noted_at`: the time of this event.
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
    """The gap event of a Kafka message; None if it is none, or has times that no layer can store."""
    try:
        event = _decoder.decode(value)
    except (msgspec.DecodeError, RecursionError):
        return None
    times = (event.from_time, event.to_time, event.detected_at, event.healed_at, event.noted_at)
    return event if all(0 <= time < END_US for time in times) else None


class GapEvents:
    """Publishes the gaps of one exchange code. It is called with a gap."""

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
        event = GapEvent(
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
        self._publisher.publish_event(self._topic, f"{self._code}:{gap.symbol}".encode(), _encoder.encode(event))
