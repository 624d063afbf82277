"""The page in a real browser: each journey of somebody who looks at the pipeline.

Needs Debian's chromium and Playwright, which `make test-page` installs; skipped without them.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Context, Decimal
from pathlib import Path
from typing import Any

import polars as pl
import psutil
import pytest

from tests.recorded import OURS
from tests.series.klines import csv
from tests.serving.conftest import Service

pytestmark = [pytest.mark.stack, pytest.mark.nightly]

sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: make test-page")
CHROMIUM = shutil.which("chromium")
EXACT = Context(prec=80)
LATER = OURS["coinbase_advanced_btcusd_synthetic"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("chromium is not installed: apt install chromium")
    with sync_api.sync_playwright() as playwright:
        # Root, as which containers run tests, may not use Chromium's own sandbox.
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture
def page(browser: Any, service: Service) -> Iterator[Any]:
    """A page whose console stays empty and which asks no other host."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    opened = context.new_page()
    faults: list[str] = []
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.on("console", lambda message: faults.append(message.text) if "Security Policy" in message.text else None)
    opened.on("request", lambda request: faults.append(request.url) if is_elsewhere(request.url, service) else None)
    yield opened
    context.close()
    assert faults == []


def is_elsewhere(url: str, service: Service) -> bool:
    return not url.startswith((service.url, service.url.replace("http", "ws"), "data:"))


def test_a_market_is_found_its_candle_moves_and_leads_to_its_messages(page: Any, service: Service) -> None:
    page.goto(service.url)
    page.get_by_label("Search").fill("btc kraken")
    page.get_by_role("link", name="BTCUSD · kraken").click()
    page.get_by_role("button", name="5m", exact=True).click()
    sync_api.expect(page.locator("#quote")).to_contain_text("52 trades")
    page.locator("#canvas").focus()
    page.keyboard.press("Enter")
    rows = page.locator("#origin tr.trade")
    sync_api.expect(rows).to_have_count(52)
    sync_api.expect(rows.first).to_contain_text("market.crypto.trades.kraken.raw")
    rows.first.get_by_role("button", name="Show").click()
    sync_api.expect(page.locator("#origin")).to_contain_text("Received 20")

    page.goto(f"{service.url}/#/chart/coinbase/BTCUSD/1m")
    sync_api.expect(page.locator("#chart-state")).to_contain_text("no candle yet")
    service.run("replay", LATER.path, "--exchange", LATER.code)
    sync_api.expect(page.locator("#quote")).to_contain_text("trades", timeout=20_000)


def test_another_exchanges_price_is_laid_over(page: Any, service: Service) -> None:
    page.goto(f"{service.url}/#/chart/binance/BTCUSDT/5m")
    others = page.get_by_label("Compare with")
    sync_api.expect(others.locator("option")).to_have_text(["none", "bybit_linear", "okx"])
    with page.expect_response(lambda answer: "/okx/api/v3/klines" in answer.url) as asked:
        others.select_option("okx")
    first = service.get("/api/v3/klines", symbol="BTCUSDT", interval="5m")[0][0]
    assert asked.value.status == 200
    assert f"startTime={first}" in asked.value.url  # what the chart shows, and no more
    sync_api.expect(page.locator("#quote")).to_contain_text("back-filled")


def test_candles_are_badged_by_what_the_exchange_says(page: Any, service: Service, tmp_path: Path) -> None:
    """Of Binance's two bars the first is what its trades make, the second is not; the other market has none."""
    first, second = bars(service, "BTCUSDT")
    ours, theirs = (text(Decimal(second[5]) + more) for more in (0, 1))
    klines = (first, [*second[:5], theirs, *second[6:]])
    (tmp_path / "BTCUSDT-1m-2024-08-08.csv").write_bytes(csv(klines))
    span = ("--from", "2024-08-08", "--to", "2024-08-09")
    service.run("series", "run", "bars", "--source", tmp_path, "--symbol", "BTCUSDT", *span)
    service.run("quality", "check", *span, code=1)

    page.goto(f"{service.url}/#/chart/binance/BTCUSDT/1m")
    badge = page.get_by_role("group", name="Candles on the screen against the exchange's own")
    shown = badge.locator("span:visible")
    sync_api.expect(shown).to_have_text(["1 agrees with the exchange's own", "1 differs", "0 not checked"])
    sync_api.expect(page.locator("#quote")).to_contain_text("differs from the exchange's own")
    verdict = page.locator("#verdict")
    page.locator("#canvas").press("Enter")
    sync_api.expect(verdict).to_contain_text("Differs from the exchange's own candle.")
    sync_api.expect(verdict).to_contain_text("Cause: ")
    sync_api.expect(verdict.get_by_role("row").nth(1)).to_have_text(f"volume{ours}{theirs}")
    sync_api.expect(page.locator("#origin tr.trade").first).to_be_visible()
    if folder := os.environ.get("MEDALLION_SCREENSHOTS"):
        page.screenshot(path=Path(folder) / "badge.png")
    page.locator("#canvas").press("ArrowLeft")
    page.locator("#canvas").press("ArrowLeft")
    page.locator("#canvas").press("Enter")
    sync_api.expect(verdict).to_contain_text("Agrees with the exchange's own candle.")

    page.goto(f"{service.url}/#/chart/binance/ETHUSDT/1m")
    sync_api.expect(shown).to_have_text(["0 agree with the exchange's own", "0 differ", "2 not checked"])
    page.locator("#canvas").press("Enter")
    sync_api.expect(verdict).to_have_text("Not checked: run medallion quality check.")


def bars(service: Service, symbol: str) -> list[list[Any]]:
    """The minutes that Binance's trades of a symbol make, as its klines."""
    recorded = service.trades.filter(pl.col("exchange") == "binance", pl.col("symbol") == symbol)
    made = recorded.sort("timestamp", "position").with_columns(pl.col("timestamp").dt.truncate("1m"))
    found = []
    for (start,), trades in made.group_by("timestamp", maintain_order=True):
        rows = trades.to_dicts()
        prices = [row["price"] for row in rows]
        quote = sum(EXACT.multiply(row["price"], row["quantity"]) for row in rows)
        amounts = (prices[0], max(prices), min(prices), prices[-1], sum(row["quantity"] for row in rows))
        bought = sum(row["quantity"] for row in rows if row["side"] == "BUY")
        opened = int(start.replace(tzinfo=UTC).timestamp()) * 1_000
        texts = [f"{amount:f}" for amount in amounts]
        found.append([opened, *texts, opened + 59_999, text(quote), len(rows), f"{bought:f}", "0", "0"])
    return found


def text(amount: Decimal) -> str:
    return f"{amount.normalize(EXACT):f}"


def test_what_hides_in_a_text_is_shown(page: Any, service: Service) -> None:
    page.goto(service.url)
    hidden = "BTC\u202eTDSU \x1b]0;title\x07 \u200b\u2028<b>é漢</b>\n\t"
    made = "async (text) => (await import('/page/ask.js')).element('p', [text]).textContent"
    shown = "BTC\\u{202e}TDSU \\u{1b}]0;title\\u{7} \\u{200b}\\u{2028}<b>é漢</b>\n\t"
    assert page.evaluate(made, hidden) == shown
    assert page.evaluate(made.replace("[text]", "text"), hidden) == shown


def test_dead_letters_are_filtered_and_shown_with_their_payload(page: Any, service: Service) -> None:
    page.goto(f"{service.url}/#/pipeline")
    sync_api.expect(page.locator("#reasons")).to_contain_text("price_above_limit")
    page.get_by_role("link", name="Dead letters").click()
    page.get_by_label("Reason").fill("price_above_limit")
    page.get_by_role("button", name="Filter").click()
    rows = page.locator("#letters tbody tr")
    sync_api.expect(rows).to_have_count(1)
    rows.locator("summary").click()
    sync_api.expect(rows.locator("pre")).to_contain_text("1e400")


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_view_fits_the_screen(browser: Any, service: Service, tmp_path: Path, width: int, scheme: str) -> None:
    """Its pictures are in the test's folder, or in MEDALLION_SCREENSHOTS, to be looked at."""
    folder = Path(os.environ.get("MEDALLION_SCREENSHOTS", tmp_path))
    context = browser.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme)
    page = context.new_page()
    grounds = set()
    for view in ("markets", "chart/binance/BTCUSDT/1m", "pipeline", "dead-letters"):
        page.goto(f"{service.url}/#/{view}")
        shown = page.locator("main > section:not([hidden])")
        sync_api.expect(shown.locator("p.state").first).not_to_contain_text("Loading", timeout=20_000)
        sync_api.expect(shown.locator("table:visible, canvas").first).to_be_visible(timeout=20_000)
        page.screenshot(path=folder / f"{view.partition('/')[0]}-{width}-{scheme}.png")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, view
        grounds.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert grounds == {"rgb(255, 255, 255)" if scheme == "light" else "rgb(20, 23, 28)"}
    context.close()


def test_an_open_candle_moves_while_its_trades_come_in(page: Any, service: Service, tmp_path: Path) -> None:
    """Trade by trade: what the chart says of the candle is the last trade's price, without a reload."""
    page.goto(f"{service.url}/#/chart/kraken/ETHUSD/1d")
    sync_api.expect(page.locator("#chart-state")).to_contain_text("no candle yet")
    now = datetime.now(UTC)
    for number, price in enumerate(("1500.25", "1501.75"), start=1):
        frame = {
            "channel": "trade",
            "type": "update",
            "data": [{"symbol": "ETH/USD", "side": "buy", "price": float(price), "qty": 1.5, "ord_type": "market",
                      "trade_id": number, "timestamp": now.isoformat()}],
        }  # fmt: skip
        recording = tmp_path / f"{number}.jsonl"
        recording.write_text(json.dumps(frame) + "\n", encoding="utf-8")
        service.run("replay", recording, "--exchange", "kraken")
        sync_api.expect(page.locator("#quote")).to_contain_text(price, timeout=30_000)
        sync_api.expect(page.locator("#quote")).to_contain_text(f"{number} trade", timeout=30_000)


def test_a_phone_leads_from_a_market_to_its_trades(browser: Any, service: Service) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    page = context.new_page()
    page.goto(service.url)
    page.get_by_label("Search").fill("btcusd kraken")
    page.get_by_role("link", name="BTCUSD · kraken").tap()
    page.get_by_role("button", name="1d", exact=True).tap()
    sync_api.expect(page.locator("#quote")).to_contain_text("trades")
    box = page.locator("#canvas").bounding_box()
    page.touchscreen.tap(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.locator("#canvas").press("Enter")
    sync_api.expect(page.locator("#origin tr.trade").first).to_contain_text("market.crypto.trades.kraken.raw")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    context.close()


def test_a_lost_service_is_said_and_found_again(page: Any, service: Service) -> None:
    page.goto(f"{service.url}/#/chart/binance/ETHUSDT/1m")
    connection = page.locator("#connection")
    sync_api.expect(connection).to_have_text("Live", timeout=20_000)
    serving = next(one for one in psutil.process_iter() if is_service(one, service))
    os.kill(serving.pid, signal.SIGKILL)
    sync_api.expect(connection).to_contain_text("Disconnected", timeout=20_000)
    sync_api.expect(connection).to_have_text("Live", timeout=60_000)


def is_service(process: psutil.Process, service: Service) -> bool:
    """Whether a process is the one that listens at the service's port."""
    try:
        port = int(service.url.rpartition(":")[2])
        return any(one.status == "LISTEN" and one.laddr.port == port for one in process.net_connections())
    except psutil.Error:
        return False
