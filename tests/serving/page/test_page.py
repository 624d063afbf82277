"""The page in a real browser: each journey of somebody who looks at the pipeline.

Needs Debian's chromium and Playwright, which `make test-page` installs; skipped without them.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal
from pathlib import Path
from typing import Any

import polars as pl
import psutil
import pytest

from tests.producers.market_lists import binance, binance_spot
from tests.recorded import OURS
from tests.series.klines import csv
from tests.series.venue import Query, Reply, answering
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
    badge = page.get_by_role("group", name="Candles on the screen, compared with the exchange's own")
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


@pytest.fixture(scope="module")
def perpetual(service: Service, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of its chart: 700 hours with a trade each, a rate every eight hours but one, an index of each day."""
    recording = tmp_path_factory.mktemp("perpetual") / "hours.jsonl"
    recording.write_text("".join(f"{json.dumps(trade_of_hour(hour))}\n" for hour in range(HOURS)), encoding="utf-8")
    service.run("replay", recording, "--exchange", "binance_usdm")
    service.run("drain")
    with answering(providers()) as url:
        span = ("--from", f"{MONTH:%F}", "--to", f"{MONTH + timedelta(days=31):%F}", "--rest-endpoint", url)
        market = ("--exchange", "binance_usdm", "--symbol", "SOLUSDT")
        service.run("series", "run", "funding_rates", *market, *span)
        service.run("series", "run", "fear_greed", *span)
    return f"{service.url}/#/chart/binance_usdm/SOLUSDT"


def test_funding_and_the_index_are_under_the_candles(page: Any, perpetual: str) -> None:
    page.goto(f"{perpetual}/1h")
    quote, canvas = page.locator("#quote"), page.locator("#canvas")
    sync_api.expect(quote).to_have_text("O 103.5 · H 103.5 · L 103.5 · C 103.5 · V 1.25 · 1 trade, back-filled")
    page.get_by_role("button", name="Fear & Greed", exact=True).click()
    sync_api.expect(quote).to_contain_text("1 trade, back-filled, Fear & Greed 59 (Mood 59)")
    page.get_by_role("button", name="Funding", exact=True).click()
    sync_api.expect(canvas).to_have_attribute("data-panes", "2")
    assert page.url == f"{perpetual}/1h/funding/index"
    # Three panes, two lines between them, the axis: also where the lower pane and the one above it come at once.
    sync_api.expect(canvas.locator("tr")).to_have_count(6)
    page.evaluate("""async () => {
        const { openChart } = await import('/page/chart.js');
        const show = (...names) => openChart('binance_usdm', 'SOLUSDT', '1h', ...names);
        show();
        await new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)));
        show('index');
        show('funding', 'index');
    }""")
    sync_api.expect(canvas.locator("tr")).to_have_count(6)
    page.reload()
    sync_api.expect(canvas).to_have_attribute("data-panes", "2")
    sync_api.expect(quote).to_contain_text(f"funding {percent(87)} % of 2024-03-30 00:00, Fear & Greed 59 (Mood 59)")
    for scheme, width in (("light", 390), ("dark", 390), ("light", 1280), ("dark", 1280)):
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size({"width": width, "height": 1000})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        if folder := os.environ.get("MEDALLION_SCREENSHOTS"):
            page.screenshot(path=Path(folder) / f"under-{width}-{scheme}.png")

    # From 03:00 to 16:00 of the day before, whose rate is not stored. The one before is eight hours old.
    for _ in range(12):
        canvas.press("ArrowLeft")
    sync_api.expect(quote).to_contain_text("C 116.5 · V 1.25 · 1 trade, back-filled, Fear & Greed 58 (Mood 58)")
    canvas.press("ArrowLeft")
    rate = f"funding {percent(85)} % of 2024-03-29 08:00"
    sync_api.expect(quote).to_contain_text(f"C 115.5 · V 1.25 · 1 trade, back-filled, {rate}, Fear & Greed 58")

    page.get_by_role("button", name="1d", exact=True).click()
    sync_api.expect(quote).to_contain_text(f"4 trades, back-filled, funding {percent(87)} % of 2024-03-30 00:00, Fear")
    for _ in range(2):
        canvas.press("ArrowLeft")
    sync_api.expect(quote).to_contain_text(f"{rate} (last of 2), Fear & Greed 58")
    assert page.url == f"{perpetual}/1d/funding/index"


def test_funding_comes_as_one_scrolls_back_and_goes_with_its_button(page: Any, perpetual: str) -> None:
    page.goto(f"{perpetual}/1h/funding")
    canvas, funding = page.locator("#canvas"), page.get_by_role("button", name="Funding", exact=True)
    sync_api.expect(funding).to_have_attribute("aria-pressed", "true")
    sync_api.expect(canvas).to_have_attribute("data-panes", "1")
    canvas.hover()
    # The first answer has the newest 500 candles. The rate before the oldest candle of the next one may count for it.
    asked = f"startTime={int((MONTH - timedelta(hours=8)).timestamp()) * 1000}&"
    with page.expect_response(lambda answer: "/v1/funding" in answer.url and asked in answer.url) as answer:
        for _ in range(20):
            page.mouse.wheel(-2_000, 0)
    assert len(answer.value.json()["rates"]) == 25
    funding.press("Enter")
    sync_api.expect(canvas).to_have_attribute("data-panes", "0")
    sync_api.expect(funding).to_have_attribute("aria-pressed", "false")
    sync_api.expect(page.locator("#quote")).not_to_contain_text("funding")
    assert page.url == f"{perpetual}/1h"


def test_what_is_not_stored_has_no_pane_and_its_button_says_how_to_get_it(page: Any, service: Service) -> None:
    linear = service.trades.filter(pl.col("exchange") == "bybit_linear", pl.col("symbol") == "BTCUSDT")
    day = f"{linear['timestamp'].min():%F}"
    page.goto(f"{service.url}/#/chart/bybit_linear/BTCUSDT/1m")
    quote, note, canvas = page.locator("#quote"), page.locator("#panes-state"), page.locator("#canvas")
    sync_api.expect(quote).to_contain_text("trades")
    sync_api.expect(note).to_be_empty()
    funding = page.get_by_role("button", name="Funding", exact=True)
    funding.click()
    rates = f"medallion series run funding_rates --exchange bybit_linear --symbol BTCUSDT --from {day}"
    sync_api.expect(note.locator("code")).to_have_text(rates)
    page.get_by_role("button", name="Fear & Greed", exact=True).click()
    sync_api.expect(note.locator("code")).to_have_text([rates, f"medallion series run fear_greed --from {day}"])
    assert canvas.get_attribute("data-panes") is None
    if folder := os.environ.get("MEDALLION_SCREENSHOTS"):
        page.screenshot(path=Path(folder) / "under-nothing.png")

    page.goto(f"{service.url}/#/chart/binance/BTCUSDT/1m/funding")
    sync_api.expect(quote).to_contain_text("trades")
    sync_api.expect(funding).to_be_hidden()  # spot has none
    sync_api.expect(note).to_be_empty()


HOURS = 700
MONTH = datetime(2024, 3, 1, tzinfo=UTC)


def trade_of_hour(hour: int) -> dict[str, Any]:
    at = int((MONTH + timedelta(hours=hour)).timestamp()) * 1000
    price = f"{100 + hour % 24}.5"
    trade = {"e": "trade", "E": at, "T": at, "s": "SOLUSDT", "t": hour + 1, "p": price, "q": "1.25"}
    return trade | {"X": "MARKET", "m": hour % 2 == 0}


def providers() -> dict[str, Any]:
    """Binance's futures and alternative.me: rates 0 to 87 but 86, every eight hours, and an index of 31 days."""
    market = binance_spot("SOLUSDT", "SOL", "USDT") | {
        "pair": "SOLUSDT", "contractType": "PERPETUAL", "deliveryDate": 4133404800000, "onboardDate": 1569398400000,
        "marginAsset": "USDT", "pricePrecision": 2, "quantityPrecision": 3, "underlyingType": "COIN",
    }  # fmt: skip
    month = int(MONTH.timestamp())
    rates = [
        {"symbol": "SOLUSDT", "fundingRate": f"{(number - 40) / 10**6:.8f}", "markPrice": "100",
         "fundingTime": (month + number * 8 * 3_600) * 1000}
        for number in range(88) if number != 86
    ]  # fmt: skip
    days = [
        {"value": f"{30 + day}", "value_classification": f"Mood {30 + day}", "timestamp": f"{month + day * 86_400}"}
        for day in range(31)
    ]

    def page_of(query: Query) -> Reply:
        return Reply([one for one in rates if int(str(one["fundingTime"])) >= int(query["startTime"])])

    return {
        "/fapi/v1/exchangeInfo": lambda _: Reply(binance(market)),
        "/fapi/v1/fundingRate": page_of,
        "/fng/": lambda _: Reply({"data": days[::-1], "metadata": {"error": None}}),
    }


def percent(number: int) -> str:
    """A rate of `providers` as the page writes it: no zeros at the end."""
    return f"{Decimal(number - 40) / 10**4:f}"


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
    rows = page.locator("#dead-letters-table tbody tr")
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
