"""`medallion demo`: sends recorded and synthetic trades over real WebSockets through every layer."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from cli.cold.printing import print_lineage, print_offload, sum_markets
from cli.cold.progress import offload_with_progress
from cli.common import lag
from cli.common.context import err, out, print_table
from cli.common.statements import http_client, rows
from cli.common.work import explained
from cli.dlq.commands import ALL, print_stats
from config.errors import MedallionError
from config.process import logs
from config.settings import Settings
from deploy.embedded import control
from deploy.embedded.layout import LOCK_FILE, DataDir, data_dir_option
from offload.clickhouse.tiers import Tiers
from offload.proof.counts import count_lineage
from producers.counters import LiveCounters
from producers.kafka.publisher import KafkaPublisher
from producers.live import run as run_live
from producers.replay.run import replay
from producers.simulator.server import Simulator

RECORDINGS = Path(__file__).resolve().parents[1] / "tests" / "recordings"


@dataclass(frozen=True, slots=True)
class DemoFeed:
    """A file of messages of one exchange; `symbols`: what a live producer of them subscribes to."""

    code: str
    file: str
    symbols: tuple[str, ...] = ()
    synthetic: bool = False


LIVE = (
    DemoFeed("binance", "binance_spot_trades.jsonl.gz", ("BTCUSDT", "ETHUSDT")),
    DemoFeed("binance_usdm", "binance_usdm_trades.jsonl.gz", ("BTCUSDT", "ETHUSDT")),
    DemoFeed("kraken", "kraken_v2_btcusdt_synthetic.jsonl.gz", ("BTC/USDT",), synthetic=True),
    DemoFeed(
        "bybit_linear",
        "bybit_v5_linear_synthetic.jsonl.gz",
        ("BTCUSDT", "ETHUSDT", "SOLUSDT", "DOGEUSDT"),
        synthetic=True,
    ),
)
REPLAYED = (
    DemoFeed("kraken", "kraken_v2_btcusd.jsonl"),
    DemoFeed("binance", "binance_bad_input.jsonl", synthetic=True),
)
# The file by which a folder is known as a demo's: the demo empties no other. The default folder is always the demo's:
# versions up to 0.2.0 left no such file.
MARK = "demo"
DEFAULT_FOLDER = Path(".medallion") / "demo"
FEED_TIMEOUT_S = 120.0
DRAIN_TIMEOUT_S = 120.0


class DemoError(MedallionError):
    """The demo cannot run, or did not end with the right numbers; the message says which."""


def demo(
    data_dir: Annotated[
        Path, typer.Option("--data-dir", help="Emptied first, if it holds an earlier demo.")
    ] = DEFAULT_FOLDER,
    recordings: Annotated[Path, typer.Option(help="Folder with the demo's recordings.")] = RECORDINGS,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the stack running for queries afterwards.")] = False,
) -> None:
    """Start an empty stack, feed recorded and synthetic messages over real WebSockets, show every layer's result."""
    missing = [feed.file for feed in (*LIVE, *REPLAYED) if not (recordings / feed.file).is_file()]
    if missing:
        raise DemoError(f"Not in {recordings}: {', '.join(missing)}. Name the folder with --recordings.")
    _take(data_dir)
    # The demo itself prints what its producers would log: a hole of the recording, or a failure.
    logs.configure("CRITICAL", "demo")
    with explained(lambda: _after_stop(data_dir)):
        with err.status("Starting broker, ClickHouse and Silver …"):
            state = control.start(data_dir, 0, 0, 1, lambda _: None)
        settings = Settings.from_environment(state.environment)
        try:
            _feed(settings, recordings)
            _drain(settings)
            complete = _show(settings)
        finally:
            if not keep:
                with err.status("Stopping the stack …"):
                    control.stop(data_dir)
    if not complete:
        raise DemoError("The counts above do not add up: this is a bug. The logs are in " + str(data_dir / "logs"))
    _say_what_next(data_dir, keep=keep)


def _after_stop(data_dir: Path) -> str:
    """What a signal has left of the demo."""
    down = (
        f"may still run: `medallion down {data_dir_option(data_dir)}`" if control.is_running(data_dir) else "is stopped"
    )
    return f"The demo's stack {down}. `medallion demo` starts again with an empty one."


def _say_what_next(data_dir: Path, *, keep: bool) -> None:
    there = data_dir_option(data_dir)
    start = (f"medallion up {there} --detach", "the same stack again, with these trades")
    stop = (f"medallion down {there}", "stops the stack, which runs on")
    out.print("Try next:", style="bold")
    for command, what in (
        *(() if keep else (start,)),
        (f"medallion chart BTCUSDT --exchange binance {there}", "its candles"),
        (f"medallion dlq show {there}", "rejected messages, and why"),
        *((stop,) if keep else ()),
    ):
        out.print(f"  {command}  # {what}", soft_wrap=True)


def _take(data_dir: Path) -> None:
    """Make the demo's folder, or empty that of an earlier demo, also one that did not end; refuse any other folder.

    Raises:
        DemoError: the folder has something else.
        StackError: it cannot be written, or a stack runs on it.
    """
    directory = DataDir(data_dir.absolute())
    mark = directory.path / MARK
    is_demos = mark.exists() or (data_dir == DEFAULT_FOLDER and directory.is_ours)
    if not is_demos and directory.path.is_dir() and any(directory.path.iterdir()):
        raise DemoError(
            f"{data_dir} is not empty and no earlier demo: choose another folder with --data-dir, or remove it."
        )
    directory.create()
    with directory.lock():
        mark.touch()
        for found in directory.path.iterdir():
            if found.is_dir() and not found.is_symlink():
                shutil.rmtree(found)
            elif found.name not in {MARK, LOCK_FILE}:
                found.unlink()


def _feed(settings: Settings, recordings: Path) -> None:
    """Live producers against the exchange simulator, then what no exchange sends live: bad input."""
    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("trades"),
        TimeElapsedColumn(),
        console=err,
    ) as progress:
        counted = asyncio.run(_live(settings, recordings, progress))
    for code, counters in counted.items():
        if missing := counters.gaps.found - counters.gaps.healed:
            err.print(
                f"{code}: the recording lacks {missing:,} trades: its holes are rows of producer_gaps.",
                soft_wrap=True,
            )
    with KafkaPublisher(settings) as publisher:
        for feed in REPLAYED:
            replay([recordings / feed.file], feed.code, publisher, settings)


async def _live(settings: Settings, recordings: Path, progress: Progress) -> dict[str, LiveCounters]:
    simulator = Simulator({feed.code: recordings / feed.file for feed in LIVE}, wait_for_subscribers=True)
    port = await simulator.start()
    played = asyncio.ensure_future(simulator.wait())
    try:
        counted = await asyncio.gather(*(_produce(feed, settings, simulator, port, progress) for feed in LIVE))
        return {feed.code: counters for feed, counters in zip(LIVE, counted, strict=True)}
    finally:
        played.cancel()
        await asyncio.gather(played, return_exceptions=True)
        await simulator.close()


async def _produce(
    feed: DemoFeed, settings: Settings, simulator: Simulator, port: int, progress: Progress
) -> LiveCounters:
    task = progress.add_task(f"{feed.code:>13} live, {_origin(feed)}", total=None)

    def finished(counters: LiveCounters) -> bool:
        played = simulator.progress(feed.code)
        progress.update(task, completed=counters.trades, total=played.trades_sent)
        return played.done and counters.trades >= played.trades_sent

    endpoint = f"ws://127.0.0.1:{port}/{feed.code}"
    counters = await run_live(
        feed.code, feed.symbols, settings, endpoint=endpoint, until=finished, duration_s=FEED_TIMEOUT_S
    )
    if not finished(counters):
        sent = simulator.progress(feed.code).trades_sent
        raise DemoError(f"{feed.code}: {counters.trades:,} trades arrived of {sent:,} sent")
    return counters


def _origin(feed: DemoFeed) -> str:
    return "synthetic" if feed.synthetic else "recorded"


def _drain(settings: Settings) -> None:
    with err.status("Waiting until every message has reached its end …"):
        behind = lag.wait(settings, DRAIN_TIMEOUT_S, lambda _: None)
    if behind:
        raise DemoError(f"{sum(part.messages for part in behind):,} messages did not reach their end; see the logs.")


def _show(settings: Settings) -> bool:
    """Print each layer's result. Returns whether the counts add up."""
    print_table(
        "Fed: recorded and synthetic messages",
        ("exchange", "file in tests/recordings", "messages"),
        [(feed.code, feed.file, _origin(feed)) for feed in (*LIVE, *REPLAYED)],
    )
    with http_client(settings) as client:
        candles = rows(client, "demo_candles", {"per_market": 1})
        print_table(
            "Gold: the newest 1-minute candle of each market (gold_ohlcv_1m)",
            ("exchange", "symbol", "window start", "open", "high", "low", "close", "volume", "quote volume", "trades"),
            [tuple(candle.values()) for candle in candles],
        )
        print_stats(client, ALL)
    tiers = Tiers.open(settings)
    print_offload(offload_with_progress(tiers, until_now=True))
    return print_lineage(sum_markets(count_lineage(tiers.hot)))
