/** The last `capacity` samples of several numbers, oldest first, in the column layout that uPlot reads. */
export class Ring {
  /**
   * @param {number} columns how many numbers a sample has; the first is its time
   * @param {number} capacity how many samples are kept
   * @param {number} apart a sample that comes sooner than this after the one before takes its place, at its time
   * @param {number} gap where none came for longer than this, the line is broken
   */
  constructor(columns, capacity, apart, gap = Infinity) {
    this.capacity = capacity;
    this.apart = apart;
    this.gap = gap;
    this.columns = Array.from({ length: columns }, () => []);
  }

  /** @param {number[]} sample */
  push(sample) {
    const [time, ...values] = sample;
    // A clock that was set back: what is later than now would hold up all that follows.
    while (this.columns[0].at(-1) > time) this.#pop();
    const before = this.columns[0].at(-1) ?? -Infinity;
    if (time - before < this.apart) {
      this.#pop();
      this.#append([before, ...values]);
      return;
    }
    if (Number.isFinite(before) && time - before > this.gap) this.#append([(before + time) / 2, ...values.map(() => null)]);
    this.#append(sample);
  }

  #pop() {
    for (const column of this.columns) column.pop();
  }

  #append(sample) {
    this.columns.forEach((column, index) => {
      column.push(sample[index]);
      if (column.length > this.capacity) column.shift();
    });
  }
}
