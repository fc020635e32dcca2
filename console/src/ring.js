/** The last `capacity` samples of several numbers, oldest first, in the column layout that uPlot reads. */
export class Ring {
  /**
   * @param {number} columns how many numbers a sample has; the first is its time
   * @param {number} capacity how many samples are kept
   * @param {number} gap a sample that comes sooner than this after the one before takes its place
   */
  constructor(columns, capacity, gap) {
    this.capacity = capacity;
    this.gap = gap;
    this.columns = Array.from({ length: columns }, () => []);
  }

  /** @param {number[]} sample */
  push(sample) {
    const before = this.columns[0].at(-1);
    const replaces = before !== undefined && sample[0] - before < this.gap;
    this.columns.forEach((column, index) => {
      if (replaces) column.pop();
      column.push(sample[index]);
      if (column.length > this.capacity) column.shift();
    });
  }
}
