/** The last `capacity` samples of several numbers, oldest first, in the column layout that uPlot reads. */
export class Ring {
  /**
   * @param {number} columns how many numbers a sample has; the first is its time
   * @param {number} capacity how many samples are kept
   */
  constructor(columns, capacity) {
    this.capacity = capacity;
    this.columns = Array.from({ length: columns }, () => []);
  }

  /** @param {number[]} sample */
  push(sample) {
    this.columns.forEach((column, index) => {
      column.push(sample[index]);
      if (column.length > this.capacity) column.shift();
    });
  }
}
