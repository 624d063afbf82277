// Questions to the service, and words for its answers. Text from messages goes into the page as text only.

export class Refused extends Error {}

/** The JSON at `path` with `parameters`. Throws Refused with a sentence for the reader. */
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

// As many as any of the page's endpoints gives at once.
const PAGE = 1000;
const MOST_PAGES = 20;

/**
 * The rows from `startTime` to `endTime` (ms) at `path`, an answer after the other, by time. `rows` takes them out of an
 * answer, `time` is that of a row (ms). Throws Refused, also where there are more than twenty answers hold.
 */
export async function* pages(path, { startTime, endTime, ...asked }, rows, time) {
  for (let page = 0; startTime <= endTime; page += 1) {
    if (page === MOST_PAGES) throw new Refused("There are too many rows for one chart.");
    const found = rows(await ask(path, { ...asked, startTime, endTime, limit: PAGE }));
    yield found;
    if (found.length < PAGE) return;
    startTime = time(found[found.length - 1]) + 1;
  }
}

// As `config/visible.py`: control, format (direction overrides, zero widths), surrogate and separator characters.
const HIDDEN = /(?![\n\t])[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu;

/** The text with every control, direction and hidden character as an escape; line ends and tabs stay. */
export function visible(text) {
  return String(text).replace(HIDDEN, (character) => `\\u{${character.codePointAt(0).toString(16)}}`);
}

/** An element with a text or children. */
export function element(name, content = "", className = "") {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (Array.isArray(content)) made.append(...content.map((one) => (typeof one === "string" ? visible(one) : one)));
  else write(made, content);
  return made;
}

/** Put a text into an element: the one place of the page that does. */
export function write(made, text) {
  const shown = visible(text);
  if (made.textContent !== shown) made.textContent = shown;
}

/** Say something in a `.state` line; "" hides it. */
export function say(id, text, isError = false) {
  const line = document.getElementById(id);
  write(line, text);
  line.classList.toggle("error", isError);
}

/** A decimal without the zeros at its end. */
export function plain(text) {
  return text.includes(".") ? text.replace(/0+$/, "").replace(/\.$/, "") : text;
}

/** Milliseconds since the epoch as UTC. */
export function utc(milliseconds) {
  return new Date(milliseconds).toISOString().replace("T", " ").replace(/\.000Z$|Z$/, "");
}

/** How long ago. */
export function age(milliseconds) {
  const seconds = Math.max(0, milliseconds / 1000);
  for (const [size, word] of [[86400, "d"], [3600, "h"], [60, "min"]]) {
    if (seconds >= size) return `${Math.floor(seconds / size)} ${word} ago`;
  }
  return `${Math.floor(seconds)} s ago`;
}

/** A large amount, short. */
export function short(text) {
  return new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 2 }).format(Number(text));
}
