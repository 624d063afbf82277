// Asks the service, and writes its answers into the page, always as text and never as markup.

export class Refused extends Error {}

/** The JSON at `path` with `parameters`. Throws Refused with a message for the reader. */
export async function ask(path, parameters = {}) {
  const query = new URLSearchParams(parameters).toString();
  let answer;
  try {
    answer = await fetch(query ? `${path}?${query}` : path, { headers: { Accept: "application/json" } });
  } catch {
    throw new Refused("The service does not answer. This page tries again by itself.");
  }
  const body = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Refused(body.msg || `The service answered ${answer.status}.`);
  return body;
}

// The most rows that these endpoints give in one answer.
const PAGE = 1000;
const MOST_PAGES = 20;

/**
 * The rows from `startTime` to `endTime` (ms) at `path`, by time, one answer after the other. `rows` takes the rows out
 * of an answer, `time` gives the time of a row (ms). Throws Refused, also if there are more than MOST_PAGES answers.
 */
export async function* pages(path, { startTime, endTime, ...asked }, rows, time) {
  for (let page = 0; startTime <= endTime; page += 1) {
    if (page === MOST_PAGES) throw new Refused("There are too many rows for one chart: choose longer candles.");
    const found = rows(await ask(path, { ...asked, startTime, endTime, limit: PAGE }));
    yield found;
    if (found.length < PAGE) return;
    startTime = time(found[found.length - 1]) + 1;
  }
}

// As `config/visible.py`: control, format (direction overrides, zero widths), surrogate and separator characters.
const HIDDEN = /(?![\n\t])[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu;

/** The text with an escape for every control, direction and hidden character. Line ends and tabs stay. */
export function visible(text) {
  return String(text).replace(HIDDEN, (character) => `\\u{${character.codePointAt(0).toString(16)}}`);
}

/** A new element. `content`: its text, or an array of its children. */
export function element(name, content = "", className = "") {
  const created = document.createElement(name);
  if (className) created.className = className;
  if (Array.isArray(content)) created.append(...content.map((one) => (typeof one === "string" ? visible(one) : one)));
  else write(created, content);
  return created;
}

/** Put a text into an element. No other function of the page does this, so hidden characters are always escaped. */
export function write(target, text) {
  const shown = visible(text);
  if (target.textContent !== shown) target.textContent = shown;
}

/** Write a message into a `.state` line; "" hides the line. */
export function say(id, text, isError = false) {
  const line = document.getElementById(id);
  write(line, text);
  line.classList.toggle("error", isError);
}

/** A decimal without the zeros at its end. */
export function plain(text) {
  return text.includes(".") ? text.replace(/0+$/, "").replace(/\.$/, "") : text;
}

/** A time (ms since the epoch) as text in UTC. */
export function utc(milliseconds) {
  return new Date(milliseconds).toISOString().replace("T", " ").replace(/\.000Z$|Z$/, "");
}

/** A duration (ms) as text: how long ago something was. */
export function age(milliseconds) {
  const seconds = Math.max(0, milliseconds / 1000);
  for (const [size, word] of [[86400, "d"], [3600, "h"], [60, "min"]]) {
    if (seconds >= size) return `${Math.floor(seconds / size)} ${word} ago`;
  }
  return `${Math.floor(seconds)} s ago`;
}

/** A large amount as short text, `1.2M`. */
export function short(text) {
  return new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 2 }).format(Number(text));
}
