"""`medallion lineage trace|verify`: where every number came from, and the proof that none is missing."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Annotated

import orjson
import typer

from cli.cold.offload import FORMATS, FromOption, ProofError, StrictOption, ToOption, judge, utc
from cli.cold.show_trace import print_candles, print_changes, print_trace
from cli.cold.show_verify import print_verification
from cli.common.context import DataDirOption, JsonOption, load_settings, out, print_json, print_table
from ddl.layers import load_layers
from offload.clickhouse.client import ClickHouseHttp
from offload.proof.counts import LineageCount, LostMessage, find_missing, stream_lineage
from offload.proof.overlaps import Overlap, find_overlaps
from offload.proof.trace import Tracer
from offload.proof.verify import VerifyReport
from offload.proof.verify import verify as verify_cold
from offload.tables.catalog import ensure_tables, open_catalog

app = typer.Typer(help="Where every number came from.", no_args_is_help=True)

# Messages that are named; the counts say how many there are.
NAMED = 100
HOUR = timedelta(hours=1)


@app.callback()
def lineage() -> None:
    """Where every number came from."""


@app.command("verify")
def lineage_verify(
    since: FromOption = None,
    until: ToOption = None,
    count_only: Annotated[
        bool, typer.Option("--count-only", help="Only the counting proof; do not compare hot and cold.")
    ] = False,
    strict: StrictOption = False,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Prove by counting that every raw message is in one of Silver, duplicates and DLQ, that no match of a market
    counts twice, and that hot equals cold.

    By exchange, symbol and hour of arrival; exit 1 if one does not hold, naming what differs. Hours that ClickHouse has
    let go are counted in Iceberg; without --from the count begins with the first hour of Raw in ClickHouse. What could
    not be compared is named with its reason; with --strict that is exit 1, too.
    """
    settings = load_settings(data_dir)
    hot = ClickHouseHttp(settings)
    proof = _Proof()
    tables = ensure_tables(open_catalog(settings), settings.iceberg_namespace)
    counts = proof.watch(stream_lineage(hot, utc(since), utc(until), tables=tables))
    if as_json:
        _write_counts(counts)
    else:
        print_lineage(counts)
    missing = [lost for hour in proof.lossy for lost in find_missing(hot, *hour, at_most=NAMED, tables=tables)][:NAMED]
    overlaps = find_overlaps(hot, utc(since), utc(until))
    cold = None if count_only else verify_cold(settings, start=utc(since), end=utc(until))
    if as_json:
        _write_rest(missing, overlaps, cold, proof)
    else:
        _print_rest(missing, overlaps, cold, proof)
    if not proof.holds:
        raise ProofError("Some raw messages are not in exactly one place.")
    if overlaps:
        raise ProofError("Some matches are in Silver twice, summed up and singly, in the markets named above.")
    if cold is not None:
        judge(cold, strict=strict)


class _Proof:
    """What must be remembered of the counts that go by: those that do not hold, and where to look for what is lost."""

    def __init__(self) -> None:
        self.failing: list[LineageCount] = []
        self.messages = 0
        self._hours: set[datetime] = set()

    @property
    def holds(self) -> bool:
        return not self.failing

    @property
    def counted(self) -> dict[str, object]:
        """How many messages, of which hours of arrival (UTC, the last one included)."""
        hours = sorted(self._hours)
        span = {"from": hours[0], "to": hours[-1] + HOUR} if hours else {"from": None, "to": None}
        return {"messages": self.messages, "hours": len(hours), **span}

    @property
    def lossy(self) -> list[tuple[datetime, datetime]]:
        hours = sorted({count.hour for count in self.failing if count.missing})
        return [(hour, hour + HOUR) for hour in hours[:NAMED]]

    def watch(self, counts: Iterable[LineageCount]) -> Iterator[LineageCount]:
        for count in counts:
            self.messages += count.raw
            self._hours.add(count.hour)
            if not count.holds:
                self.failing.append(count)
            yield count


def _write_counts(counts: Iterable[LineageCount]) -> None:
    """The first half of the JSON document, a count at a time: there may be many."""
    output = sys.stdout.buffer
    output.write(b'{"counts": [')
    for number, count in enumerate(counts):
        output.write((b",\n" if number else b"\n") + orjson.dumps(count.model_dump(mode="json")))
    output.write(b"\n],\n")


def _write_rest(missing: list[LostMessage], overlaps: list[Overlap], cold: VerifyReport | None, proof: _Proof) -> None:
    holds = proof.holds and not overlaps and (cold is None or cold.ok)
    rest = {
        "counted": proof.counted,
        "missing": [lost.model_dump(mode="json") for lost in missing],
        "counted_twice": [overlap.model_dump(mode="json") for overlap in overlaps],
        "cold": None if cold is None else cold.model_dump(mode="json"),
        "holds": holds,
    }
    sys.stdout.buffer.write(orjson.dumps(rest, option=orjson.OPT_INDENT_2)[1:] + b"\n")
    sys.stdout.buffer.flush()


def _print_rest(missing: list[LostMessage], overlaps: list[Overlap], cold: VerifyReport | None, proof: _Proof) -> None:
    if proof.failing:
        print_table(
            "Where it does not hold",
            (
                *("exchange", "symbol", "hour", "raw", "silver", "duplicates", "dead letters", "contradicting"),
                *("missing", "in several"),
            ),
            [
                (
                    c.exchange,
                    c.symbol,
                    c.hour,
                    c.raw,
                    c.silver,
                    c.duplicates,
                    c.dlq,
                    c.contradicting,
                    c.missing,
                    c.in_several,
                )
                for c in proof.failing
            ],
        )
    print_table(
        "Raw messages found nowhere (drained? `medallion drain`)",
        ("topic", "partition", "offset", "exchange", "symbol", "trade id"),
        [(m.raw_topic, str(m.raw_partition), str(m.raw_offset), m.exchange, m.symbol, m.trade_id) for m in missing],
        empty="none",
    )
    if overlaps:
        print_table(
            "Trades whose matches another trade counts as well",
            ("exchange", "symbol", "trades", "first trade id"),
            [(overlap.exchange, overlap.symbol, str(overlap.trades), overlap.trade_id) for overlap in overlaps],
        )
    counted = proof.counted
    if proof.messages:
        hours = "1 hour" if counted["hours"] == 1 else f"{counted['hours']} hours"
        out.print(f"Counted: {proof.messages:,} messages that arrived in {hours}", style="bold")
    else:
        out.print("Counted: no message. There is none in the span that ClickHouse or Iceberg has.", style="bold")
    if cold is None:
        out.print("Hot and cold were not compared (--count-only).")
    else:
        print_verification(cold)


@app.command("trace")
def lineage_trace(
    exchange: Annotated[str, typer.Option(help="Exchange-and-market code.")],
    symbol: Annotated[str, typer.Option(help="Canonical symbol, or the exchange's own.")],
    trade_id: Annotated[str | None, typer.Option(help="The exchange's trade id.")] = None,
    candle: Annotated[str | None, typer.Option(help="Instead of a trade a candle, by its time frame: 1m.")] = None,
    at: Annotated[datetime | None, typer.Option(help="A time within the candle (UTC).", formats=FORMATS)] = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Follow one trade or candle through every layer, hot and cold; exit 1 if a value changed on the way."""
    if (trade_id is None) == (candle is None) or (candle is None) != (at is None):
        raise typer.BadParameter("give --trade-id, or --candle with --at", param_hint="--trade-id")
    frames = [frame.code for frame in load_layers().timeframes]
    if candle and candle not in frames:
        raise typer.BadParameter(f"choose one of {', '.join(frames)}", param_hint="--candle")
    tracer = Tracer(load_settings(data_dir))
    if trade_id is not None:
        trace = tracer.trade(exchange, symbol, trade_id)
        print_json(trace) if as_json else print_trace(trace)
        changes = trace.changes
    else:
        moment = utc(at)
        assert candle is not None
        assert moment is not None
        found = tracer.candle(candle, exchange, symbol, moment)
        changes = found.changes
        if as_json:
            print_json(found)
        else:
            print_candles([found])
            print_changes(changes)
    if changes:
        raise ProofError(f"Changed first in {changes[0].layer}: {changes[0].field}.")


def print_lineage(counts: Iterable[LineageCount]) -> bool:
    """The counting proof by exchange and symbol, its sum as one line; whether it holds."""
    names = ("raw", "silver", "duplicates", "dlq", "contradicting", "missing", "in_several")
    markets: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0] * len(names))
    for count in counts:
        totals = markets[count.exchange, count.symbol]
        for index, name in enumerate(names):
            totals[index] += getattr(count, name)
    print_table(
        "Lineage: every raw message is in exactly one place",
        ("exchange", "symbol", "raw", "silver", "duplicates", "dead letters", "contradicting", "missing", "in several"),
        [(*market, *totals) for market, totals in sorted(markets.items())],
    )
    raw, silver, duplicates, dlq, contradicting, missing, several = (
        (sum(column) for column in zip(*markets.values(), strict=True)) if markets else (0,) * len(names)
    )
    sign = "=" if raw == silver + duplicates + dlq else "≠"
    out.print(f"raw {raw:,} {sign} silver {silver:,} + duplicates {duplicates:,} + dead letters {dlq:,}", style="bold")
    if contradicting:
        out.print(
            f"{contradicting:,} dead letters contradict Silver's version of their trade: `medallion dlq accept` shows "
            "both and takes the newer one over.",
            style="yellow",
        )
    return sign == "=" and missing == 0 and several == 0
