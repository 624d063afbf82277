// A line over the candles: the closes of the same symbol on another exchange. Also the choice of a pin.
import { ask, element, pages, Refused } from "./ask.js";
import { Live } from "./live.js";

export class Overlay {
  /** `select`: the element in which an exchange is chosen. */
  constructor(select) {
    this.select = select;
    this.market = null;
    this.closes = new Map();
    this.live = new Live({
      onKline: (k) => this.add(k.t, k.c),
      onState: () => {},
      onReconnect: () => this.reload(),
    });
    select.addEventListener("change", () => this.choose(select.value));
  }

  draw(chart) {
    this.line = chart.addSeries(window.LightweightCharts.LineSeries, { lineWidth: 2, priceLineVisible: false, crosshairMarkerVisible: false });
  }

  applyColour(colour) {
    this.line.applyOptions({ color: colour });
  }

  /** Offer the other exchanges that have trades of the symbol. */
  async offer(market) {
    this.close();
    this.market = market;
    this.span = null;
    this.select.replaceChildren(element("option", "none"));
    this.select.options[0].value = "";
    const { markets } = await ask("/v1/markets").catch(() => ({ markets: [] }));
    if (market !== this.market) return;
    const others = markets.filter((one) => one.symbol === market.symbol && one.exchange !== market.exchange);
    for (const { exchange } of others) this.select.append(element("option", exchange));
    this.select.parentElement.hidden = !others.length;
  }

  choose(exchange) {
    this.exchange = exchange;
    this.closes.clear();
    this.line.setData([]);
    this.line.applyOptions({ title: exchange });
    this.live.close();
    if (!exchange) return;
    this.live.open(exchange, this.market.symbol, this.market.interval);
    this.reload();
  }

  /** Load the closes of the candles that open from `first` to `last` (ms). */
  load(first, last) {
    this.span = this.span ? [Math.min(this.span[0], first), Math.max(this.span[1], last)] : [first, last];
    if (this.exchange) this.fetch(first, last);
  }

  reload() {
    if (this.span) this.fetch(...this.span);
  }

  async fetch(first, last) {
    const { market, exchange } = this;
    const path = `/${encodeURIComponent(exchange)}/api/v3/klines`;
    const asked = { symbol: market.symbol, interval: market.interval, startTime: first, endTime: last };
    const isStillShown = () => market === this.market && exchange === this.exchange;
    try {
      for await (const rows of pages(path, asked, (answer) => answer, ([opened]) => opened)) {
        if (!isStillShown()) return;
        for (const [opened, , , , close] of rows) this.closes.set(opened / 1000, Number(close));
      }
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
    }
    // Closes that came before a refusal are shown.
    if (isStillShown()) this.show();
  }

  add(opened, close) {
    this.closes.set(opened / 1000, Number(close));
    this.show();
  }

  show() {
    this.line.setData([...this.closes].sort(([a], [b]) => a - b).map(([time, value]) => ({ time, value })));
  }

  close() {
    this.live.close();
    this.market = null;
    this.exchange = "";
    this.closes.clear();
    if (this.line) this.line.setData([]);
  }
}

/** Offer all pins. `onChoice` gets the name of the chosen one; "" for none. */
export async function offerPins(select, onChoice) {
  const { pins } = await ask("/v1/pins").catch(() => ({ pins: [] }));
  const chosen = select.value;
  select.replaceChildren(element("option", "none"), ...pins.map((name) => element("option", name)));
  select.options[0].value = "";
  select.value = pins.includes(chosen) ? chosen : "";
  select.parentElement.hidden = !pins.length;
  select.onchange = () => onChoice(select.value);
}
