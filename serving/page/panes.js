// The series under the candles, each in a pane: the funding rates of a perpetual, and the Fear & Greed index.
import { element, pages, plain, utc } from "./ask.js";

const HOUR_MS = 3_600_000;
// The pane of the candles is so many times as high as another pane.
const STRETCH = 4;

/**
 * The panes from top to bottom. `valid`: how long a row counts if no other follows (ms). Hardly any exchange settles
 * funding less often than every eight hours. A value of the index is for one UTC day.
 */
const PANES = {
  funding: {
    label: "Funding",
    title: "Funding rate",
    path: "/v1/funding",
    valid: 8 * HOUR_MS,
    rows: ({ rates }) => rates,
    value: ({ percent }) => Number(percent),
    words: ({ percent, time }) => `funding ${plain(percent)} % of ${utc(time).slice(0, 16)}`,
    colour: (value, { up, down }) => (value < 0 ? down : up),
    command: ({ exchange }, { exchangeSymbol }) => `funding_rates --exchange ${exchange} --symbol ${exchangeSymbol}`,
    // `|| 0` turns -0, which numbers a little below 0 are rounded to, into 0.
    options: { priceFormat: { type: "custom", minMove: 1e-4, formatter: (value) => `${(Math.round(value * 1e4) / 1e4 || 0).toFixed(4)} %` } },
  },
  index: {
    label: "Fear & Greed",
    title: "Fear & Greed index, 0 to 100",
    path: "/v1/fear-greed",
    valid: 24 * HOUR_MS,
    rows: ({ days }) => days,
    value: ({ value }) => value,
    words: ({ value, classification }) => `Fear & Greed ${value} (${classification})`,
    colour: (value, { accent }) => accent,
    command: () => "fear_greed",
    options: {
      // Above 100 there is only room for the title.
      priceFormat: { type: "custom", minMove: 1, formatter: (value) => (value > 100 ? "" : value.toFixed(0)) },
      autoscaleInfoProvider: () => ({ priceRange: { minValue: 0, maxValue: 100 } }),
    },
  },
};

export class Panes {
  /**
   * `buttons`, `note`: the elements for the buttons and for messages. `onChoice` gets the names of the panes to show.
   * `onLoad` is called when rows have arrived.
   */
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

  /** Draw into this chart. Its element `canvas` becomes higher with every pane. */
  draw(chart, canvas) {
    this.chart = chart;
    this.canvas = canvas;
  }

  /** Show another market; null for none. `chosen`: names of panes, from the address. */
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

  /** Take what `/v1/candles` says of the market. `isPerpetual`: it has funding rates. */
  describe(about) {
    this.about = about;
    this.choose(this.chosen);
  }

  /** Show these panes and no others. */
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

  /** The chosen panes that the market has. */
  shown() {
    return this.chosen.filter((name) => !this.buttons.get(name).hidden);
  }

  /** Load the rows for candles from `first` to `last` (ms). */
  load(first, last) {
    this.span = this.span ? [Math.min(this.span[0], first), Math.max(this.span[1], last)] : [first, last];
    for (const name of this.shown()) {
      // After a failure, everything is asked for again.
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
    const { path, valid, rows: read } = PANES[name];
    const place = name === "funding" ? { exchange: market.exchange, symbol: market.symbol } : {};
    const asked = { ...place, startTime: Math.max(0, first - valid), endTime: last };
    try {
      for await (const found of pages(path, asked, read, (row) => row.time)) {
        for (const row of found) rows[name].set(row.time, row);
      }
      if (market === this.market) this.failures.delete(name);
    } catch (error) {
      if (market === this.market) this.failures.set(name, error.message);
    }
  }

  /** Draw the chosen panes under these candles, which are by time. A pane without stored rows is not drawn. */
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
    const { value, colour } = PANES[name];
    const rows = sorted(this.rows[name]);
    return this.candles.flatMap((candle) => {
      const { row } = rowOf(candle, rows, PANES[name].valid);
      return row ? [{ time: candle.time, value: value(row), color: colour(value(row), this.colours) }] : [];
    });
  }

  /** The values under a candle, in words. */
  words(candle) {
    return this.shown().flatMap((name) => {
      const { row, count } = rowOf(candle, sorted(this.rows[name]), PANES[name].valid);
      return row ? [`${PANES[name].words(row)}${count > 1 ? ` (last of ${count})` : ""}`] : [];
    });
  }

  /** Use these colours: at once for titles, and at the next `show` for values. */
  applyColours(colours) {
    this.colours = colours;
    for (const { title, text } of this.drawn.values()) title.applyOptions({ lines: [titleLine(text, colours)] });
  }

  /** The series of a pane. The pane is added if it is not drawn. */
  series(name) {
    if (this.drawn.has(name)) return this.drawn.get(name).series;
    const { createTextWatermark, HistogramSeries } = window.LightweightCharts;
    const names = Object.keys(PANES);
    // A new pane is the lowest. So panes that belong below it are removed, and `show` draws them again.
    for (const below of names.slice(names.indexOf(name) + 1)) this.remove(below);
    const quiet = { lastValueVisible: false, priceLineVisible: false };
    const series = this.chart.addSeries(HistogramSeries, { ...quiet, ...PANES[name].options }, this.chart.panes().length);
    series.priceScale().applyOptions({ scaleMargins: { top: 0.25, bottom: 0.04 } });
    const pane = series.getPane();
    this.chart.panes()[0].setStretchFactor(STRETCH);
    pane.setStretchFactor(1);
    const text = PANES[name].title;
    const title = createTextWatermark(pane, { horzAlign: "left", vertAlign: "top", lines: [titleLine(text, this.colours)] });
    this.drawn.set(name, { series, title, text });
    this.canvas.dataset.panes = this.drawn.size;
    return series;
  }

  remove(name) {
    if (!this.drawn.has(name)) return;
    const { series, title } = this.drawn.get(name);
    title.detach();
    // This also removes its pane, which has no other series.
    this.chart.removeSeries(series);
    this.drawn.delete(name);
    this.canvas.dataset.panes = this.drawn.size;
  }

  /** Say how to get the rows of panes that have none, or why they are not known. */
  say(names) {
    this.note.replaceChildren(...names.map((name) => {
      const { label, command } = PANES[name];
      if (this.failures.has(name)) return element("p", `${label} is not known: ${this.failures.get(name)}`, "error");
      const run = `medallion series run ${command(this.market, this.about)} --from ${utc(this.span[0]).slice(0, 10)}`;
      return element("p", [`${label}: nothing is stored for the time in the chart. To get it, run: `, element("code", run)]);
    }));
  }
}

/** The names with `name` added, or removed if it was there, in the order of the panes. */
function toggled(names, name) {
  return Object.keys(PANES).filter((one) => names.includes(one) !== (one === name));
}

function titleLine(title, { text }) {
  return { text: title, color: text, fontSize: 12 };
}

function sorted(rows) {
  return [...rows.values()].sort((a, b) => a.time - b.time);
}

/** The row for a candle, which is the newest valid one before its end, and how many rows lie within the candle. */
function rowOf({ time, closes }, rows, valid) {
  const opened = time * 1000;
  const last = countUntil(rows, closes);
  const row = rows[last - 1];
  return row && row.time + valid > opened ? { row, count: last - countUntil(rows, opened - 1) } : { row: null, count: 0 };
}

/** The number of rows at or before `time` (ms). The rows are sorted by time. */
function countUntil(rows, time) {
  let low = 0;
  let high = rows.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (rows[middle].time <= time) low = middle + 1;
    else high = middle;
  }
  return low;
}
