"""`medallion lineage trace|series|verify`: traces a number to its messages, and proves that no message is missing."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain, islice
from typing import Annotated

import orjson
import typer

from cli.cold.lineage_series import lineage_series
from cli.cold.offload import (
    FORMATS,
    FromOption,
    ProofError,
    StrictOption,
    ToOption,
    require_equal,
    utc,
)
from cli.cold.printing import print_lineage, print_verification, sum_markets
from cli.cold.progress import of_tables
from cli.cold.trace_printing import (
    print_all_trades,
    print_candle_trades,
    print_candles,
    print_changes,
    print_trace,
)
from cli.common.arguments import check_names, check_span
from cli.common.context import DataDirOption, JsonOption, load_settings, out, print_json, print_table
from cli.common.tiers import tiers_of
from cli.common.work import Work, working
from config.settings import Settings
from ddl.layers import load_layers
from offload.proof.candle_trades import CandleTrade, CandleTrades
from offload.proof.counts import (
    GoneMessages,
    LineageCount,
    LostMessage,
    Overlap,
    find_gone,
    find_missing,
    find_not_in_raw,
    find_overlaps,
    stream_lineage,
)
from offload.proof.trace import MISSING, Tracer
from offload.proof.trace_candle import CandleTrace, compare_with_trades
from offload.proof.value_changes import ValueChange
from offload.proof.verify import VerifyReport
from offload.proof.verify import verify as verify_cold

app = typer.Typer(help="Where every number came from.", no_args_is_help=True)

# How many missing messages are named. The counts say how many there are.
NAMED = 100
HOUR = timedelta(hours=1)

app.command("series")(lineage_series)


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
    """Prove by counting that every raw message is in one of Silver, duplicates and DLQ, and that these have no other,
    that no match of a market counts twice, and that hot equals cold.

    By exchange, symbol and hour of arrival; exit 1 if a count is wrong, naming what differs. Hours that ClickHouse
    has dropped are counted in Iceberg; without --from the count begins with the first hour of Raw in ClickHouse. What
    could not be compared is named with its reason. So are offsets that hot Raw skipped: the broker deleted these
    messages before ClickHouse read them. With --strict both are exit 1, too.
    """
    check_span(since, until)
    tiers = tiers_of(load_settings(data_dir))
    hot, tables = tiers.hot, tiers.cold.load_all()
    unchanged = "Nothing was changed."
    with working("Counting", unchanged, quiet=as_json) as work:
        proof = _Proof(work)
        counts = proof.watch(stream_lineage(hot, utc(since), utc(until), tables=tables))
        if as_json:
            _write_counts(counts)
        markets = sum_markets(counts)
    if not as_json:
        print_lineage(markets)
    with working("Comparing with Iceberg", unchanged, quiet=as_json) as work:
        missing = _named(find_missing(hot, *hour, at_most=NAMED, tables=tables) for hour in proof.hours("missing"))
        not_in_raw = _named(
            find_not_in_raw(hot, *hour, at_most=NAMED, tables=tables) for hour in proof.hours("not_in_raw")
        )
        overlaps = find_overlaps(hot, utc(since), utc(until))
        gone = find_gone(hot, utc(since), utc(until), at_most=NAMED)
        cold = None
        if not count_only:
            cold = verify_cold(tiers, start=utc(since), end=utc(until), progress=of_tables(work))
    findings = _Findings(proof, missing, not_in_raw, gone, overlaps, cold)
    if as_json:
        _write_findings(findings)
    else:
        _print_findings(findings)
    if not proof.holds:
        raise ProofError("Some messages are not in Raw and in exactly one other place.")
    if overlaps:
        raise ProofError("Some matches are in Silver twice, summed up and singly, in the markets named above.")
    if cold is not None:
        require_equal(cold, strict=strict)
    if gone and strict:
        raise ProofError("Raw skipped the offsets named above: no layer can count these messages (--strict).")


def _named(found: Iterable[Sequence[LostMessage]]) -> list[LostMessage]:
    """The first of the messages."""
    return list(islice(chain.from_iterable(found), NAMED))


class _Proof:
    """Keeps from the streamed counts those that do not hold, and the hours with missing messages."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self.failing: list[LineageCount] = []
        self.messages = 0
        self._hours: set[datetime] = set()

    @property
    def holds(self) -> bool:
        return not self.failing

    @property
    def counted(self) -> dict[str, object]:
        """How many messages, and of which arrival hours (UTC, the last one included)."""
        hours = sorted(self._hours)
        span = {"from": hours[0], "to": hours[-1] + HOUR} if hours else {"from": None, "to": None}
        return {"messages": self.messages, "hours": len(hours), **span}

    def hours(self, of: str) -> list[tuple[datetime, datetime]]:
        """The hours with such messages: `missing`, `not_in_raw`."""
        hours = sorted({count.hour for count in self.failing if getattr(count, of)})
        return [(hour, hour + HOUR) for hour in hours[:NAMED]]

    def watch(self, counts: Iterable[LineageCount]) -> Iterator[LineageCount]:
        for count in counts:
            self.messages += count.raw
            self._hours.add(count.hour)
            self._work.show(f"{self.messages:,} messages of {len(self._hours):,} hours", "the hours after these")
            if not count.holds:
                self.failing.append(count)
            yield count


def _write_counts(counts: Iterable[LineageCount]) -> None:
    """The first half of the JSON document, written one count at a time, since there may be many."""
    output = sys.stdout.buffer
    output.write(b'{"counts": [')
    for number, count in enumerate(counts):
        output.write((b",\n" if number else b"\n") + orjson.dumps(count.model_dump(mode="json")))
    output.write(b"\n],\n")


@dataclass(frozen=True)
class _Findings:
    """The proof after the last count. `cold`: None if hot and cold were not compared."""

    proof: _Proof
    missing: list[LostMessage]
    not_in_raw: list[LostMessage]
    gone: list[GoneMessages]
    overlaps: list[Overlap]
    cold: VerifyReport | None


def _write_findings(found: _Findings) -> None:
    cold = found.cold
    rest = {
        "counted": found.proof.counted,
        "missing": [lost.model_dump(mode="json") for lost in found.missing],
        "not_in_raw": [lost.model_dump(mode="json") for lost in found.not_in_raw],
        "gone": [gone.model_dump(mode="json") for gone in found.gone],
        "counted_twice": [overlap.model_dump(mode="json") for overlap in found.overlaps],
        "cold": None if cold is None else cold.model_dump(mode="json"),
        "holds": found.proof.holds and not found.overlaps and (cold is None or cold.ok),
    }
    sys.stdout.buffer.write(orjson.dumps(rest, option=orjson.OPT_INDENT_2)[1:] + b"\n")
    sys.stdout.buffer.flush()


def _print_findings(found: _Findings) -> None:
    proof, cold = found.proof, found.cold
    if proof.failing:
        print_table(
            "Where it does not hold",
            (
                *("exchange", "symbol", "hour", "raw", "silver", "duplicates", "dead letters", "contradicting"),
                *("missing", "in several", "not in raw"),
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
                    c.not_in_raw,
                )
                for c in proof.failing
            ],
        )
    print_table(
        "Raw messages found nowhere (drained? `medallion drain`)",
        ("topic", "partition", "offset", "exchange", "symbol", "trade id"),
        [
            (m.raw_topic, str(m.raw_partition), str(m.raw_offset), m.exchange, m.symbol, m.trade_id)
            for m in found.missing
        ],
        empty="none",
    )
    if found.not_in_raw:
        print_table(
            "Messages of Silver, duplicates or DLQ that Raw does not have",
            ("topic", "partition", "offset", "exchange", "symbol", "trade id"),
            [
                (m.raw_topic, str(m.raw_partition), str(m.raw_offset), m.exchange, m.symbol, m.trade_id)
                for m in found.not_in_raw
            ],
        )
    if found.gone:
        print_table(
            "Offsets that Raw skipped: gone from the broker before ClickHouse read them, or without content",
            ("topic", "partition", "first", "last", "messages", "before (UTC)"),
            [
                (
                    gone.raw_topic,
                    str(gone.raw_partition),
                    str(gone.first_offset),
                    str(gone.last_offset),
                    gone.messages,
                    gone.arrived_at,
                )
                for gone in found.gone
            ],
        )
    if found.overlaps:
        print_table(
            "Trades whose matches another trade counts as well",
            ("exchange", "symbol", "trades", "first trade id"),
            [(overlap.exchange, overlap.symbol, str(overlap.trades), overlap.trade_id) for overlap in found.overlaps],
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
    trades: Annotated[
        bool,
        typer.Option("--trades", help="With --candle: list all its trades, with payload, file and snapshot of each."),
    ] = False,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Follow one trade or candle through every layer, hot and cold.

    A rejected trade is shown with the limit it broke, a rescued one with its rejection; a candle with how many trades
    it is made of, the first and the last with their payloads, the offsets, and the Iceberg files and snapshots. Exit 1
    if a value changed on the way, or if there is no such trade or candle.
    """
    if (trade_id is None) == (candle is None) or (candle is None) != (at is None):
        raise typer.BadParameter("give --trade-id, or --candle with --at", param_hint="--trade-id")
    frames = [frame.code for frame in load_layers().timeframes]
    if candle is not None and candle not in frames:
        raise typer.BadParameter(f"choose one of {', '.join(frames)}", param_hint="--candle")
    if trade_id is not None and trades:
        raise typer.BadParameter("it is for a candle: give --candle and --at", param_hint="--trades")
    settings, moment = load_settings(data_dir), utc(at)
    tracer = Tracer(tiers_of(settings))
    if candle is not None and moment is not None:
        changes = _trace_candle(tracer, settings, exchange, symbol, candle, moment, all_trades=trades, as_json=as_json)
    else:
        changes = _trace_trade(tracer, settings, exchange, symbol, trade_id or "", as_json=as_json)
    if changes:
        raise ProofError(f"Changed first in {changes[0].layer}: {changes[0].field}.")


def _trace_trade(
    tracer: Tracer, settings: Settings, exchange: str, symbol: str, trade_id: str, *, as_json: bool
) -> tuple[ValueChange, ...]:
    trace = tracer.trade(exchange, symbol, trade_id)
    if trace.fate == MISSING and not trace.sightings:
        check_names(settings, exchange, symbol, canonical=True)
    print_json(trace) if as_json else print_trace(trace)
    if trace.fate == MISSING:
        raise ProofError(_missing(f"Trade {trade_id} of {symbol} on {exchange}", was_received=bool(trace.sightings)))
    return trace.changes


def _trace_candle(
    tracer: Tracer,
    settings: Settings,
    exchange: str,
    symbol: str,
    candle: str,
    at: datetime,
    *,
    all_trades: bool,
    as_json: bool,
) -> tuple[ValueChange, ...]:
    found = tracer.candle(candle, exchange, symbol, at)
    if not found.is_there:
        check_names(settings, exchange, symbol, canonical=True)
    made_of = tracer.trades_of_candle(candle, exchange, symbol, at)
    summary = made_of.summary()
    changes = (*found.changes, *compare_with_trades(found, summary))
    if as_json:
        _write_candle(found, summary, made_of.all() if all_trades else None)
    else:
        print_candles([found])
        print_candle_trades(found, summary)
        if all_trades:
            print_all_trades(made_of.all())
        print_changes(changes)
    if not found.is_there:
        raise ProofError(
            f"No candle of {symbol} on {exchange} begins at {found.window_start:%Y-%m-%dT%H:%M:%S} ({candle}): no "
            "trade of that time is in Silver or Iceberg. `medallion dlq list` shows those that were rejected."
        )
    return changes


def _missing(what: str, *, was_received: bool) -> str:
    if was_received:
        return (
            f"{what} was received and is neither in Silver nor a duplicate nor a dead letter: wait for what is on its "
            "way (`medallion drain`), then run this again."
        )
    return f"{what} is in no layer of either tier: check the id, and whether the trade is as old as what is kept."


def _write_candle(candle: CandleTrace, made_of: CandleTrades, trades: Iterable[CandleTrade] | None) -> None:
    """One JSON document; `all_trades` is written one at a time, since there may be many."""
    if trades is None:
        print_json({**candle.model_dump(mode="json"), "trades": made_of})
        return
    output = sys.stdout.buffer
    head = orjson.dumps({**candle.model_dump(mode="json"), "trades": made_of.model_dump(mode="json")})
    output.write(head[:-1] + b',\n"all_trades": [')
    for number, trade in enumerate(trades):
        output.write((b",\n" if number else b"\n") + orjson.dumps(trade.model_dump(mode="json")))
    output.write(b"\n]}\n")
    output.flush()
