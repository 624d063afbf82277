// Whether candles agree with the exchange's own: the counts below the chart, and the verdict on one candle.
import { ask, element, pages, utc, write } from "./ask.js";

const SECOND = 1000;

export class Agreement {
  /** `badge`: the line of counts, with an element for each of them. `onLoad` is called when verdicts have arrived. */
  constructor(badge, onLoad) {
    this.badge = badge;
    this.onLoad = onLoad;
    this.open(null);
  }

  /** Show another market; null for none. */
  open(market) {
    this.market = market;
    this.verdicts = new Map();
    this.span = null;
    this.pending = 0;
    this.failure = "";
    this.badge.hidden = true;
  }

  /** Load the verdicts on the candles that open from `first` to `last` (ms). */
  async load(first, last) {
    const { market } = this;
    this.span = this.span ? [Math.min(this.span[0], first), Math.max(this.span[1], last)] : [first, last];
    this.pending += 1;
    // After a failure, everything is asked for again.
    const isRetry = Boolean(this.failure);
    const failure = await this.fetch(...(isRetry ? this.span : [first, last])).then(() => "", (error) => error.message);
    if (market !== this.market) return;
    this.pending -= 1;
    if (failure || isRetry) this.failure = failure;
    this.onLoad();
  }

  /** Ask for the verdicts of a span (ms). */
  async fetch(first, last) {
    const { market } = this;
    const asked = { ...market, startTime: first, endTime: last };
    for await (const verdicts of pages("/v1/agreement", asked, (answer) => answer.verdicts, (one) => one.openTime)) {
      if (market !== this.market) return;
      for (const verdict of verdicts) this.verdicts.set(verdict.openTime / SECOND, verdict);
    }
  }

  /** Whether the candle that opened at `time` (s) was compared and does not agree. */
  differs(time) {
    const verdict = this.verdicts.get(time);
    return verdict !== undefined && isCompared(verdict) && !verdict.agrees;
  }

  /**
   * Count the candles that open from `from` to `to` (s). `times`: when the candles of the chart open (s). While verdicts
   * load, the old counts stay.
   */
  show(times, { from, to }) {
    if (this.pending || !this.span) return;
    const counts = { agree: 0, differ: 0, unchecked: 0, absent: 0 };
    const isShown = (time) => time >= from && time <= to;
    const known = new Set(times);
    for (const time of known) {
      if (!isShown(time)) continue;
      const verdict = this.verdicts.get(time);
      if (verdict === undefined || !isCompared(verdict)) counts.unchecked += 1;
      else counts[verdict.agrees ? "agree" : "differ"] += 1;
    }
    for (const [time, { result }] of this.verdicts) {
      if (result === "no_candle" && isShown(time) && !known.has(time)) counts.absent += 1;
    }
    this.write(counts);
  }

  write({ agree, differ, unchecked, absent }) {
    const texts = {
      agree: `${agree} ${agree === 1 ? "agrees" : "agree"} with the exchange's own`,
      differ: `${differ} ${differ === 1 ? "differs" : "differ"}`,
      unchecked: `${unchecked} not checked`,
      absent: absent ? `${absent} of the exchange's ${absent === 1 ? "is" : "are"} missing here` : "",
      failure: this.failure && `Agreement with the exchange's own is not known: ${this.failure}`,
    };
    for (const [name, text] of Object.entries(texts)) {
      const part = this.badge.querySelector(`.${name}`);
      write(part, text);
      part.hidden = !text || Boolean(this.failure) !== (name === "failure");
    }
    this.badge.hidden = false;
  }
}

/** Elements that show the newest verdict on the candle that opened at `opened` (ms). */
export async function verdictOn(market, opened) {
  const { verdicts } = await ask("/v1/agreement", { ...market, startTime: opened, endTime: opened });
  if (!verdicts.length) return [element("p", "Not checked: run medallion quality check.")];
  const [verdict] = verdicts;
  const checked = `Checked ${utc(verdict.checked)} UTC.`;
  if (!isCompared(verdict)) return [element("p", `Not compared: ${verdict.detail}. ${checked}`)];
  if (!verdict.cause) return [element("p", `Agrees with the exchange's own candle. ${checked}`)];
  const sentence = verdict.agrees ? "Agrees with the exchange's own candle except for rounding." : "Differs from the exchange's own candle.";
  // A cause that a later version has stored has no meaning here, and not every cause has a detail.
  const cause = element("p", `Cause: ${[verdict.cause, verdict.meaning].filter(Boolean).join(", ")}`);
  const detail = verdict.detail ? [element("p", `Found: ${verdict.detail}`)] : [];
  return [element("p", `${sentence} ${checked}`), cause, ...detail, cellTable(verdict.differing)];
}

function cellTable(differing) {
  const head = element("thead", [element("tr", ["Cell", "Ours", "The exchange's"].map((title) => {
    const cell = element("th", title, title === "Cell" ? "" : "number");
    cell.scope = "col";
    return cell;
  }))]);
  const body = element("tbody", differing.map(({ cell, ours, theirs }) => {
    const name = element("th", cell.replaceAll("_", " "));
    name.scope = "row";
    return element("tr", [name, element("td", ours || "none", "number"), element("td", theirs || "none", "number")]);
  }));
  return element("div", [element("table", [element("caption", "Cells that differ"), head, body])], "wide");
}

function isCompared({ result }) {
  return result !== "no_bar";
}
