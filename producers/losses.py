"""What was read from an exchange and not delivered, by market."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import structlog

from config.errors import MedallionError
from producers import metrics

_MARKETS_SAID = 20
_log = structlog.get_logger(__name__)


class PublishError(MedallionError):
    """Messages did not reach the broker."""


def not_acknowledged(
    waiting: int, accepted: int, untaken: int, servers: str, timeout_s: float, detail: str
) -> PublishError:
    """The error of a flush that did not get through."""
    more = f", and {untaken} more were never taken by the full buffer" if untaken else ""
    return PublishError(
        f"{waiting} of {accepted} messages were not acknowledged by {servers} within {timeout_s:g} s{detail}{more};"
        " check that the broker runs and can be reached (MEDALLION_KAFKA_BOOTSTRAP_SERVERS), then send the same input"
        " again, or `medallion backfill` the time: duplicates are harmless"
    )


class Losses:
    """Counts of messages by `<exchange>:<symbol>`, the Kafka key; no symbol where a message was not recognised."""

    def __init__(self) -> None:
        """None yet."""
        self.counts: Counter[str] = Counter()
        #: Of these, given up before a publisher took them.
        self.abandoned = 0

    def abandon(self, keys: Iterable[str]) -> None:
        """Messages that no publisher took."""
        before = self.counts.total()
        self.counts.update(keys)
        self.abandoned += self.counts.total() - before

    def __str__(self) -> str:
        said = [f"{exchange} {symbol or '(no symbol)'} {count:,}" for exchange, symbol, count in self._rows()]
        more = f", and of {len(said) - _MARKETS_SAID:,} markets more" if len(said) > _MARKETS_SAID else ""
        return ", ".join(said[:_MARKETS_SAID]) + more

    def tell(self) -> None:
        """Log and count each market's."""
        for exchange, symbol, count in self._rows():
            metrics.LOST.labels(exchange).inc(count)
            _log.error("not delivered", exchange=exchange, symbol=symbol, messages=count)

    def _rows(self) -> list[tuple[str, str, int]]:
        keys = ((key.partition(":"), count) for key, count in self.counts.most_common())
        return [(exchange, symbol, count) for (exchange, _, symbol), count in keys]
