// Series under the candles, each in a pane of its own: the funding rates of a perpetual, and the Fear & Greed index.
import { element, pages, plain, utc } from "./ask.js";

const HOUR_MS = 3_600_000;
// The candles' pane is so many times as high as one of these.
const STRETCH = 4;

/**
 * What can be shown, from top to bottom. `held`: how long a row counts where no other one follows (ms). Hardly any
 * exchange settles funding less often than every eight hours; the index is of one UTC day.
 */
const PANES = {
  funding: {
    label: "Funding",
    title: "Funding rate",
    path: "/v1/funding",
    held: 8 * HOUR_MS,
    rows: ({ rates }) => rates,
    value: ({ percent }) => Number(percent),
    words: ({ percent, time }) => `funding ${plain(percent)} % of ${utc(time).slice(0, 16)}`,
    tone: (value, { up, down }) => (value < 0 ? down : up),
    command: ({ exchange }, { exchangeSymbol }) => `funding_rates --exchange ${exchange} --symbol ${exchangeSymbol}`,
    // The scale has numbers a little below 0, too, which are not to become -0.0000.
    options: { priceFormat: { type: "custom", minMove: 1e-4, formatter: (value) => `${(Math.round(value * 1e4) / 1e4 || 0).toFixed(4)} %` } },
  },
  index: {
    label: "Fear & Greed",
    title: "Fear & Greed index, 0 to 100",
    path: "/v1/fear-greed",
    held: 24 * HOUR_MS,
    rows: ({ days }) => days,
    value: ({ value }) => value,
    words: ({ value, classification }) => `Fear & Greed ${value} (${classification})`,
    tone: (value, { accent }) => accent,
    command: () => "fear_greed",
    options: {
      // The scale goes on above the highest value, for the title.
      priceFormat: { type: "custom", minMove: 1, formatter: (value) => (value > 100 ? "" : value.toFixed(0)) },
      autoscaleInfoProvider: () => ({ priceRange: { minValue: 0, maxValue: 100 } }),
    },
  },
};

export class Under {
  /** `buttons`, `note`: where they go. `onChoice` gets the names of what is to be on; `onLoad`: rows came. */
  constructor(buttons, note, onChoice, onLoad) {
    this.note = note;
    this.onLoad = onLoad;
    this.drawn = new Map();
    this.buttons = new Map(Object.entries(PANES).map(([name, { label }]) => {
      const button = element("button", label);
      button.addEventListener("click", () => onChoice(toggled(this.chosen, name)));
      return [name, button];
    }));
    buttons.append(...this.buttons.values());
    this.open(null, []);
  }

  /** Draw into this chart; its element is higher with every pane. */
  draw(chart, canvas) {
    this.chart = chart;
    this.canvas = canvas;
  }

  /** Forget the rows of the market before. `chosen`: names from the address. */
  open(market, chosen) {
    const isSame = market?.exchange === this.market?.exchange && market?.symbol === this.market?.symbol;
    this.about = isSame ? this.about : null;
    this.market = market;
    this.span = null;
    this.candles = [];
    this.rows = Object.fromEntries(Object.keys(PANES).map((name) => [name, new Map()]));
    this.pending = 0;
    this.failures = new Map();
    this.choose(chosen);
  }

  /** What `/v1/candles` says of the market; `isPerpetual`: it has funding. */
  offer(about) {
    this.about = about;
    this.choose(this.chosen);
  }

  /** Show these, and no others. */
  choose(names) {
    const before = this.chosen ?? [];
    this.chosen = Object.keys(PANES).filter((name) => names.includes(name));
    for (const [name, button] of this.buttons) {
      button.setAttribute("aria-pressed", String(this.chosen.includes(name)));
      button.hidden = name === "funding" && !this.about?.isPerpetual;
    }
    const added = this.span ? this.shown().filter((name) => !before.includes(name)) : [];
    if (added.length) this.fetch(added, ...this.span);
    this.show(this.candles);
  }

  /** The chosen ones that the market has. */
  shown() {
    return this.chosen.filter((name) => !this.buttons.get(name).hidden);
  }

  /** Candles from `first` to `last` (ms) are shown from now on. */
  load(first, last) {
    this.span = this.span ? [Math.min(this.span[0], first), Math.max(this.span[1], last)] : [first, last];
    for (const name of this.shown()) {
      // What failed before is requested again.
      this.fetch([name], ...(this.failures.has(name) ? this.span : [first, last]));
    }
  }

  async fetch(names, first, last) {
    const { market } = this;
    this.pending += 1;
    await Promise.all(names.map((name) => this.fetchOne(name, first, last)));
    if (market !== this.market) return;
    this.pending -= 1;
    this.show(this.candles);
    this.onLoad();
  }

  async fetchOne(name, first, last) {
    const { market, rows } = this;
    const { path, held, rows: read } = PANES[name];
    const place = name === "funding" ? { exchange: market.exchange, symbol: market.symbol } : {};
    const asked = { ...place, startTime: Math.max(0, first - held), endTime: last };
    try {
      for await (const found of pages(path, asked, read, (row) => row.time)) {
        for (const row of found) rows[name].set(row.time, row);
      }
      if (market === this.market) this.failures.delete(name);
    } catch (error) {
      if (market === this.market) this.failures.set(name, error.message);
    }
  }

  /** Draw what is chosen below these candles, by time; nothing where nothing is stored. */
  show(candles) {
    this.candles = candles;
    const shown = this.shown();
    const isKnown = candles.length > 0 && this.span !== null && !this.pending;
    for (const name of Object.keys(PANES)) {
      const values = shown.includes(name) ? this.values(name) : [];
      if (values.length) this.series(name).setData(values);
      // A pane stays while candles of another length load, so that the page does not jump.
      else if (!isKnown && shown.includes(name) && this.drawn.has(name)) this.series(name).setData([]);
      else this.remove(name);
    }
    this.say(isKnown ? shown.filter((name) => this.failures.has(name) || !this.drawn.has(name)) : []);
  }

  values(name) {
    const { value, tone } = PANES[name];
    const rows = sorted(this.rows[name]);
    return this.candles.flatMap((candle) => {
      const { row } = of(rows, candle, PANES[name].held);
      return row ? [{ time: candle.time, value: value(row), color: tone(value(row), this.tones) }] : [];
    });
  }

  /** What is shown below a candle, in words. */
  words(candle) {
    return this.shown().flatMap((name) => {
      const { row, count } = of(sorted(this.rows[name]), candle, PANES[name].held);
      return row ? [`${PANES[name].words(row)}${count > 1 ? ` (last of ${count})` : ""}`] : [];
    });
  }

  /** Use these colours; those of the values come with the next `show`. */
  paint(tones) {
    this.tones = tones;
    for (const { title, text } of this.drawn.values()) title.applyOptions({ lines: [line(text, tones)] });
  }

  series(name) {
    if (this.drawn.has(name)) return this.drawn.get(name).series;
    const { createTextWatermark, HistogramSeries } = window.LightweightCharts;
    const names = Object.keys(PANES);
    // A new pane is the lowest: those that belong below it go, and `show` draws them again.
    for (const below of names.slice(names.indexOf(name) + 1)) this.remove(below);
    const quiet = { lastValueVisible: false, priceLineVisible: false };
    const series = this.chart.addSeries(HistogramSeries, { ...quiet, ...PANES[name].options }, this.chart.panes().length);
    series.priceScale().applyOptions({ scaleMargins: { top: 0.25, bottom: 0.04 } });
    const pane = series.getPane();
    this.chart.panes()[0].setStretchFactor(STRETCH);
    pane.setStretchFactor(1);
    const text = PANES[name].title;
    const title = createTextWatermark(pane, { horzAlign: "left", vertAlign: "top", lines: [line(text, this.tones)] });
    this.drawn.set(name, { series, title, text });
    this.canvas.dataset.panes = this.drawn.size;
    return series;
  }

  remove(name) {
    if (!this.drawn.has(name)) return;
    const { series, title } = this.drawn.get(name);
    title.detach();
    // A pane without a series goes with it.
    this.chart.removeSeries(series);
    this.drawn.delete(name);
    this.canvas.dataset.panes = this.drawn.size;
  }

  /** Say how to get what is chosen and not stored, or why it is not known. */
  say(lacking) {
    this.note.replaceChildren(...lacking.map((name) => {
      const { label, command } = PANES[name];
      if (this.failures.has(name)) return element("p", `${label} is not known: ${this.failures.get(name)}`, "error");
      const run = `medallion series run ${command(this.market, this.about)} --from ${utc(this.span[0]).slice(0, 10)}`;
      return element("p", [`${label}: nothing is stored of the time in the chart. To get it: `, element("code", run)]);
    }));
  }
}

/** The names with `name` where it was not, or without it; in the order of the panes. */
function toggled(names, name) {
  return Object.keys(PANES).filter((one) => names.includes(one) !== (one === name));
}

function line(text, { ink }) {
  return { text, color: ink, fontSize: 12 };
}

function sorted(rows) {
  return [...rows.values()].sort((a, b) => a.time - b.time);
}

/** The row that counts for a candle, the newest before its end that still holds, and how many rows came within it. */
function of(rows, { time, closes }, held) {
  const opened = time * 1000;
  const last = until(rows, closes);
  const row = rows[last - 1];
  return row && row.time + held > opened ? { row, count: last - until(rows, opened - 1) } : { row: null, count: 0 };
}

/** How many of the rows, which are by time, are at or before `time`. */
function until(rows, time) {
  let low = 0;
  let high = rows.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (rows[middle].time <= time) low = middle + 1;
    else high = middle;
  }
  return low;
}
