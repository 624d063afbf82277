// The last minute of the pipeline, and the open dead letters by reason.
import { ask, element, say, utc } from "./ask.js";

export async function refreshPipeline() {
  try {
    const { exchanges, deadLetters } = await ask("/v1/pipeline");
    fill("stages", exchanges.map((one) => [
      one.exchange, one.trades_per_second.toFixed(1),
      ...["producer", "raw", "bronze", "silver", "pipeline"].map((stage) => one[stage].map(milliseconds).join(" / ")),
    ]), [1, 2, 3, 4, 5, 6]);
    say("pipeline-state", exchanges.length ? "" : "No live trade reached Silver in the last minute.");
    fill("reasons", deadLetters.map((one) => [one.reason || "not a Medallion record", String(one.letters), String(one.last_hour), utc(one.newest)]), [1, 2]);
    say("reasons-state", deadLetters.length ? "" : "No open dead letter.");
  } catch (error) {
    say("pipeline-state", error.message, true);
    throw error;
  }
}

function milliseconds(seconds) {
  return `${Math.round(seconds * 1000)} ms`;
}

/** Show the rows in a table. `numbers`: the columns that are right-aligned. */
function fill(id, rows, numbers) {
  const table = document.getElementById(id);
  table.hidden = !rows.length;
  table.tBodies[0].replaceChildren(...rows.map((cells) => element("tr", cells.map((text, index) => element("td", text, numbers.includes(index) ? "number" : "")))));
}
