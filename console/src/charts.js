import uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';
import { timeOfDay } from './format.js';
import { Ring } from './ring.js';
import { settings } from './settings.js';

const SECONDS = 300;
/** More points than this are not told apart. */
const APART_SECONDS = 0.5;
const CAPACITY = SECONDS / APART_SECONDS;
/** So many periods without a sample are an outage. */
const PERIODS_MISSED = 3;
/** A young chart is not stretched beyond this. */
const LEAST_SECONDS = 30;

const probe = document.head.appendChild(document.createElement('i'));

/**
 * A chart of numbers over the last minutes, with its legend as text, in the colours of the page.
 * The series' colours are names of custom properties in style.css.
 */
export class TimeChart {
  #ring;
  #values = [];

  /**
   * @param {HTMLElement} plot
   * @param {HTMLElement} legend
   * @param {{ label: string, colour: string, fill?: boolean }[]} series
   * @param {(value: number) => string} format
   */
  constructor(plot, legend, series, format) {
    this.plot = plot;
    this.series = series;
    this.format = format;
    this.#ring = new Ring(series.length + 1, CAPACITY, APART_SECONDS, gapSeconds());
    legend.replaceChildren(...series.map((one) => this.#legendItem(one)));
    this.chart = new uPlot(this.#options(), this.#ring.columns, plot);
    new ResizeObserver(() => this.chart.setSize(sizeOf(plot))).observe(plot);
  }

  /** @param {number} time seconds since the epoch @param {number[]} values one for each series */
  push(time, values) {
    this.#ring.push([time, ...values]);
    this.chart.setData(this.#ring.columns);
    const texts = values.map(this.format);
    texts.forEach((text, index) => (this.#values[index].textContent = text));
    const summary = this.series.map(({ label }, index) => `${label} ${texts[index]}`).join(', ');
    this.plot.setAttribute('aria-label', `Now: ${summary}`);
  }

  /** Draws again, in the colours that hold now. */
  recolour() {
    this.chart.redraw(false, true);
  }

  #legendItem({ label, colour }) {
    const item = document.createElement('li');
    const swatch = document.createElement('span');
    swatch.className = 'swatch';
    swatch.style.setProperty('--colour', `var(${colour})`);
    const value = document.createElement('b');
    value.textContent = '–';
    this.#values.push(value);
    item.append(swatch, label, ' ', value);
    return item;
  }

  #options() {
    const axis = {
      stroke: () => colourOf('--muted'),
      grid: { stroke: () => colourOf('--grid'), width: 1 },
      ticks: { show: false },
      font: '11px system-ui, sans-serif',
    };
    return {
      ...sizeOf(this.plot),
      legend: { show: false },
      cursor: { drag: { x: false, y: false }, points: { size: 6 } },
      // Room for half of the last time below.
      padding: [8, 28, 0, 0],
      scales: {
        x: { time: true, range: (_, __, last) => lastMinutes(this.#ring.columns[0], last) },
        y: { range: (_, __, most) => [0, Math.max(most ?? 0, 1) * 1.15] },
      },
      axes: [
        { ...axis, grid: { show: false }, space: 70, size: 24, values: (_, times) => times.map((t) => timeOfDay(t * 1_000)) },
        { ...axis, size: 44, space: 36, values: (_, marks) => marks.map((mark) => axisMark.format(mark)) },
      ],
      series: [
        {},
        ...this.series.map(({ label, colour, fill }) => ({
          label,
          width: 2,
          stroke: () => colourOf(colour),
          fill: fill ? () => colourOf(`${colour}-soft`) : undefined,
          points: { show: false },
        })),
      ],
    };
  }
}

const axisMark = new Intl.NumberFormat('en', { notation: 'compact', maximumFractionDigits: 2 });

function gapSeconds() {
  return (PERIODS_MISSED * Math.max(settings.periodMs, 1_000)) / 1_000;
}

function lastMinutes(times, last) {
  const end = last ?? Date.now() / 1_000;
  const first = times[0] ?? end;
  return [Math.min(Math.max(first, end - SECONDS), end - LEAST_SECONDS), end];
}

function sizeOf(plot) {
  return { width: Math.max(plot.clientWidth, 120), height: Math.max(plot.clientHeight, 120) };
}

/** The colour of now: a property itself still names both. */
function colourOf(property) {
  probe.style.color = `var(${property})`;
  return getComputedStyle(probe).color;
}
