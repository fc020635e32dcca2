/**
 * The metrics payload in the one shape that the page draws. The broker publishes either the profile
 * `documented` or the profile `dashboard`; both become a `View`, and whatever a payload lacks becomes
 * null, zero or an empty list, so that nothing after this file has to ask.
 *
 * @typedef {{ name: string, count: number }} Count
 * @typedef {{ name: string, events: number, avgLatency: number | null, errorRate: number | null }} Span
 * @typedef {{ severity: string, message: string }} Anomaly
 * @typedef {object} View
 * @property {'documented' | 'dashboard'} profile
 * @property {number} totalEvents
 * @property {number} eventsPerSecond   events/s
 * @property {number} avgLatency        ms
 * @property {number} errorRate         percent
 * @property {number} totalErrors
 * @property {number} uniqueUsers
 * @property {number} uniqueSources
 * @property {number} uniqueEventTypes
 * @property {{ p50: number, p95: number, p99: number, min: number, max: number }} latency   ms
 * @property {{ peak: number, peakTimestamp: string | null, avg: number, trend: string | null }} throughput   events/s
 * @property {Count[]} severities   always the four, INFO first
 * @property {Count[]} types        most events first
 * @property {Count[]} sources      most events first
 * @property {Count[]} users        most events first
 * @property {Span[]} spans         shortest first
 * @property {Anomaly[]} anomalies  only in profile `dashboard`
 */

/**
 * @param {unknown} payload the parsed JSON of a metrics message
 * @returns {View}
 * @throws {TypeError} when it is not a metrics payload at all
 */
export function normalise(payload) {
  if (!isObject(payload) || !isObject(payload.summary)) {
    throw new TypeError('not a metrics payload: no summary');
  }
  return isDashboard(payload) ? fromDashboard(payload) : fromDocumented(payload);
}

export const SEVERITIES = ['INFO', 'WARNING', 'ERROR', 'CRITICAL'];

function isDashboard(payload) {
  return isObject(payload.performance) || isObject(payload.userMetrics) || isObject(payload.throughput?.current);
}

function fromDocumented(payload) {
  const { summary } = payload;
  const throughput = object(payload.throughput);
  return {
    profile: 'documented',
    totalEvents: number(summary.totalEvents),
    eventsPerSecond: number(summary.eventsPerSecond),
    avgLatency: number(summary.avgLatency),
    errorRate: number(summary.errorRate),
    totalErrors: number(payload.errorMetrics?.totalErrors),
    uniqueUsers: number(summary.uniqueUsers),
    uniqueSources: number(summary.uniqueSources),
    uniqueEventTypes: number(summary.uniqueEventTypes),
    latency: latency(object(payload.latencyMetrics?.overall), 'min', 'max'),
    throughput: {
      peak: number(throughput.peak),
      peakTimestamp: text(throughput.peakTimestamp),
      avg: number(throughput.avg),
      trend: text(throughput.trend),
    },
    severities: severities(payload.eventsBySeverity),
    types: counts(payload.eventsByType),
    sources: counts(payload.eventsBySource),
    users: users(payload.topUsers),
    spans: spans(payload.timeWindows),
    anomalies: [],
  };
}

function fromDashboard(payload) {
  const { summary } = payload;
  const throughput = object(payload.throughput);
  const errors = object(payload.errorAnalysis);
  const performance = object(payload.performance);
  return {
    profile: 'dashboard',
    totalEvents: number(summary.totalEvents),
    eventsPerSecond: number(throughput.current?.perSecond),
    avgLatency: number(performance.avgLatency),
    errorRate: number(errors.errorRate),
    totalErrors: number(errors.totalErrors),
    uniqueUsers: number(summary.uniqueUsers ?? payload.userMetrics?.totalUniqueUsers),
    uniqueSources: number(summary.uniqueSources),
    uniqueEventTypes: number(summary.uniqueEventTypes),
    latency: latency(performance, 'minLatency', 'maxLatency'),
    throughput: {
      peak: number(throughput.peak?.value),
      peakTimestamp: text(throughput.peak?.timestamp),
      avg: number(throughput.average?.last1Hour),
      trend: null,
    },
    severities: severities(payload.eventsBySeverity),
    types: counts(payload.eventsByType),
    sources: counts(payload.eventsBySource),
    users: users(payload.userMetrics?.topActiveUsers),
    spans: spans(payload.timeWindows),
    anomalies: array(payload.anomalies)
      .filter(isObject)
      .map(({ severity, message }) => ({ severity: text(severity) ?? 'info', message: text(message) ?? '' })),
  };
}

function latency(from, min, max) {
  return {
    p50: number(from.p50),
    p95: number(from.p95),
    p99: number(from.p99),
    min: number(from[min]),
    max: number(from[max]),
  };
}

function severities(bySeverity) {
  const from = object(bySeverity);
  return SEVERITIES.map((name) => ({ name, count: count(from[name]) }));
}

function counts(byName) {
  return Object.entries(object(byName))
    .map(([name, value]) => ({ name, count: count(value) }))
    .sort((a, b) => b.count - a.count || (a.name < b.name ? -1 : 1));
}

function users(list) {
  return array(list)
    .filter(isObject)
    .map(({ userId, eventCount }) => ({ name: String(userId ?? ''), count: number(eventCount) }));
}

function spans(timeWindows) {
  return SPANS.filter(([key]) => key in object(timeWindows)).map(([key, name]) => {
    const value = timeWindows[key];
    return isObject(value)
      ? { name, events: number(value.events), avgLatency: number(value.avgLatency), errorRate: number(value.errorRate) }
      : { name, events: number(value), avgLatency: null, errorRate: null };
  });
}

/** A count is a bare number in one profile and `{count}` in the other. */
function count(value) {
  return number(isObject(value) ? value.count : value);
}

function number(value) {
  return typeof value === 'number' && Number.isFinite(value) ? value : 0;
}

function text(value) {
  return typeof value === 'string' && value !== '' ? value : null;
}

function array(value) {
  return Array.isArray(value) ? value : [];
}

function object(value) {
  return isObject(value) ? value : {};
}

function isObject(value) {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

const SPANS = [
  ['last1Minute', '1 minute'],
  ['last5Minutes', '5 minutes'],
  ['last15Minutes', '15 minutes'],
  ['last1Hour', '1 hour'],
  ['last24Hours', '24 hours'],
];
