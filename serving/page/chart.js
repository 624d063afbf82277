// Candles and volume of one market: history as one scrolls back, the newest by WebSocket.
import { Agreement } from "./agreement.js";
import { ask, element, plain, say, write } from "./ask.js";
import { Live } from "./live.js";
import { closeOrigin, showOrigin } from "./origin.js";
import { Overlay, offerPins } from "./overlay.js";
import { Under } from "./under.js";

const FRAMES = ["1m", "5m", "15m", "30m", "1h", "1d"];
const PAGE = 500;
// So few candles fill the chart.
const FEW = 100;
const canvas = document.getElementById("canvas");
const dark = matchMedia("(prefers-color-scheme: dark)");
let market = null;
let candles = new Map();
let isLoading = false;
let isWhole = false;
let chosen = null;
let drawn = null;
let tones = {};
let pin = "";
const overlay = new Overlay(document.getElementById("overlay"));
const agreement = new Agreement(document.getElementById("agreement"), () => {
  mark();
  count();
  quoteAgain();
});
const under = new Under(
  document.getElementById("under"),
  document.getElementById("under-state"),
  (names) => { location.hash = address(market.interval, names); },
  quoteAgain,
);

const live = new Live({
  onKline: (k) => {
    const one = candle({ openTime: k.t, closeTime: k.T, open: k.o, high: k.h, low: k.l, close: k.c, volume: k.v, trades: k.n, isClosed: k.x, isComplete: true });
    candles.set(one.time, one);
    if (!drawn) return;
    const { newest } = drawn;
    if (newest !== null && one.time < newest) draw();
    else drawOne(one);
    if (drawn.newest !== newest) {
      under.show(byTime());
      under.load(k.t, k.T);
    }
    quoteAgain();
    say("chart-state", "");
  },
  onState: (state) => connection(state),
  onAgain: () => load(null),
});

export function connection(state) {
  const line = document.getElementById("connection");
  write(line, state === "live" ? "Live" : "Disconnected: trying again …");
  line.classList.toggle("lost", state !== "live");
}

function candle(of) {
  const { openTime, open, high, low, close, volume, trades } = of;
  const words = [];
  if (!of.isClosed) words.push("open");
  if (!of.isComplete) words.push("incomplete");
  if (of.isBackfilled) words.push("back-filled");
  if (of.isPinned) words.push("pinned");
  return { time: openTime / 1000, closes: of.closeTime, open: Number(open), high: Number(high), low: Number(low), close: Number(close), volume: Number(volume), texts: [open, high, low, close, volume], trades, words };
}

/** A candle as it is drawn: an open one is hollow, a back-filled or incomplete one has a border of its own colour. */
function look(one) {
  const tone = one.close >= one.open ? tones.up : tones.down;
  const edge = one.words.includes("incomplete") ? tones.incomplete : one.words.includes("back-filled") ? tones.backfilled : tone;
  return { ...one, color: one.words.includes("open") ? "transparent" : tone, borderColor: edge, wickColor: edge };
}

function colours() {
  const style = getComputedStyle(document.documentElement);
  const probe = element("span");
  document.body.append(probe);
  const found = Object.fromEntries(["ground", "ink", "line", "up", "down", "accent", "backfilled", "incomplete"].map((name) => {
    probe.style.color = `var(--${name})`;
    return [name, getComputedStyle(probe).color || style.color];
  }));
  probe.remove();
  return found;
}

function paint() {
  tones = colours();
  const { ground, ink, line, accent } = tones;
  drawn.chart.applyOptions({ layout: { background: { color: ground }, textColor: ink, attributionLogo: true }, grid: { vertLines: { color: line }, horzLines: { color: line } }, timeScale: { borderColor: line }, rightPriceScale: { borderColor: line } });
  overlay.paint(accent);
  under.paint(tones);
  if (candles.size) draw();
}

function make() {
  const { createChart, createSeriesMarkers, CandlestickSeries, HistogramSeries } = window.LightweightCharts;
  const chart = createChart(canvas, { autoSize: true, timeScale: { timeVisible: true, secondsVisible: false, maxBarSpacing: 40 } });
  const prices = chart.addSeries(CandlestickSeries, { borderVisible: true });
  const volumes = chart.addSeries(HistogramSeries, { priceScaleId: "volume", priceFormat: { type: "volume" }, lastValueVisible: false, priceLineVisible: false, color: "#7d8ba155" });
  prices.priceScale().applyOptions({ scaleMargins: { top: 0.08, bottom: 0.24 } });
  volumes.priceScale().applyOptions({ scaleMargins: { top: 0.8, bottom: 0 } });
  chart.timeScale().subscribeVisibleLogicalRangeChange((range) => {
    if (range && range.from < 50) older();
    count();
  });
  chart.subscribeClick(({ time }) => time !== undefined && choose(time, true));
  drawn = { chart, prices, volumes, markers: createSeriesMarkers(prices, []), newest: null };
  overlay.draw(chart);
  under.draw(chart, canvas);
  paint();
  dark.addEventListener("change", paint);
}

function byTime() {
  return [...candles.values()].sort((a, b) => a.time - b.time);
}

function draw() {
  const all = byTime();
  const decimals = Math.max(0, ...all.slice(-PAGE).flatMap((one) => one.texts.slice(0, 4).map((text) => (plain(text).split(".")[1] || "").length)));
  drawn.prices.applyOptions({ priceFormat: { type: "price", precision: decimals, minMove: 10 ** -decimals } });
  drawn.prices.setData(all.map(look));
  drawn.volumes.setData(all.map(({ time, volume }) => ({ time, value: volume })));
  drawn.newest = all.length ? all[all.length - 1].time : null;
  under.show(all);
  mark();
  count();
  quoteAgain();
}

/** Mark the candles that a pin has just so, and those that differ from the exchange's own. */
function mark() {
  const all = byTime();
  drawn.markers.setMarkers(all.flatMap(({ time, words }) => [
    ...(words.includes("pinned") ? [{ time, position: "belowBar", shape: "circle", size: 0.4, color: tones.accent }] : []),
    ...(agreement.differs(time) ? [{ time, position: "aboveBar", shape: "arrowDown", size: 0.6, color: tones.down }] : []),
  ]));
}

/** Count which of the candles on the screen agree with the exchange's own. */
function count() {
  const range = drawn.chart.timeScale().getVisibleRange();
  if (range && candles.size) agreement.show(candles.keys(), range);
}

function drawOne(one) {
  drawn.prices.update(look(one));
  drawn.volumes.update({ time: one.time, value: one.volume });
  drawn.newest = one.time;
  count();
}

function quote(one) {
  const [open, high, low, close, volume] = one.texts.map(plain);
  const words = [...one.words, ...(agreement.differs(one.time) ? ["differs from the exchange's own"] : []), ...under.words(one)];
  write(document.getElementById("quote"), [`O ${open} · H ${high} · L ${low} · C ${close} · V ${volume} · ${one.trades} ${one.trades === 1 ? "trade" : "trades"}`, ...words].join(", "));
}

/** Write the quote again, as more is known of its candle. */
function quoteAgain() {
  const one = candles.get(chosen ?? drawn.newest);
  if (one) quote(one);
}

async function load(endTime) {
  const asked = market;
  const of = pin;
  const isWanted = () => asked === market && of === pin;
  isLoading = true;
  try {
    const parameters = { ...asked, limit: PAGE };
    if (endTime !== null) parameters.endTime = endTime;
    if (pin) parameters.pin = pin;
    const { candles: rows, ...about } = await ask("/v1/candles", parameters);
    if (!isWanted()) return;
    under.offer(about);
    for (const row of rows) candles.set(row.openTime / 1000, candle(row));
    if (rows.length) {
      const span = [rows[0].openTime, rows[rows.length - 1].openTime];
      overlay.load(...span);
      agreement.load(...span);
      under.load(span[0], rows[rows.length - 1].closeTime);
    }
    if (endTime !== null && rows.length < PAGE) isWhole = true;
    draw();
    say("chart-state", candles.size ? "" : "This market has no candle yet. It appears here with its first trade.");
  } catch (error) {
    if (isWanted()) say("chart-state", error.message, true);
  } finally {
    if (isWanted()) isLoading = false;
  }
}

function older() {
  if (isLoading || isWhole || !candles.size) return;
  load(Math.min(...candles.keys()) * 1000 - 1);
}

function choose(time, isOpened) {
  const one = candles.get(time);
  if (!one) return;
  chosen = time;
  drawn.chart.setCrosshairPosition(one.close, time, drawn.prices);
  quote(one);
  if (isOpened) showOrigin(market, time * 1000);
}

canvas.addEventListener("keydown", (event) => {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  const times = [...candles.keys()].sort((a, b) => a - b);
  if (step && times.length) {
    const at = chosen === null ? times.length - 1 : times.indexOf(chosen) + step;
    choose(times[Math.min(Math.max(at, 0), times.length - 1)], false);
    event.preventDefault();
  } else if (event.key === "Enter" && times.length) {
    choose(chosen ?? times[times.length - 1], true);
    event.preventDefault();
  }
});

/** The address of the market's chart; `names`: what is shown under the candles. */
function address(interval, names) {
  return `#/chart/${[market.exchange, market.symbol, interval, ...names].map(encodeURIComponent).join("/")}`;
}

/** Show a market; the address has it, so that it can be kept and sent. `names`: what is to be under the candles. */
export function openChart(exchange, symbol, interval, ...names) {
  const isSame = market && market.exchange === exchange && market.symbol === symbol && market.interval === interval;
  if (isSame) {
    under.choose(names);
    quoteAgain();
    return;
  }
  if (!drawn) make();
  market = { exchange, symbol, interval };
  candles = new Map();
  isWhole = false;
  chosen = null;
  closeOrigin();
  agreement.open(market);
  under.open(market, names);
  write(document.getElementById("chart-title"), `${symbol} · ${exchange}`);
  document.getElementById("frames").replaceChildren(...FRAMES.map((frame) => {
    const button = element("button", frame);
    button.setAttribute("aria-pressed", String(frame === interval));
    button.addEventListener("click", () => {
      location.hash = address(frame, under.chosen);
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
    isWhole = false;
    load(null);
  });
  load(null).then(() => {
    if (candles.size < FEW) drawn.chart.timeScale().fitContent();
    else drawn.chart.timeScale().scrollToRealTime();
  });
  live.open(exchange, symbol, interval);
}

/** Stop listening while another view is shown. */
export function leaveChart() {
  live.close();
  overlay.close();
  under.open(null, []);
  market = null;
}
