/** The newest log lines, and those of them that pass a filter. No document, so that it is tested without one. */
export class LogRing {
  #lines = [];
  #shown = [];
  #filter = () => true;

  /** @param {number} limit lines that are kept */
  constructor(limit) {
    this.limit = limit;
    this.lost = 0;
  }

  /** The lines that pass, the oldest first. */
  get shown() {
    return this.#shown;
  }

  get length() {
    return this.#lines.length;
  }

  /** Takes lines; answers how many shown ones gave way at the beginning. */
  push(lines) {
    this.#lines.push(...lines);
    this.#shown.push(...lines.filter(this.#filter));
    const excess = this.#lines.length - this.limit;
    if (excess <= 0) return 0;
    this.lost += excess;
    const gone = this.#lines.splice(0, excess).filter(this.#filter).length;
    this.#shown.splice(0, gone);
    return gone;
  }

  /** Shows only what passes; a pattern that is no expression is an error, and the former filter stays. */
  filter({ level = '', source = '', pattern = '' }) {
    const finds = matcher(pattern);
    const plain = plainLevel(level);
    this.#filter = (line) =>
      (plain === '' || plainLevel(line.level) === plain) && (source === '' || line.source === source) && finds(line.message);
    this.#shown = this.#lines.filter(this.#filter);
  }

  clear() {
    this.#lines = [];
    this.#shown = [];
    this.lost = 0;
  }

  /** The sources of all lines, in order. */
  sources() {
    return [...new Set(this.#lines.map((line) => line.source).filter(Boolean))].sort();
  }
}

/** A part of the text, or `/EXPRESSION/` with `i` behind it or without, as the streams take it. */
export function matcher(pattern) {
  if (pattern === '') return () => true;
  const [, expression, flags] = /^\/(.+)\/(i?)$/.exec(pattern) ?? [];
  if (expression === undefined) return (text) => text.includes(pattern);
  const regex = new RegExp(expression, flags);
  return (text) => regex.test(text);
}

/** A line of a message's body, which anyone may have written. */
export function lineOf(body, now = new Date()) {
  let object;
  try {
    object = JSON.parse(body);
  } catch {
    object = { message: body };
  }
  if (object === null || typeof object !== 'object') object = { message: String(body) };
  const text = (value, other) => (value === undefined || value === null ? other : String(value));
  return {
    timestamp: text(object.timestamp, now.toISOString()),
    level: text(object.level, 'info').toLowerCase(),
    source: text(object.source, ''),
    message: text(object.message, ''),
    metadata: object.metadata && Object.keys(object.metadata).length > 0 ? JSON.stringify(object.metadata) : '',
  };
}

function plainLevel(level) {
  return level === 'warning' ? 'warn' : level;
}
