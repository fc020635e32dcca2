import { TimeChart } from './charts.js';
import { integer, milliseconds, percent, rate, short, timeOfDay } from './format.js';
import { normalise } from './normalise.js';

const LIST_LENGTH = 8;

const byId = (id) => document.getElementById(id);
const write = (id, text) => {
  const element = byId(id);
  if (element.textContent !== text) element.textContent = text;
};

/** The cards, charts and lists that show the metrics payload. */
export class Overview {
  constructor() {
    this.throughput = new TimeChart(
      byId('throughput-chart'),
      byId('throughput-legend'),
      [{ label: 'now', colour: '--blue', fill: true }],
      rate,
    );
    this.latency = new TimeChart(
      byId('latency-chart'),
      byId('latency-legend'),
      [
        { label: 'p50', colour: '--green' },
        { label: 'p95', colour: '--amber' },
        { label: 'p99', colour: '--red' },
      ],
      milliseconds,
    );
  }

  /** @param {unknown} payload the parsed metrics message, in either profile */
  show(payload) {
    const view = normalise(payload);
    this.explain('');
    showCards(view);
    const now = Date.now();
    this.throughput.push(now / 1_000, [view.eventsPerSecond]);
    this.latency.push(now / 1_000, [view.latency.p50, view.latency.p95, view.latency.p99]);
    showSeverities(view.severities);
    showBars(byId('types'), view.types.slice(0, LIST_LENGTH));
    showBars(byId('sources'), view.sources.slice(0, LIST_LENGTH));
    showBars(byId('users'), view.users.slice(0, LIST_LENGTH));
    showSpans(view.spans);
    showAnomalies(view.anomalies);
    write('updated', timeOfDay(now));
  }

  /** Says why there are no numbers, in their place; an empty text brings them back. */
  explain(text) {
    write('metrics-notice', text);
    byId('metrics-notice').hidden = text === '';
    byId('overview').classList.toggle('without-numbers', text !== '');
  }

  recolour() {
    this.throughput.recolour();
    this.latency.recolour();
  }
}

function showCards(view) {
  write('total-events', integer(view.totalEvents));
  write('events-per-second', rate(view.eventsPerSecond));
  write('avg-latency', milliseconds(view.avgLatency));
  write('error-rate', percent(view.errorRate));
  write('unique-users', integer(view.uniqueUsers));
  write('unique-sources', integer(view.uniqueSources));
  write('unique-event-types', integer(view.uniqueEventTypes));
  const { peak, peakTimestamp, avg, trend } = view.throughput;
  const at = peakTimestamp === null ? '' : ` at ${timeOfDay(peakTimestamp)}`;
  write('total-note', `${rate(avg)} per second on average${trend === null ? '' : `, ${trend}`}`);
  write('rate-note', `peak ${rate(peak)}${at}`);
  write('latency-note', `${milliseconds(view.latency.min)} to ${milliseconds(view.latency.max)}`);
  write('error-note', `${integer(view.totalErrors)} ${view.totalErrors === 1 ? 'error' : 'errors'}`);
}

function showSeverities(severities) {
  showBars(byId('severities'), severities);
  const stack = byId('severity-stack');
  severities.forEach(({ name, count }, index) => {
    const part = stack.children[index] ?? stack.appendChild(document.createElement('i'));
    part.dataset.severity = name;
    part.style.flexGrow = String(count);
  });
}

/** Fills a list with bars in proportion to the largest; elements are reused, the list is redrawn each second. */
function showBars(list, counts) {
  const most = Math.max(1, ...counts.map(({ count }) => count));
  while (list.children.length > Math.max(counts.length, 1)) list.lastElementChild.remove();
  if (counts.length === 0) {
    const item = list.firstElementChild ?? list.appendChild(document.createElement('li'));
    item.className = 'none';
    item.textContent = 'none yet';
    return;
  }
  counts.forEach(({ name, count }, index) => {
    const item = barAt(list, index);
    item.dataset.name = name;
    item.style.setProperty('--share', `${(100 * count) / most}%`);
    const [label, value] = item.children;
    if (label.textContent !== name) label.textContent = label.title = name;
    value.textContent = short(count);
    value.title = integer(count);
  });
}

function barAt(list, index) {
  const present = list.children[index];
  if (present?.className === '') return present;
  const item = document.createElement('li');
  item.className = '';
  const label = document.createElement('span');
  const value = document.createElement('b');
  item.append(label, value);
  if (present) present.replaceWith(item);
  else list.append(item);
  return item;
}

function showSpans(spans) {
  const rows = spans.map(({ name, events, avgLatency, errorRate }) => {
    const row = document.createElement('tr');
    const head = document.createElement('th');
    head.scope = 'row';
    head.textContent = name;
    const cells = [
      integer(events),
      avgLatency === null ? '–' : milliseconds(avgLatency),
      errorRate === null ? '–' : percent(errorRate),
    ].map((text) => Object.assign(document.createElement('td'), { textContent: text }));
    row.append(head, ...cells);
    return row;
  });
  byId('spans').replaceChildren(...rows);
}

function showAnomalies(anomalies) {
  const list = byId('anomalies');
  list.hidden = anomalies.length === 0;
  list.replaceChildren(
    ...anomalies.map(({ severity, message }) => {
      const item = Object.assign(document.createElement('li'), { textContent: message });
      item.dataset.severity = severity;
      return item;
    }),
  );
}
