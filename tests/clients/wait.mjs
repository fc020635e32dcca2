/** Waits that end: for a promise, for a value to become true, for the next item of a queue. */

export const WAIT_MS = 10_000;

/** The promise's value, or an error that says what did not come. */
export async function within(milliseconds, promise, what) {
  let timer;
  const late = new Promise((_, fail) => {
    timer = setTimeout(() => fail(new Error(`waited ${milliseconds} ms for ${what}`)), milliseconds);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Asks until it is so. */
export async function until(isSo, what) {
  const end = Date.now() + WAIT_MS;
  while (!(await isSo())) {
    if (Date.now() > end) throw new Error(`waited ${WAIT_MS} ms for ${what}`);
    await new Promise((done) => setTimeout(done, 20));
  }
}

/** What arrived, in order, for tests that await it. */
export class Queue {
  #items = [];
  #waiting = null;

  push(item) {
    this.#items.push(item);
    this.#waiting?.();
  }

  get length() {
    return this.#items.length;
  }

  /** The next item. */
  async next(what = 'the next item', milliseconds = WAIT_MS) {
    return this.find(() => true, what, milliseconds);
  }

  /** The first item that fits; those before it are dropped. */
  async find(fits, what, milliseconds = WAIT_MS) {
    const end = Date.now() + milliseconds;
    let last;
    for (;;) {
      while (this.#items.length > 0) {
        last = this.#items.shift();
        if (fits(last)) return last;
      }
      const left = end - Date.now();
      const arrived = new Promise((done) => (this.#waiting = done));
      try {
        await within(Math.max(left, 1), arrived, what);
      } catch {
        throw new Error(`waited ${milliseconds} ms for ${what}; the last item was ${JSON.stringify(last)?.slice(0, 400)}`);
      }
    }
  }

  /** As many items as asked for. */
  async take(count, what) {
    const items = [];
    while (items.length < count) items.push(await this.next(`${what} (${items.length} of ${count})`));
    return items;
  }
}
