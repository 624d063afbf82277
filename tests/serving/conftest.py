"""A stack with recorded and generated trades and dead letters, and its page."""

from __future__ import annotations

import dataclasses
import json
import random
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import requests

from config.settings import Settings
from tests import command
from tests.offload.conftest import hot, new_settings, tape
from tests.offload.hot_tables import give_back_unused
from tests.recorded import OURS
from tests.stack import truth
from tests.stack.conftest import applied, clean_environment

__all__ = ["applied", "hot", "tape"]  # a ClickHouse node without the rest of a stack

ROOT = Path(__file__).resolve().parents[2]
# Enough of Binance's for pages of a thousand trades of one market.
BINANCE_FRAMES = 3_000
REPLAYED = ("kraken_v2_btcusd", "okx_v5_trades_synthetic", "bybit_v5_linear_synthetic")
GENERATED = "DOGEUSDT"


@pytest.fixture
def settings(http_port: int, tmp_path: Path) -> Iterator[Settings]:
    """Settings of an empty database, and of a warehouse that does not exist yet."""
    found = new_settings(http_port, tmp_path)
    yield found
    give_back_unused(found)


@dataclass(frozen=True)
class Service:
    """A running service and the stack behind it."""

    url: str
    folder: Path
    home: Path
    trades: pl.DataFrame
    settings: Mapping[str, str]

    def run(self, *arguments: str | Path, code: int = 0) -> str:
        """What `medallion …` prints, on the stack; `code`: how it must end."""
        words = [*map(str, arguments), "--data-dir", str(self.folder)]
        done = command.run(words, {**clean_environment(self.home), **self.settings}, 180)
        assert done.returncode == code, f"{arguments}: {done.stdout}\n{done.stderr}"
        return done.stdout

    def get(self, path: str, status: int = 200, **parameters: Any) -> Any:
        """The JSON of a GET that must be answered so."""
        answer = requests.get(f"{self.url}{path}", params=parameters, timeout=30)
        assert answer.status_code == status, f"{path} {parameters}: {answer.status_code} {answer.text}"
        return answer.json()


def generated() -> tuple[list[str], pl.DataFrame]:
    """Trades over 100 days with awkward decimals: Binance's frames, and the same as `truth.trades` has them."""
    random_ = random.Random(20261128)
    start_ms = 1_704_067_200_000 - 40 * 86_400_000  # 40 days before a new year, so that months and years change
    frames, rows = [], []
    for number in range(1_500):
        at = (
            start_ms
            + random_.choice([0, 1, 59_999, random_.randrange(86_400_000)])
            + random_.randrange(100) * 86_400_000
        )
        price, quantity = f"{random_.randrange(1, 10**9)}e-8", f"{random_.randrange(1, 10**12)}e-8"
        price, quantity = f"{Decimal(price):f}", f"{Decimal(quantity):f}"
        is_maker = random_.random() < 0.5
        trade = {"e": "trade", "E": at, "s": GENERATED, "t": number + 1, "p": price, "q": quantity, "T": at}
        frames.append(json.dumps({**trade, "m": is_maker, "M": True}))
        rows.append(("binance", GENERATED, f"{number + 1}", price, quantity, "SELL" if is_maker else "BUY", at, number))
    names = ("exchange", "symbol", "trade_id", "price", "quantity", "side", "timestamp", "position")
    table = pl.DataFrame(rows, schema=names, orient="row").with_columns(
        pl.col("price", "quantity").cast(pl.Decimal(38, 18)),
        pl.col("timestamp").cast(pl.Datetime("ms")).cast(pl.Datetime("us")),
    )
    return frames, table


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, applied: Path) -> Iterator[Service]:
    folder = shutil.copytree(applied, tmp_path_factory.mktemp("serving") / "stack", symlinks=True)
    home = tmp_path_factory.mktemp("home")
    frames, table = generated()
    binance = OURS["binance_spot_trades"].part(BINANCE_FRAMES, tmp_path_factory.mktemp("binance"))
    others = [OURS[name] for name in REPLAYED]
    table = pl.concat(
        [table, *(truth.trades(one).select(table.columns) for one in (binance, *others))], how="vertical_relaxed"
    )
    settings = {"MEDALLION_SERVING_PORT": "0"}  # any free one
    running = Service("", folder, home, table, settings)
    up = json.loads(running.run("up", "--detach", "--serve", "--json"))
    running = dataclasses.replace(running, url=f"http://127.0.0.1:{up['environment']['MEDALLION_SERVING_PORT']}")
    recording = folder.parent / "generated.jsonl"
    recording.write_text("\n".join(frames) + "\n", encoding="utf-8")
    bad = ROOT / "tests" / "recordings" / "binance_bad_input.jsonl"
    files = (recording, binance.path, bad)
    running.run("replay", *files, "--exchange", "binance", "--force")
    for one in others:
        running.run("replay", one.path, "--exchange", one.code)
    running.run("drain")
    yield running
    running.run("down", "--timeout", "0")
