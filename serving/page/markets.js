// The list of all markets, which can be searched and sorted. Each leads to its chart.
import { age, ask, element, plain, say, short } from "./ask.js";

const table = document.getElementById("markets-table");
const sortKeys = {
  name: (one) => `${one.symbol} ${one.exchange}`,
  price: (one) => Number(one.lastPrice),
  change: (one) => Number(one.priceChangePercent),
  volume: (one) => Number(one.quoteVolume),
  age: (one) => -one.lastTime,
};
let markets = [];
let serverTime = 0;
let sorted = { by: "change", isDescending: true };

export async function refreshMarkets() {
  try {
    ({ markets, serverTime } = await ask("/v1/markets"));
    show();
  } catch (error) {
    say("markets-state", error.message, true);
    throw error;
  }
}

/** The market with the newest trade. The chart shows it if none is chosen. */
export function newestMarket() {
  return markets.reduce((best, one) => (!best || one.lastTime > best.lastTime ? one : best), null);
}

function show() {
  const words = document.getElementById("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  const found = markets.filter((one) => words.every((word) => sortKeys.name(one).toLowerCase().includes(word)));
  // Changes are sorted by their size, up or down.
  const key = sorted.by === "change" ? (one) => Math.abs(sortKeys.change(one)) : sortKeys[sorted.by];
  const sign = sorted.isDescending ? -1 : 1;
  found.sort((a, b) => (key(a) < key(b) ? -sign : key(a) > key(b) ? sign : 0));
  const none = markets.length ? "No market matches the search." : "No trade has arrived yet. Start medallion produce or medallion replay.";
  say("markets-state", found.length ? "" : none);
  table.hidden = !found.length;
  for (const button of table.querySelectorAll("[data-sort]")) {
    const direction = sorted.isDescending ? "descending" : "ascending";
    button.parentElement.setAttribute("aria-sort", button.dataset.sort === sorted.by ? direction : "none");
  }
  table.tBodies[0].replaceChildren(...found.map(row));
}

function row(one) {
  const link = element("a", [one.symbol, element("span", ` · ${one.exchange}`, "of")]);
  link.href = `#/chart/${encodeURIComponent(one.exchange)}/${encodeURIComponent(one.symbol)}/1m`;
  const change = Number(one.priceChangePercent);
  return element("tr", [
    element("td", [link]),
    element("td", plain(one.lastPrice), "number"),
    element("td", one.count ? `${change > 0 ? "+" : ""}${one.priceChangePercent} %` : "no trade", `number ${change > 0 ? "up" : change < 0 ? "down" : ""}`),
    element("td", short(one.quoteVolume), "number"),
    element("td", age(serverTime - one.lastTime), "number"),
  ]);
}

document.getElementById("search").addEventListener("input", show);
table.tHead.addEventListener("click", (event) => {
  const by = event.target.dataset?.sort;
  if (!by) return;
  sorted = { by, isDescending: sorted.by === by ? !sorted.isDescending : by !== "name" };
  show();
});
