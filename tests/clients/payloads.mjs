/** What the public API promises about its JSON. */
import assert from 'node:assert/strict';

/** An event that is accepted. */
export const eventBody = (fields = {}) => ({
  eventType: 'user.login',
  source: 'auth-service',
  userId: 'user_1',
  metadata: { latency: 12.5 },
  ...fields,
});

/** Fails unless this is a metrics payload of profile `documented`, field by field. */
export function isDocumentedPayload(payload) {
  const { summary, latencyMetrics, errorMetrics, throughput, timeWindows, topUsers } = payload;
  numbers(summary, ['totalEvents', 'eventsPerSecond', 'avgLatency', 'errorRate', 'uniqueUsers', 'uniqueSources', 'uniqueEventTypes'], 'summary');
  for (const name of ['eventsByType', 'eventsBySource', 'eventsBySeverity']) counts(payload[name], name);
  numbers(latencyMetrics.overall, ['p50', 'p95', 'p99', 'avg', 'min', 'max', 'sampleCount'], 'latencyMetrics.overall');
  for (const by of ['byType', 'bySource']) {
    for (const [name, value] of Object.entries(latencyMetrics[by])) numbers(value, ['p50', 'p95', 'p99', 'avg'], `latencyMetrics.${by}.${name}`);
  }
  numbers(errorMetrics, ['totalErrors', 'errorRate'], 'errorMetrics');
  counts(errorMetrics.errorsByType, 'errorsByType');
  counts(errorMetrics.errorsBySource, 'errorsBySource');
  numbers(throughput, ['current', 'peak', 'avg'], 'throughput');
  assert.match(throughput.trend, /^(increasing|decreasing|stable)$/);
  if (summary.totalEvents > 0 && throughput.peak > 0) assert.match(throughput.peakTimestamp, RFC3339_MS);
  for (const name of ['last5Minutes', 'last15Minutes', 'last1Hour']) numbers(timeWindows[name], ['events', 'avgLatency', 'errorRate'], name);
  assert.ok(topUsers.length <= 10);
  for (const user of topUsers) {
    assert.equal(typeof user.userId, 'string');
    numbers(user, ['eventCount'], 'topUsers');
    assert.match(user.lastSeen, RFC3339);
  }
}

export const RFC3339 = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/;
export const RFC3339_MS = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;

function numbers(object, names, where) {
  for (const name of names) assert.equal(typeof object?.[name], 'number', `${where}.${name} is ${JSON.stringify(object?.[name])}`);
}

function counts(object, where) {
  for (const [name, count] of Object.entries(object)) assert.ok(Number.isInteger(count), `${where}.${name} is ${count}`);
}
