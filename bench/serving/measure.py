"""Measures the service: trade → WebSocket message, HTTP answers, a thousand clients, replays from Iceberg, idle CPU."""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import psutil

from bench.cold.tier import tier
from bench.isolated import isolated
from bench.load import SOURCES
from bench.plan import Plan
from bench.serving.listener import Heard, listen
from bench.serving.service import Service, ServiceError, command, service
from bench.stack import fresh_stack, http_client, settings_of
from bench.trades import TradeStream
from config.registry import SymbolRegistry
from config.settings import Settings
from deploy.embedded.layout import StackState

RATE = 5_000.0
REQUESTS_A_SECOND = 50.0
CANDLES = 1_000
MARKETS = 500
CLIENTS, STREAMS = 1_000, 10
# Trades/s while a thousand clients listen: each becomes 250 messages.
CLIENTS_RATE = 100.0
_CONNECTIONS = 8
_WARM_UP = 20
# Time for messages that are still on their way when a load ends.
_LATE_S = 2.0
_MINUTES_AT_ONCE = 50
_DRAIN_S = 60.0
_LOOK_S = 0.05
_CONNECTING_S = 30.0
# Distance of ids between loads. No load has as many trades of one market.
_IDS_A_RUN = 10_000_000
_PIN = "bench"
_SQL = Path(__file__).with_name("sql") / "serving_silver.sql"


def measure(plan: Plan, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure everything, the loads one after the other on one stack.

    Raises:
        deploy.embedded.layout.StackError, ServiceError, bench.node.NodeError: something does not start.
    """
    with fresh_stack() as state, service({}, ("--data-dir", str(state.data_dir))) as running:
        found: dict[str, Any] = {"idle_percent": _rest(running, plan)}
        say(f"Serving, idle: {found['idle_percent']:.1f} % of a core")
        _messages(state, running, plan, 0)  # the stack warms up
        found["message"] = [_messages(state, running, plan, number) for number in range(1, 1 + plan.runs)]
        say(f"Serving, trade → message: {found['message']}")
        _fill(settings_of(state))
        found["klines"] = [_answers(running, "klines", plan) for _ in range(plan.runs)]
        found["prices"] = [_answers(running, "ticker/price", plan) for _ in range(plan.runs)]
        say(f"Serving, answers: klines {found['klines']}, prices {found['prices']}")
        found["clients"] = _clients(state, running, plan)
        say(f"Serving, clients: {found['clients']}")
    found["replay"] = _replay(plan, say)
    return found


def _rest(running: Service, plan: Plan) -> float:
    """CPU without a client, in percent of a core."""
    time.sleep(plan.settle_s)
    before, started = running.cpu_s, time.monotonic()
    time.sleep(plan.idle_s)
    return 100 * (running.cpu_s - before) / (time.monotonic() - started)


def markets(settings: Settings, count: int) -> list[tuple[str, str]]:
    """Exchange and canonical symbol of each market in a load of `count` markets."""
    registry = SymbolRegistry.load(settings.symbols_file)
    names = {(row["exchange"], row["exchange_symbol"]): row["canonical"] for row in registry.lookup}
    trades = TradeStream.load(SOURCES, registry, count, 1).take(count * 200, 0)
    return sorted({(one.exchange, names[one.exchange, one.symbol]) for one in trades})


def _path(exchange: str, streams: Sequence[str]) -> str:
    return f"/{exchange}/stream?streams={'/'.join(streams)}"


def _start_load(state: StackState, rate: float, seconds: float, first_id: int, count: int) -> subprocess.Popen[str]:
    argv = [sys.executable, "-m", "bench.load", "--rate", str(rate), "--seconds", str(seconds)]
    argv += ["--markets", str(count), "--first-id", str(first_id)]
    environment = {**os.environ, **state.environment}
    return subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, text=True)


def _messages(state: StackState, running: Service, plan: Plan, number: int) -> dict[str, float]:
    """Time from each trade of a load until a client has its message. Some connections share the markets."""
    some = markets(settings_of(state), plan.markets)
    paths = []
    for exchange in sorted({exchange for exchange, _ in some}):
        streams = [f"{symbol.lower()}@trade" for one, symbol in some if one == exchange]
        paths += [_path(exchange, streams[start::_CONNECTIONS]) for start in range(min(_CONNECTIONS, len(streams)))]
    heard = Heard("T")

    async def main() -> int:
        opened = await listen(running.url, paths, heard)
        with _start_load(state, RATE, plan.seconds, 1 + number * _IDS_A_RUN, plan.markets) as load:
            assert load.stdout is not None
            await asyncio.to_thread(load.stdout.readline)  # the line `ready`
            heard.begin_s = time.time() + plan.lead_s
            said, _ = await asyncio.to_thread(load.communicate)
        published = int(orjson.loads(said)["published"])
        deadline = time.monotonic() + _DRAIN_S
        while heard.messages < published and time.monotonic() < deadline:
            await asyncio.sleep(_LOOK_S)
        for one in opened:
            one.close()
        return published

    published = asyncio.run(main())
    # The service drops the oldest message of a client that has a thousand waiting.
    return _quantiles(heard.ms) | {"published": published, "missed": published - heard.messages}


def _fill(settings: Settings) -> None:
    """Insert candles of 500 markets for the last 1,000 minutes, and 100 trades a minute of one of them."""
    client = http_client(settings)
    try:
        for first in range(0, CANDLES, _MINUTES_AT_ONCE):
            some = {"minutes": CANDLES, "markets": MARKETS, "first": first, "count": _MINUTES_AT_ONCE}
            client.command(_SQL.read_text(encoding="utf-8"), parameters=some)
        for table in ("silver_trades", "gold_ohlcv_state"):
            client.command(f"OPTIMIZE TABLE {table} FINAL")  # in a running stack, merges have done this
    finally:
        client.close()


def _answers(running: Service, endpoint: str, plan: Plan) -> dict[str, float]:
    """Time from when a request was due until its whole answer has arrived. 50 requests are due each second."""
    asked = {"symbol": "BTCUSD", "interval": "1m", "limit": f"{CANDLES}"} if endpoint == "klines" else {}
    took_ms: list[float] = []

    async def main() -> None:
        async with aiohttp.ClientSession() as session:

            async def ask(due: float | None) -> None:
                async with session.get(f"{running.url}/kraken/api/v3/{endpoint}", params=asked) as answer:
                    rows = orjson.loads(await answer.read())
                if due is not None:
                    took_ms.append(1000 * (time.perf_counter() - due))
                if len(rows) < (CANDLES if endpoint == "klines" else MARKETS):
                    raise ServiceError(f"{endpoint} does not keep up: {rows if isinstance(rows, dict) else len(rows)}")

            for _ in range(_WARM_UP):
                await ask(None)
            started = time.perf_counter()
            async with asyncio.TaskGroup() as group:
                for number in range(int(plan.seconds * REQUESTS_A_SECOND)):
                    due = started + number / REQUESTS_A_SECOND
                    await asyncio.sleep(max(due - time.perf_counter(), 0.0))
                    group.create_task(ask(due))

    asyncio.run(main())
    return _quantiles(took_ms)


def _clients(state: StackState, running: Service, plan: Plan) -> dict[str, float]:
    """A thousand clients with ten streams of candles each. The service has one core, and the clients the others."""
    cores = sorted(psutil.Process().cpu_affinity())
    some = markets(settings_of(state), plan.markets)
    paths = []
    for number in range(CLIENTS):
        exchange = some[number % len(some)][0]
        own = [symbol.lower() for one, symbol in some if one == exchange]
        paths.append(_path(exchange, [f"{own[(number + each) % len(own)]}@kline_1m" for each in range(STREAMS)]))
    running.process.cpu_affinity(cores[:1])
    before_mb = running.rss_mb
    with _start_load(state, CLIENTS_RATE, plan.seconds + _CONNECTING_S, 1 + 50 * _IDS_A_RUN, plan.markets) as load:
        heard = isolated(_hear, running.url, paths, plan.seconds, cores[1:] or cores, running.process.pid)
        load.communicate()
    time.sleep(_LATE_S)
    running.process.cpu_affinity(cores)
    return heard | {"before_mb": before_mb, "after_mb": running.rss_mb}


def _hear(url: str, paths: Sequence[str], seconds: float, cores: list[int], service_pid: int) -> dict[str, float]:
    """Connect all clients and listen. Returns what they received, and the service's CPU and memory meanwhile."""
    psutil.Process().cpu_affinity(cores)
    heard, running = Heard("E", every=20), Service(url, psutil.Process(service_pid))

    async def main() -> dict[str, float]:
        began = time.monotonic()
        opened = await listen(url, paths, heard)
        connected_s = time.monotonic() - began
        await asyncio.sleep(1)
        rss, cpu, started = [running.rss_mb], running.cpu_s, time.monotonic()
        heard.messages, heard.ms = 0, []
        while (passed := time.monotonic() - started) < seconds:
            await asyncio.sleep(min(1.0, seconds - passed))
            rss.append(running.rss_mb)
        used = running.cpu_s - cpu
        for one in opened:
            one.close()
        return {
            "connected_s": connected_s,
            "messages_per_s": heard.messages / passed,
            "cpu_percent": 100 * used / passed,
            "cpu_us_per_message": 1e6 * used / max(heard.messages, 1),
            "first_mb": rss[0],
            "last_mb": rss[-1],
            "most_mb": max(rss),
        }

    found = asyncio.run(main())
    return found | _quantiles(heard.ms)


def _replay(plan: Plan, say: Callable[[str], None]) -> dict[str, float]:
    """The messages of an hour through `/replay` at a pin, which reads them from Iceberg alone."""
    with tempfile.TemporaryDirectory(prefix="medallion-bench-") as folder, tier(plan.cold_rows, say) as place:
        given = place.settings
        environment = {
            "MEDALLION_CLICKHOUSE_HOST": given.clickhouse_host,
            "MEDALLION_CLICKHOUSE_PORT": f"{given.clickhouse_port}",
            "MEDALLION_CLICKHOUSE_HTTP_PORT": f"{given.clickhouse_http_port}",
            "MEDALLION_CLICKHOUSE_PASSWORD": given.clickhouse_password.get_secret_value(),
            "MEDALLION_ICEBERG_CATALOG_URI": given.iceberg_catalog_uri,
            "MEDALLION_ICEBERG_WAREHOUSE": given.iceberg_warehouse,
            "MEDALLION_SERVING_RAW": "true",
        }
        for words in (("offload", "run"), ("pin", "create", _PIN), ("pin", "show", _PIN, "--views")):
            command(environment, Path(folder), *words)
        hours = {"from": place.day.replace(hour=12).isoformat(), "to": place.day.replace(hour=14).isoformat()}
        options = {"exchange": SOURCES[0].exchange, "pin": _PIN, **hours}
        with service(environment) as running:
            laps = [_replayed(running, place.node, options) for _ in range(plan.runs)]
    return {name: statistics.median(one[name] for one in laps) for name in laps[0]}


def _replayed(running: Service, node: psutil.Process, options: dict[str, str]) -> dict[str, float]:
    async def main() -> tuple[int, int]:
        lines = size = 0
        timeout = aiohttp.ClientTimeout(total=None)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(f"{running.url}/replay", params={"options": orjson.dumps(options).decode()}) as answer,
        ):
            if answer.status != 200:
                raise ServiceError(f"/replay: {await answer.text()}")
            async for part in answer.content.iter_any():
                lines += part.count(b"\n")
                size += len(part)
        return lines, size

    clickhouse = Service(running.url, node)
    cpu, node_cpu, started = running.cpu_s, clickhouse.cpu_s, time.perf_counter()
    lines, size = asyncio.run(main())
    seconds = time.perf_counter() - started
    return {
        "messages_per_s": lines / seconds,
        "mb_per_s": size / seconds / 1e6,
        "messages": lines,
        "service_us": 1e6 * (running.cpu_s - cpu) / max(lines, 1),
        "clickhouse_us": 1e6 * (clickhouse.cpu_s - node_cpu) / max(lines, 1),
        "service_mb": running.rss_mb,
    }


def _quantiles(ms: Sequence[float]) -> dict[str, float]:
    if len(ms) < 2:
        raise ServiceError("too few messages arrived: measure longer")
    cuts = statistics.quantiles(ms, n=100, method="inclusive")
    return {"p50_ms": cuts[49], "p99_ms": cuts[98], "count": len(ms)}
