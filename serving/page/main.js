// Shows the view that the address names after #, and refreshes it.
import { connection, leaveChart, openChart } from "./chart.js";
import { refreshDeadLetters } from "./dead_letters.js";
import { newestMarket, refreshMarkets } from "./markets.js";
import { refreshPipeline } from "./pipeline.js";

const PERIOD_MS = 2000;
const views = ["markets", "chart", "pipeline", "dead-letters"];
let view = "";
let lastChart = "";

function route() {
  const [, name, ...rest] = location.hash.split("/");
  view = views.includes(name) ? name : "markets";
  for (const one of views) {
    document.getElementById(one).hidden = one !== view;
    const link = document.querySelector(`nav a[href="#/${one}"]`);
    if (one === view) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${document.querySelector(`#${view} h2`).textContent} – Medallion`;
  if (view !== "chart") leaveChart();
  refresh(rest);
}

async function refresh(rest = []) {
  const asked = view;
  try {
    if (asked === "chart") {
      if (rest.length >= 3) {
        lastChart = location.hash;
        openChart(...rest.map(decodeURIComponent));
      } else if (lastChart) location.replace(lastChart);
      else await openNewestMarket();
      return;
    }
    await { markets: refreshMarkets, pipeline: refreshPipeline, "dead-letters": refreshDeadLetters }[asked]();
    connection("live");
  } catch {
    connection("lost");
  }
}

async function openNewestMarket() {
  await refreshMarkets();
  const market = newestMarket();
  if (market) location.replace(`#/chart/${encodeURIComponent(market.exchange)}/${encodeURIComponent(market.symbol)}/1m`);
  else location.hash = "#/markets";
}

addEventListener("hashchange", route);
setInterval(() => {
  // A refresh would close the payload that somebody reads.
  const isReading = document.querySelector("#dead-letters details[open]") !== null;
  if (!document.hidden && view !== "chart" && !(view === "dead-letters" && isReading)) refresh();
}, PERIOD_MS);
route();
