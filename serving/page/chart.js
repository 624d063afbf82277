// Candles and volume of one market: older ones load while the reader scrolls back, the newest come by WebSocket.
import { Agreement } from "./agreement.js";
import { ask, element, plain, say, write } from "./ask.js";
import { Live } from "./live.js";
import { closeOrigin, showOrigin } from "./origin.js";
import { Overlay, offerPins } from "./overlay.js";
import { Panes } from "./panes.js";

const FRAMES = ["1m", "5m", "15m", "30m", "1h", "1d"];
const PAGE = 500;
// Fewer candles than this are stretched over the whole chart.
const FIT_BELOW = 100;
// Older candles load when fewer than this are left of the visible ones.
const LOAD_BELOW = 50;
const canvas = document.getElementById("canvas");
const dark = matchMedia("(prefers-color-scheme: dark)");
let market = null;
// By opening time (s).
let candles = new Map();
let isLoading = false;
let hasOldest = false;
// The opening time (s) of the candle that the reader has chosen.
let chosen = null;
// The chart with its series, and the opening time of the newest candle in it; null before the first market.
let drawn = null;
let colours = {};
let pin = "";
const overlay = new Overlay(document.getElementById("overlay"));
const agreement = new Agreement(document.getElementById("agreement"), () => {
  drawMarkers();
  countAgreement();
  refreshQuote();
});
const panes = new Panes(
  document.getElementById("panes"),
  document.getElementById("panes-state"),
  (names) => { location.hash = address(market.interval, names); },
  refreshQuote,
);

const live = new Live({
  onKline: (k) => {
    // A message does not say whether the candle is incomplete, back-filled or pinned: that stays as it was loaded.
    const known = candles.get(k.t / 1000)?.words ?? [];
    const states = { isComplete: !known.includes("incomplete"), isBackfilled: known.includes("back-filled"), isPinned: known.includes("pinned") };
    const one = candleOf({ openTime: k.t, closeTime: k.T, open: k.o, high: k.h, low: k.l, close: k.c, volume: k.v, trades: k.n, isClosed: k.x, ...states });
    candles.set(one.time, one);
    if (!drawn) return;
    const { newest } = drawn;
    if (newest !== null && one.time < newest) drawAll();
    else drawNewest(one);
    if (drawn.newest !== newest) {
      panes.show(byTime());
      panes.load(k.t, k.T);
    }
    refreshQuote();
    say("chart-state", "");
  },
  onState: (state) => connection(state),
  onReconnect: () => load(null),
});

/** Show whether the page is connected: "live" or "lost". */
export function connection(state) {
  const line = document.getElementById("connection");
  write(line, state === "live" ? "Live" : "Disconnected: trying again …");
  line.classList.toggle("lost", state !== "live");
}

/** A row of `/v1/candles` as this module keeps it: `time` in s, `closes` in ms, numbers, exact texts, words for states. */
function candleOf(row) {
  const { openTime, open, high, low, close, volume, trades } = row;
  const words = [];
  if (!row.isClosed) words.push("open");
  if (!row.isComplete) words.push("incomplete");
  if (row.isBackfilled) words.push("back-filled");
  if (row.isPinned) words.push("pinned");
  return { time: openTime / 1000, closes: row.closeTime, open: Number(open), high: Number(high), low: Number(low), close: Number(close), volume: Number(volume), texts: [open, high, low, close, volume], trades, words };
}

/** A candle with its colours: an open one is hollow, a back-filled or incomplete one has a border of another colour. */
function styled(one) {
  const colour = one.close >= one.open ? colours.up : colours.down;
  const border = one.words.includes("incomplete") ? colours.incomplete : one.words.includes("back-filled") ? colours.backfilled : colour;
  return { ...one, color: one.words.includes("open") ? "transparent" : colour, borderColor: border, wickColor: border };
}

/** The colours of `style.css` for light or dark, in a form that the chart library reads. */
function readColours() {
  const style = getComputedStyle(document.documentElement);
  const probe = element("span");
  document.body.append(probe);
  const found = Object.fromEntries(["background", "text", "line", "up", "down", "accent", "backfilled", "incomplete"].map((name) => {
    probe.style.color = `var(--${name})`;
    return [name, getComputedStyle(probe).color || style.color];
  }));
  probe.remove();
  return found;
}

function applyColours() {
  colours = readColours();
  const { background, text, line, accent } = colours;
  drawn.chart.applyOptions({ layout: { background: { color: background }, textColor: text, attributionLogo: true }, grid: { vertLines: { color: line }, horzLines: { color: line } }, timeScale: { borderColor: line }, rightPriceScale: { borderColor: line } });
  overlay.applyColour(accent);
  panes.applyColours(colours);
  if (candles.size) drawAll();
}

function makeChart() {
  const { createChart, createSeriesMarkers, CandlestickSeries, HistogramSeries } = window.LightweightCharts;
  const chart = createChart(canvas, { autoSize: true, timeScale: { timeVisible: true, secondsVisible: false, maxBarSpacing: 40 } });
  const prices = chart.addSeries(CandlestickSeries, { borderVisible: true });
  const volumes = chart.addSeries(HistogramSeries, { priceScaleId: "volume", priceFormat: { type: "volume" }, lastValueVisible: false, priceLineVisible: false, color: "#7d8ba155" });
  prices.priceScale().applyOptions({ scaleMargins: { top: 0.08, bottom: 0.24 } });
  volumes.priceScale().applyOptions({ scaleMargins: { top: 0.8, bottom: 0 } });
  chart.timeScale().subscribeVisibleLogicalRangeChange((range) => {
    if (range && range.from < LOAD_BELOW) loadOlder();
    countAgreement();
  });
  chart.subscribeClick(({ time }) => time !== undefined && chooseCandle(time, true));
  drawn = { chart, prices, volumes, markers: createSeriesMarkers(prices, []), newest: null };
  overlay.draw(chart);
  panes.draw(chart, canvas);
  applyColours();
  dark.addEventListener("change", applyColours);
}

function byTime() {
  return [...candles.values()].sort((a, b) => a.time - b.time);
}

function drawAll() {
  const all = byTime();
  const decimals = Math.max(0, ...all.slice(-PAGE).flatMap((one) => one.texts.slice(0, 4).map((text) => (plain(text).split(".")[1] || "").length)));
  drawn.prices.applyOptions({ priceFormat: { type: "price", precision: decimals, minMove: 10 ** -decimals } });
  drawn.prices.setData(all.map(styled));
  drawn.volumes.setData(all.map(({ time, volume }) => ({ time, value: volume })));
  drawn.newest = all.length ? all[all.length - 1].time : null;
  panes.show(all);
  drawMarkers();
  countAgreement();
  refreshQuote();
}

/** Mark the candles that are the same in the chosen pin, and those that differ from the exchange's own. */
function drawMarkers() {
  const all = byTime();
  drawn.markers.setMarkers(all.flatMap(({ time, words }) => [
    ...(words.includes("pinned") ? [{ time, position: "belowBar", shape: "circle", size: 0.4, color: colours.accent }] : []),
    ...(agreement.differs(time) ? [{ time, position: "aboveBar", shape: "arrowDown", size: 0.6, color: colours.down }] : []),
  ]));
}

/** Count which of the candles on the screen agree with the exchange's own. */
function countAgreement() {
  const range = drawn.chart.timeScale().getVisibleRange();
  if (range && candles.size) agreement.show(candles.keys(), range);
}

function drawNewest(one) {
  drawn.prices.update(styled(one));
  drawn.volumes.update({ time: one.time, value: one.volume });
  drawn.newest = one.time;
  countAgreement();
}

/** Write the prices of a candle, its volume, its trades, and the words for its states. */
function writeQuote(one) {
  const [open, high, low, close, volume] = one.texts.map(plain);
  const words = [...one.words, ...(agreement.differs(one.time) ? ["differs from the exchange's own"] : []), ...panes.words(one)];
  write(document.getElementById("quote"), [`O ${open} · H ${high} · L ${low} · C ${close} · V ${volume} · ${one.trades} ${one.trades === 1 ? "trade" : "trades"}`, ...words].join(", "));
}

/** Write the prices again, because more is known of their candle. */
function refreshQuote() {
  const one = candles.get(chosen ?? drawn.newest);
  if (one) writeQuote(one);
}

/** Load the candles that close by `endTime` (ms), as many as one answer has; the newest for null. */
async function load(endTime) {
  const asked = market;
  const askedPin = pin;
  const isStillShown = () => asked === market && askedPin === pin;
  isLoading = true;
  try {
    const parameters = { ...asked, limit: PAGE };
    if (endTime !== null) parameters.endTime = endTime;
    if (pin) parameters.pin = pin;
    const { candles: rows, ...about } = await ask("/v1/candles", parameters);
    if (!isStillShown()) return;
    panes.describe(about);
    for (const row of rows) candles.set(row.openTime / 1000, candleOf(row));
    if (rows.length) {
      const span = [rows[0].openTime, rows[rows.length - 1].openTime];
      overlay.load(...span);
      agreement.load(...span);
      panes.load(span[0], rows[rows.length - 1].closeTime);
    }
    if (endTime !== null && rows.length < PAGE) hasOldest = true;
    drawAll();
    say("chart-state", candles.size ? "" : "This market has no candle yet. It appears here with its first trade.");
  } catch (error) {
    if (isStillShown()) say("chart-state", error.message, true);
  } finally {
    if (isStillShown()) isLoading = false;
  }
}

function loadOlder() {
  if (isLoading || hasOldest || !candles.size) return;
  load(Math.min(...candles.keys()) * 1000 - 1);
}

function chooseCandle(time, showsOrigin) {
  const one = candles.get(time);
  if (!one) return;
  chosen = time;
  drawn.chart.setCrosshairPosition(one.close, time, drawn.prices);
  writeQuote(one);
  if (showsOrigin) showOrigin(market, time * 1000);
}

canvas.addEventListener("keydown", (event) => {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  const times = [...candles.keys()].sort((a, b) => a - b);
  if (step && times.length) {
    const at = chosen === null ? times.length - 1 : times.indexOf(chosen) + step;
    chooseCandle(times[Math.min(Math.max(at, 0), times.length - 1)], false);
    event.preventDefault();
  } else if (event.key === "Enter" && times.length) {
    chooseCandle(chosen ?? times[times.length - 1], true);
    event.preventDefault();
  }
});

/** The address of the market's chart. `names`: the series under the candles. */
function address(interval, names) {
  return `#/chart/${[market.exchange, market.symbol, interval, ...names].map(encodeURIComponent).join("/")}`;
}

/** Show the market and the series under its candles (`names`) that the address has. */
export function openChart(exchange, symbol, interval, ...names) {
  const isSame = market && market.exchange === exchange && market.symbol === symbol && market.interval === interval;
  if (isSame) {
    panes.choose(names);
    refreshQuote();
    return;
  }
  if (!drawn) makeChart();
  market = { exchange, symbol, interval };
  candles = new Map();
  hasOldest = false;
  chosen = null;
  closeOrigin();
  agreement.open(market);
  panes.open(market, names);
  write(document.getElementById("chart-title"), `${symbol} · ${exchange}`);
  document.getElementById("frames").replaceChildren(...FRAMES.map((frame) => {
    const button = element("button", frame);
    button.setAttribute("aria-pressed", String(frame === interval));
    button.addEventListener("click", () => {
      location.hash = address(frame, panes.chosen);
    });
    return button;
  }));
  write(document.getElementById("quote"), "");
  drawn.prices.setData([]);
  drawn.volumes.setData([]);
  say("chart-state", "Loading candles …");
  overlay.offer(market);
  offerPins(document.getElementById("pin"), (name) => {
    pin = name;
    candles = new Map();
    hasOldest = false;
    load(null);
  });
  load(null).then(() => {
    if (candles.size < FIT_BELOW) drawn.chart.timeScale().fitContent();
    else drawn.chart.timeScale().scrollToRealTime();
  });
  live.open(exchange, symbol, interval);
}

/** Stop listening while another view is shown. */
export function leaveChart() {
  live.close();
  overlay.close();
  panes.open(null, []);
  market = null;
}
