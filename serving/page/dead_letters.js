// The newest dead letters that match the filters, each beside its payload.
import { ask, element, say, utc } from "./ask.js";

const form = document.getElementById("filters");
const table = document.getElementById("dead-letters-table");

export async function refreshDeadLetters() {
  const filters = Object.fromEntries([...new FormData(form)].map(([name, value]) => [name, value.trim()]).filter(([, value]) => value));
  try {
    const { letters: deadLetters } = await ask("/v1/dead-letters", filters);
    table.hidden = !deadLetters.length;
    const none = Object.keys(filters).length ? "No open dead letter matches the filters." : "No open dead letter: every message became a trade or a duplicate.";
    say("dead-letters-state", deadLetters.length ? "" : none);
    table.tBodies[0].replaceChildren(...deadLetters.map(row));
  } catch (error) {
    say("dead-letters-state", error.message, true);
    throw error;
  }
}

function row(deadLetter) {
  const details = element("details", [
    element("summary", `partition ${deadLetter.raw_partition}, offset ${deadLetter.raw_offset}`),
    element("p", deadLetter.raw_topic),
    element("pre", deadLetter.payload),
  ]);
  return element("tr", [
    element("td", utc(deadLetter.rejected)),
    element("td", deadLetter.reason || "not a Medallion record"),
    element("td", `${deadLetter.symbol || "?"} · ${deadLetter.exchange || "?"}`),
    element("td", deadLetter.value ? `${deadLetter.field}: ${deadLetter.value}` : deadLetter.field, "text"),
    element("td", `${deadLetter.rule} ${deadLetter.limit}`, "text"),
    element("td", [details], "text"),
  ]);
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  refreshDeadLetters().catch(() => {});
});
