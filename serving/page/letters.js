// The newest dead letters that match the filters, each beside its payload.
import { ask, element, say, utc } from "./ask.js";

const form = document.getElementById("filters");
const table = document.getElementById("letters");

export async function refreshLetters() {
  const filters = Object.fromEntries([...new FormData(form)].map(([name, value]) => [name, value.trim()]).filter(([, value]) => value));
  try {
    const { letters } = await ask("/v1/dead-letters", filters);
    table.hidden = !letters.length;
    const none = Object.keys(filters).length ? "No open dead letter matches the filters." : "No open dead letter: every message became a trade or a duplicate.";
    say("letters-state", letters.length ? "" : none);
    table.tBodies[0].replaceChildren(...letters.map(row));
  } catch (error) {
    say("letters-state", error.message, true);
    throw error;
  }
}

function row(letter) {
  const details = element("details", [
    element("summary", `partition ${letter.raw_partition}, offset ${letter.raw_offset}`),
    element("p", letter.raw_topic),
    element("pre", letter.payload),
  ]);
  return element("tr", [
    element("td", utc(letter.rejected)),
    element("td", letter.reason || "not a Medallion record"),
    element("td", `${letter.symbol || "?"} · ${letter.exchange || "?"}`),
    element("td", letter.value ? `${letter.field}: ${letter.value}` : letter.field, "text"),
    element("td", `${letter.rule} ${letter.limit}`, "text"),
    element("td", [details], "text"),
  ]);
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  refreshLetters().catch(() => {});
});
