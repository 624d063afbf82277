// Where a candle comes from: its trades, the Kafka message of each, and whether the candle agrees with the exchange's own.
import { verdictOn } from "./agreement.js";
import { ask, element, plain, say, utc, write } from "./ask.js";

const section = document.getElementById("origin");
const table = document.getElementById("origin-trades");
const verdict = document.getElementById("verdict");
const more = document.getElementById("origin-more");
let shown = null;

export function closeOrigin() {
  section.hidden = true;
  shown = null;
}

/** Show the trades of the candle that opened at `opened` (ms). */
export async function showOrigin({ exchange, symbol, interval }, opened) {
  shown = { exchange, symbol, interval, openTime: opened };
  write(document.getElementById("origin-title"), `Where the ${interval} candle of ${utc(opened)} UTC comes from`);
  section.hidden = false;
  table.hidden = true;
  table.tBodies[0].replaceChildren();
  say("origin-state", "Loading trades …");
  section.focus();
  await Promise.all([loadTrades(0), loadVerdict()]);
}

/** Show whether the candle agrees with the exchange's own. */
async function loadVerdict() {
  const asked = shown;
  const { openTime, ...market } = asked;
  verdict.replaceChildren();
  try {
    const found = await verdictOn(market, openTime);
    if (asked === shown) verdict.replaceChildren(...found);
  } catch (error) {
    if (asked === shown) verdict.replaceChildren(element("p", `Whether the candle agrees with the exchange's own is not known: ${error.message}`));
  }
}

/** Add the trades of the candle from number `offset` on. */
async function loadTrades(offset) {
  const asked = shown;
  more.hidden = true;
  try {
    const { trades, hasMore } = await ask("/v1/origin", { ...asked, offset });
    if (asked !== shown) return;
    table.tBodies[0].append(...trades.map((trade) => row(asked.exchange, trade)));
    const count = table.tBodies[0].querySelectorAll("tr.trade").length;
    table.hidden = !count;
    const counted = `${count} ${count === 1 ? "trade" : "trades"}${hasMore ? " and more" : ""}`;
    say("origin-state", count ? counted : "ClickHouse no longer has these trades.");
    more.hidden = !hasMore;
    more.onclick = () => loadTrades(offset + trades.length);
  } catch (error) {
    if (asked === shown) say("origin-state", error.message, true);
  }
}

function row(exchange, trade) {
  const button = element("button", "Show");
  button.setAttribute("aria-expanded", "false");
  const line = element("tr", [
    element("td", utc(trade.time / 1000)),
    element("td", trade.trade_kind === "market" ? trade.trade_id : `${trade.trade_id} (${trade.trade_kind})`),
    element("td", trade.side, trade.side === "BUY" ? "up" : "down"),
    element("td", plain(trade.price), "number"),
    element("td", plain(trade.quantity), "number"),
    element("td", trade.raw_topic),
    element("td", String(trade.raw_partition), "number"),
    element("td", String(trade.raw_offset), "number"),
    element("td", [button]),
  ], "trade");
  button.addEventListener("click", () => toggleMessage(exchange, trade, line, button));
  return line;
}

/** Show the message of a trade below its line, or remove it. */
async function toggleMessage(exchange, trade, line, button) {
  if (button.getAttribute("aria-expanded") === "true") {
    line.nextElementSibling.remove();
    button.setAttribute("aria-expanded", "false");
    return;
  }
  button.setAttribute("aria-expanded", "true");
  const cell = element("td", "Loading …", "text");
  cell.colSpan = 9;
  line.after(element("tr", [cell]));
  try {
    const { payload, reason } = await ask("/v1/payload", {
      exchange, topic: trade.raw_topic, partition: trade.raw_partition, offset: trade.raw_offset, ingested: trade.ingested,
    });
    const times = `Received ${utc(trade.received / 1000)}, in Raw ${utc(trade.ingested / 1000)}, in Silver ${utc(trade.validated / 1000)}, rules ${trade.rules_version}.`;
    cell.replaceChildren(element("p", times), payload === null ? element("p", reason) : element("pre", exchangeText(payload)));
  } catch (error) {
    write(cell, error.message);
  }
}

/** The exchange's payload in an envelope; the whole message if it is no envelope. */
function exchangeText(message) {
  try {
    const { payload } = JSON.parse(message);
    return typeof payload === "string" ? payload : message;
  } catch {
    return message;
  }
}

document.getElementById("origin-close").addEventListener("click", () => {
  closeOrigin();
  document.getElementById("canvas").focus();
});
