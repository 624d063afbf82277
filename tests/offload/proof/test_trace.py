"""A trade is found in every layer of both tiers, and a value damaged on its way is traced to the layer (scenario 2)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from urllib.parse import urlparse

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cli.cold.lineage import app as lineage_app
from config.settings import Settings
from ddl.layers import STATE_TABLE, load_layers
from offload.clickhouse.tiers import Tiers
from offload.proof import candle_trades
from offload.proof.candle_trades import CandleTrade, CandleTrades, payload_of
from offload.proof.trace import Trace, Tracer
from offload.proof.trace_candle import compare_with_trades
from offload.proof.value_changes import payload_to_raw
from offload.retention.gate import close_gate
from offload.run import run
from offload.tables.cold_tables import BY_NAME, Layer
from tests.offload.cold_tables import live_files
from tests.offload.command_line import as_environment, run_command
from tests.offload.conftest import new_settings
from tests.offload.hot_tables import (
    COORDINATES,
    HotTables,
    dead_letter_rows,
    duplicate_rows,
    of_one_hour,
    raw_rows,
    read_tape,
    silver_rows,
)
from tests.offload.retention.test_gate import LATER


def messages(trades: pl.DataFrame) -> pl.DataFrame:
    """Raw rows whose raw_json is an envelope like the producers'."""

    def envelope(row: dict[str, str]) -> bytes:
        payload = json.dumps({"t": int(row["trade_id"]), "p": row["price"], "q": row["quantity"]})
        names = ("exchange", "symbol", "trade_id", "price", "quantity", "side")
        fields = {name: row[name] for name in names} | {"timestamp": row["timestamp_raw"], "payload": payload}
        return json.dumps(fields).encode()

    rows = raw_rows(trades)
    return rows.with_columns(pl.Series("raw_json", [envelope(row) for row in rows.to_dicts()], pl.Binary))


def some(tape: Path) -> pl.DataFrame:
    """The trades of `loaded`."""
    return of_one_hour(read_tape(tape).head(2000)).filter(pl.col("offset") % 3 == 1)


@pytest.fixture(scope="module")
def loaded(http_port: int, tape: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HotTables]:
    """Trades in every layer of both tiers.

    The tests of this file share it in their order: those that find everything whole; those of which each damages a
    trade of BTCUSDT, the changes of a trade before those of its candles; those of what is only in Iceberg.
    """
    hot = HotTables(new_settings(http_port, tmp_path_factory.mktemp("loaded")))
    hot.insert("trades_raw", messages(some(tape)))
    hot.insert("silver_trades", silver_rows(some(tape)))
    run(Tiers.open(hot.settings))
    yield hot
    hot.give_back()


@pytest.fixture(scope="module")
def cold_only(loaded: HotTables) -> HotTables:
    """All hot partitions have left."""
    for table in ("trades_raw", "bronze_trades", "silver_trades", STATE_TABLE):
        loaded.client.command(f"TRUNCATE TABLE {table}")
    return loaded


@pytest.fixture
def trade(tape: Path) -> dict[str, str]:
    row: dict[str, str] = read_tape(tape).row(1234, named=True)
    return row


def _trace(settings: Settings, trade: dict[str, str]) -> Trace:
    return Tracer(Tiers.open(settings)).trade("binance", trade["symbol"], trade["trade_id"])


def test_a_trade_is_found_everywhere_and_unchanged(loaded: HotTables, trade: dict[str, str]) -> None:
    trace = _trace(loaded.settings, trade)
    assert (trace.fate, trace.changes) == ("silver", ())
    assert trace.coordinates is not None
    assert trace.coordinates[:3] == ("market.crypto.trades.binance.raw", 0, 1234)
    assert json.loads(json.loads(trace.message)["payload"])["p"] == trade["price"]
    assert [(s.layer, s.tier) for s in trace.sightings] == [
        (layer, tier) for tier in ("hot", "cold") for layer in ("raw_trades", "bronze_trades", "silver_trades")
    ]
    for sighting in trace.sightings[3:]:
        assert Path(urlparse(sighting.file).path).is_file()
        assert sighting.snapshot_id is not None
    assert [candle.timeframe for candle in trace.candles] == [frame.code for frame in load_layers().timeframes]
    assert all(candle.hot and candle.from_silver and candle.cold for candle in trace.candles)


def test_an_unknown_trade_is_missing(loaded: HotTables) -> None:
    trace = Tracer(Tiers.open(loaded.settings)).trade("binance", "BTCUSDT", "no such trade")
    assert (trace.fate, trace.sightings) == ("missing", ())


def test_a_long_candle_is_read_in_slices_and_whole(
    loaded: HotTables, tape: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What slices of a minute add up to is what polars counts; the trades are in several of them."""
    monkeypatch.setattr(candle_trades, "_SLICE", timedelta(minutes=1))
    trades = some(tape).filter(symbol="BTCUSDT")
    quarter = trades["time"][0].replace(minute=45, second=0, microsecond=0)
    expected = trades.filter(pl.col("time").is_between(quarter, quarter + timedelta(minutes=15), closed="left"))
    expected = expected.sort("time", pl.col("trade_id").cast(pl.Int64))
    assert expected["time"].dt.truncate("1m").n_unique() > 1
    tracer = Tracer(Tiers.open(loaded.settings))
    found = tracer.trades_of_candle("15m", "binance", "BTCUSDT", trades["time"][0])
    summary = found.summary()
    assert summary.counted == expected.height
    assert summary.first is not None
    assert summary.last is not None
    assert (summary.first.trade_id, summary.last.trade_id) == (expected["trade_id"][0], expected["trade_id"][-1])
    assert (summary.offsets[0].first, summary.offsets[0].last) == (expected["offset"].min(), expected["offset"].max())
    assert sum(file.trades for file in summary.files) == expected.height
    assert [trade.trade_id for trade in found.all()] == expected["trade_id"].to_list()


# Within the envelope's own text the payload's quotes are escaped.
PAYLOAD = r"""raw_json = replaceOne(raw_json, '\\"p\\": \\"', '\\"p\\": \\"9')"""


Damage = Callable[[HotTables, dict[str, str]], None]


def _update(table: str, change: str) -> Damage:
    def damage(hot: HotTables, trade: dict[str, str]) -> None:
        hot.client.command(
            f"ALTER TABLE {table} UPDATE {change} WHERE trade_id = '{trade['trade_id']}' SETTINGS mutations_sync = 2"
        )

    return damage


def _cold(layer: str, column: str) -> Damage:
    def damage(hot: HotTables, trade: dict[str, str]) -> None:
        trace = _trace(hot.settings, trade)
        (sighting,) = (s for s in trace.sightings if (s.layer, s.tier) == (layer, "cold"))
        path = Path(urlparse(sighting.file).path)
        rows = pq.read_table(path)
        at = rows.column("trade_id").to_pylist().index(trace.trade_id)
        values = rows.column(column).to_pylist()
        values[at] = values[at] + ("0" if isinstance(values[at], str) else 1)
        field = rows.schema.field(column)
        array = pa.array(values, field.type)
        pq.write_table(rows.set_column(rows.schema.get_field_index(column), field, array), path)

    return damage


DAMAGES = [
    (_update("trades_raw", PAYLOAD), "producer", "price"),
    (_update("trades_raw", "price = concat(price, '1')"), "raw_trades", "price"),
    (_update("bronze_trades", "received_at = received_at + 1"), "cold.bronze_trades", "received_at"),
    (_update("silver_trades", "price = price + toDecimal128('0.01', 18)"), "silver_trades", "price"),
    (_update("silver_trades", "quote_volume = -quote_volume"), "silver_trades", "quote_volume"),
    (_update("silver_trades", "side = if(side = 'BUY', 'SELL', 'BUY')"), "silver_trades", "side"),
    (_cold("raw_trades", "price"), "cold.raw_trades", "price"),
    (_cold("bronze_trades", "price_text"), "cold.bronze_trades", "price_text"),
    (_cold("silver_trades", "quantity"), "cold.silver_trades", "quantity"),
]


@pytest.mark.parametrize(("number", "damage", "layer", "field"), [(at, *one) for at, one in enumerate(DAMAGES)])
def test_a_damaged_value_is_traced_to_its_layer(
    loaded: HotTables, tape: Path, number: int, damage: Damage, layer: str, field: str
) -> None:
    trade = some(tape).filter(symbol="BTCUSDT").row(20 * number, named=True)
    damage(loaded, trade)
    first_change = _trace(loaded.settings, trade).changes[0]
    assert (first_change.layer, first_change.field) == (layer, field)


def test_a_damaged_candle_is_named(loaded: HotTables, tape: Path) -> None:
    loaded.client.command(
        "ALTER TABLE gold_ohlcv_state UPDATE volume = volume + 1 WHERE frame = 300 SETTINGS mutations_sync = 2"
    )
    # The damaged trades are those of the other market.
    trace = _trace(loaded.settings, some(tape).filter(symbol="ETHUSDT").row(0, named=True))
    assert (trace.changes[0].layer, trace.changes[0].field) == ("gold_ohlcv_5m", "volume")


@pytest.fixture
def minute(tape: Path) -> pl.DataFrame:
    """The trades of the fullest minute of one market, in Silver's order."""
    trades = of_one_hour(read_tape(tape).filter(symbol="BTCUSDT"))
    trades = trades.with_columns(pl.col("time").dt.truncate("1m").alias("minute"))
    fullest = trades.group_by("minute").len().sort("len", "minute")["minute"][-1]
    order = ["time", pl.col("trade_id").cast(pl.Int64)]
    return trades.filter(minute=fullest).drop("minute").sort(order).head(60)


def _candle_trades(settings: Settings, minute: pl.DataFrame) -> tuple[CandleTrades, list[CandleTrade]]:
    found = Tracer(Tiers.open(settings)).trades_of_candle("1m", "binance", "BTCUSDT", minute["time"][0])
    return found.summary(), list(found.all())


# Of the fast tier: test_a_trade_is_found_everywhere_and_unchanged.
@pytest.mark.nightly
def test_the_trades_of_a_candle_are_found_wherever_they_are(
    settings: Settings, hot: HotTables, minute: pl.DataFrame
) -> None:
    """Some only hot, some in both tiers, and then all only in Iceberg: the same trades, each once."""
    offloaded, later = minute.head(40), minute.slice(40)
    hot.insert("trades_raw", messages(offloaded))
    # A block trade stands in Silver, and no candle counts it.
    block = silver_rows(offloaded.head(1)).with_columns(
        pl.lit("block").alias("trade_kind"),
        pl.lit("block-1").alias("trade_id"),
        pl.lit(2**40, pl.UInt64).alias("raw_offset"),
    )
    hot.insert("silver_trades", pl.concat([silver_rows(offloaded), block]))
    layers: tuple[Layer, ...] = ("raw", "silver")
    run(Tiers.open(settings), layers=layers)
    hot.insert("trades_raw", messages(later))
    hot.insert("silver_trades", silver_rows(later))

    summary, trades = _candle_trades(settings, minute)
    assert (summary.counted, summary.matches, summary.not_counted) == (minute.height, minute.height, 1)
    assert summary.only_hot == later.height
    assert sum(file.trades for file in summary.files) == offloaded.height + 1
    for file in summary.files:
        assert Path(urlparse(file.file).path).is_file()
        assert file.snapshot_id is not None
    (span,) = summary.offsets
    assert (span.raw_topic, span.raw_partition) == ("market.crypto.trades.binance.raw", 0)
    assert (span.first, span.last) == (minute["offset"].min(), 2**40)
    counted = [trade for trade in trades if trade.is_counted]
    assert [trade.trade_id for trade in counted] == minute["trade_id"].to_list()
    assert [str(trade.price.normalize()) for trade in counted] == [
        str(Decimal(price).normalize()) for price in minute["price"]
    ]
    assert [json.loads(trade.payload)["t"] for trade in counted] == minute["trade_id"].cast(pl.Int64).to_list()
    assert [trade.file != "" for trade in counted] == [True] * offloaded.height + [False] * later.height
    assert (summary.first, summary.last) == (counted[0], counted[-1])
    (uncounted,) = (trade for trade in trades if not trade.is_counted)
    assert (uncounted.trade_kind, uncounted.payload) == ("block", "")

    run(Tiers.open(settings), again=True, layers=layers)
    close_gate(Tiers.open(settings), drop=True, tables=("trades_raw", "silver_trades"), now=LATER)
    assert hot.count("silver_trades") == hot.count("trades_raw") == 0
    cold_summary, cold_trades = _candle_trades(settings, minute)
    assert (cold_summary.counted, cold_summary.only_hot) == (minute.height, 0)
    places = {"file", "snapshot_id"}
    assert [one.model_dump(exclude=places) for one in cold_trades] == [one.model_dump(exclude=places) for one in trades]
    assert all(trade.file for trade in cold_trades)


def _command(*arguments: str) -> tuple[int, str]:
    """Exit code of `medallion lineage trace …`, and what it printed and the error that it ended with."""
    market = ("--exchange", "binance", "--symbol", "BTCUSDT")
    code, printed, error = run_command(lineage_app, "trace", *market, *arguments)
    return code, printed + error


def test_what_is_missing_is_exit_code_1(
    loaded: HotTables, trade: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    as_environment(loaded.settings, monkeypatch)
    code, printed = _command("--trade-id", "no such trade", "--json")
    assert code == 1
    assert "is in no layer of either tier" in printed
    code, printed = _command("--candle", "1m", "--at", "2001-01-01", "--json")
    assert code == 1
    assert "No candle of BTCUSDT on binance begins at 2001-01-01T00:00:00" in printed
    received = {**trade, "symbol": "BTCUSDT"}
    loaded.insert(
        "trades_raw", messages(read_one(received, "7").with_columns(pl.lit(2**40, pl.UInt64).alias("offset")))
    )
    code, printed = _command("--trade-id", "7", "--json")
    assert code == 1
    assert "was received and is neither in Silver nor a duplicate nor a dead letter" in printed


def read_one(trade: dict[str, str], trade_id: str) -> pl.DataFrame:
    """The trade under another id, as the row of a tape."""
    return pl.DataFrame([{**trade, "trade_id": trade_id}]).with_columns(pl.col("offset").cast(pl.UInt64))


def test_what_became_of_a_trade_is_known_before_and_after_it_left(
    settings: Settings, hot: HotTables, tape: Path
) -> None:
    """A rejected one shows the limit that it broke; another is a duplicate."""
    trades = read_tape(tape).head(6)
    hot.insert("dlq_trades_log", dead_letter_rows(trades.head(3), "side_invalid"))
    hot.insert("duplicate_trades", duplicate_rows(trades.tail(3)))
    rejected, repeated = trades.row(1, named=True), trades.row(4, named=True)
    for tier in ("hot", "cold"):
        if tier == "cold":
            run(Tiers.open(settings), layers=("duplicates", "dlq"))
            for table in ("dlq_trades_log", "duplicate_trades"):
                hot.client.command(f"TRUNCATE TABLE {table}")
        tracer = Tracer(Tiers.open(settings))
        trace = tracer.trade("binance", rejected["symbol"], rejected["trade_id"])
        (rejection,) = trace.rejections
        assert trace.fate == "rejected: side_invalid"
        assert (rejection.field, rejection.value, rejection.limit) == ("side", "HOLD", "BUY or SELL")
        assert rejection.coordinates[:3] == ("market.crypto.trades.binance.raw", 0, rejected["offset"])
        assert rejection.landed == ""
        assert tracer.trade("binance", repeated["symbol"], repeated["trade_id"]).fate == "duplicate"


def test_a_match_within_a_sum_is_traced_to_the_sum(settings: Settings, hot: HotTables, tape: Path) -> None:
    """Whether the match itself was received or not, before and after the sum left; no match beside the sum is."""
    trades = (
        read_tape(tape).filter(pl.col("symbol") == "BTCUSDT").head(2).with_columns(trade_id=pl.Series(["105", "104"]))
    )
    summed, received = trades.row(0, named=True), trades.tail(1)
    hot.insert("silver_trades", silver_rows(trades.head(1)).with_columns(match_count=pl.lit(3, pl.UInt32)))
    hot.insert("trades_raw", messages(received))
    hot.insert("duplicate_trades", duplicate_rows(received))
    for tier in ("hot", "cold"):
        if tier == "cold":
            run(Tiers.open(settings), layers=("silver", "duplicates"))
            hot.client.command("TRUNCATE TABLE silver_trades")
        tracer = Tracer(Tiers.open(settings))
        found = {number: tracer.trade("binance", summed["symbol"], str(number)) for number in range(102, 107)}
        assert [trace.sum_id for trace in found.values()] == ["", "105", "105", "", ""]
        assert [trace.fate for trace in found.values()] == ["missing", "silver", "duplicate", "silver", "missing"]
        for number in (103, 104):
            (row,) = (s.row for s in found[number].sightings if s.layer == "silver_trades")
            assert (row["trade_id"], found[number].changes) == ("105", ())
            assert [candle.window_start for candle in found[number].candles] == [
                candle.window_start for candle in found[105].candles
            ]
        assert (found[102].sightings, found[106].candles) == ((), ())


def test_a_dead_letter_alone_is_traced_under_a_name_that_nobody_knows(
    settings: Settings, hot: HotTables, tape: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unmapped symbol is in no symbols file: that is why its trade was rejected."""
    dead_letter = dead_letter_rows(read_tape(tape).head(1), "symbol_unmapped").with_columns(
        pl.lit("NOSUCH").alias("symbol")
    )
    hot.insert("dlq_trades_log", dead_letter)
    as_environment(settings, monkeypatch)
    market = ("--exchange", "binance", "--symbol", "NOSUCH")
    code, printed, error = run_command(
        lineage_app, "trace", *market, "--trade-id", dead_letter["trade_id"][0], "--json"
    )
    assert (code, error) == (0, "")
    (rejection,) = json.loads(printed)["rejections"]
    assert rejection["reason"] == "symbol_unmapped"


def test_a_rescued_trade_shows_its_rejection(settings: Settings, hot: HotTables, tape: Path) -> None:
    """Also where Bronze could not read the message, so that its dead letter has no trade id."""
    trades = read_tape(tape).head(4)
    unread = dead_letter_rows(trades.head(2), "timestamp_missing").with_columns(
        pl.lit("").alias("trade_id"), pl.lit("").alias("symbol")
    )
    hot.insert("trades_raw", messages(trades))
    hot.insert("dlq_trades_log", pl.concat([unread, dead_letter_rows(trades.slice(2), "symbol_unmapped")]))
    hot.insert("silver_trades", silver_rows(trades))
    sent = silver_rows(trades).select(
        *COORDINATES, "exchange", "symbol", "timestamp", pl.col("ingested_at").alias("sent_at")
    )
    hot.insert("dlq_replays", sent)
    for number, reason in ((1, "timestamp_missing"), (2, "symbol_unmapped")):
        row = trades.row(number, named=True)
        trace = Tracer(Tiers.open(settings)).trade("binance", row["symbol"], row["trade_id"])
        (rejection,) = trace.rejections
        assert (trace.fate, rejection.reason, rejection.landed) == ("silver", reason, "silver")
        assert rejection.sent_at == row["arrived"]


def test_what_silver_has_without_its_message_or_twice_is_named(settings: Settings, hot: HotTables, tape: Path) -> None:
    """A message that Bronze could not read is found by its coordinates."""
    trades = of_one_hour(read_tape(tape).filter(symbol="BTCUSDT").head(3))
    unread = [pl.lit("").alias(name) for name in ("symbol", "trade_id", "price", "quantity", "timestamp_raw")]
    not_utf8 = messages(trades.tail(2)).with_columns(
        pl.Series(
            "raw_json", [message + b"\xff\xfe\xfd" for message in messages(trades.tail(2))["raw_json"]], pl.Binary
        )
    )
    hot.insert("trades_raw", pl.concat([not_utf8.head(1), not_utf8.tail(1).with_columns(unread)]))
    hot.insert("silver_trades", silver_rows(trades))
    run(Tiers.open(settings), layers=("raw",))
    lost, found, rescued = (_trace(settings, trade) for trade in trades.to_dicts())
    (change,) = lost.changes
    assert (change.layer, change.field, change.after) == ("raw_trades", "message", "in neither tier")
    assert change.before == f"market.crypto.trades.binance.raw[0]@{trades['offset'][0]}"
    assert found.changes == ()
    places = {(row.layer, row.tier) for row in rescued.sightings}
    assert {("raw_trades", "hot"), ("raw_trades", "cold"), ("bronze_trades", "hot")} < places
    assert "message" not in {change.field for change in rescued.changes}
    hot.insert("silver_trades", silver_rows(trades.slice(1, 1)))
    (change, *_) = _trace(settings, trades.row(1, named=True)).changes
    assert (change.layer, change.field, change.after) == ("silver_trades", "rows", "2")


@pytest.mark.parametrize("tier", ["hot", pytest.param("cold", marks=pytest.mark.nightly)])
def test_a_trade_of_a_renamed_market_is_found_by_every_name(
    settings: Settings, hot: HotTables, tape: Path, tier: str
) -> None:
    """Silver has it under the old name until its day is re-derived."""
    trades = of_one_hour(read_tape(tape, "kraken").filter(symbol="BTCUSDT").head(2)).with_columns(
        symbol=pl.lit("BTC/USD")
    )
    hot.insert("trades_raw", messages(trades))
    hot.insert("silver_trades", silver_rows(trades).with_columns(symbol=pl.lit("XBTUSD")))
    if tier == "cold":
        run(Tiers.open(settings), layers=("silver",))
        hot.client.command("TRUNCATE TABLE silver_trades")
    for name in ("BTCUSD", "XBT/USD", "XBTUSD"):
        trace = Tracer(Tiers.open(settings)).trade("kraken", name, trades["trade_id"][0])
        assert (trace.fate, trace.changes) == ("silver", ()), name


# Its sibling: test_candles_with_late_trades_are_no_difference in test_verify.py.
@pytest.mark.nightly
def test_a_candle_whose_trades_are_apart_is_not_called_wrong(settings: Settings, hot: HotTables, tape: Path) -> None:
    """Trades that came since the offload, or after the partitions had left; what changed is named all the same."""
    trades = of_one_hour(read_tape(tape).filter(symbol="BTCUSDT").head(40))
    layers: tuple[Layer, ...] = ("silver", "gold")

    def candle(frame: str = "1d") -> tuple[str, list[str]]:
        tracer = Tracer(Tiers.open(settings))
        found = tracer.candle(frame, "binance", "BTCUSDT", trades["time"][0])
        made_of = tracer.trades_of_candle(frame, "binance", "BTCUSDT", trades["time"][0]).summary()
        changes = [*found.changes, *compare_with_trades(found, made_of)]
        return found.not_compared.partition(":")[0], [f"{change.layer} {change.field}" for change in changes]

    def come(some: pl.DataFrame, hours: int) -> None:
        hot.insert("silver_trades", silver_rows(some.with_columns(pl.col("arrived") + timedelta(hours=hours))))

    come(trades.head(10), 0)
    run(Tiers.open(settings), layers=layers)
    assert candle() == ("", [])
    come(trades.slice(10, 10), 3)
    assert candle() == ("Iceberg lacks trades of it", [])
    run(Tiers.open(settings), layers=layers)
    assert candle() == ("", [])
    close_gate(Tiers.open(settings), drop=True, tables=("silver_trades",), now=LATER)
    come(trades.slice(20, 10), 6)
    assert candle() == ("Iceberg lacks trades of it", []), "hot Silver has the late trades alone"
    run(Tiers.open(settings), layers=layers)
    close_gate(Tiers.open(settings), drop=True, tables=("silver_trades", STATE_TABLE), now=LATER)
    come(trades.slice(30, 5), 9)
    assert candle() == ("its earlier trades are in Iceberg only", [])
    run(Tiers.open(settings), layers=layers)
    assert candle() == ("its earlier trades are in Iceberg only", [])
    cold = live_files(settings, BY_NAME["gold_ohlcv_1d"])[0]
    rows = pl.read_parquet(cold)
    assert rows["trade_count"].to_list() == [35]
    rows.with_columns(pl.col("trade_count") + 1).write_parquet(cold)
    assert candle()[1] == ["cold.gold_ohlcv_1d trade_count"]


def test_what_only_iceberg_holds_is_traced_too(cold_only: HotTables, trade: dict[str, str]) -> None:
    trace = _trace(cold_only.settings, trade)
    assert {s.tier for s in trace.sightings} == {"cold"}
    assert (trace.fate, trace.changes) == ("silver", ())


def test_a_candle_that_lacks_a_trade_in_iceberg_is_named(cold_only: HotTables, trade: dict[str, str]) -> None:
    tracer = Tracer(Tiers.open(cold_only.settings))
    moment = silver_rows(read_one(trade, trade["trade_id"]))["timestamp"][0]
    candle = tracer.candle("1m", "binance", trade["symbol"], moment)
    trades = tracer.trades_of_candle("1m", "binance", trade["symbol"], moment).summary()
    assert candle.hot is None
    assert compare_with_trades(candle, trades) == ()
    (change,) = compare_with_trades(candle, trades.model_copy(update={"matches": trades.matches - 1}))
    assert (change.layer, change.field) == ("cold.gold_ohlcv_1m", "trade_count")


@pytest.mark.parametrize(
    ("message", "payload"),
    [
        ('{"payload":"{\\"t\\":1}"}', '{"t":1}'),
        ('{"payload":"/w==","payload_encoding":"base64"}', "\\xff"),
        ('{"price":"1"}', '{"price":"1"}'),
        ("no JSON", "no JSON"),
        ("[1]", "[1]"),
    ],
)
def test_a_payload_is_the_exchanges_own_text(message: str, payload: str) -> None:
    assert payload_of(message) == payload


def test_deep_json_is_compared_with_nothing() -> None:
    deep = "[" * 200_000
    assert payload_of(deep) == deep
    envelope = json.dumps({"trade_id": "1", "payload": deep})
    assert payload_to_raw(envelope, {"trade_id": "1"}) == []
