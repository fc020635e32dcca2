import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { normalise } from '../src/normalise.js';

const fixture = (name) => JSON.parse(readFileSync(new URL(`${name}.json`, import.meta.url), 'utf8'));

test('documented payload is drawn field by field', () => {
  const view = normalise(fixture('documented'));
  assert.deepEqual(view, {
    profile: 'documented',
    totalEvents: 15000,
    eventsPerSecond: 25.3,
    avgLatency: 12.5,
    errorRate: 2.1,
    totalErrors: 520,
    uniqueUsers: 1250,
    uniqueSources: 8,
    uniqueEventTypes: 15,
    latency: { p50: 8.5, p95: 24.3, p99: 45.2, min: 2.1, max: 89.4 },
    throughput: { peak: 87.5, peakTimestamp: '2026-01-12T14:23:15.789Z', avg: 18.7, trend: 'increasing' },
    severities: SEVERITIES,
    types: [{ name: 'user.login', count: 5000 }, { name: 'payment.failed', count: 150 }],
    sources: [{ name: 'auth-service', count: 6200 }],
    users: [{ name: 'user_1234', count: 245 }],
    spans: [{ name: '5 minutes', events: 7590, avgLatency: 11.8, errorRate: 1.9 }],
    anomalies: [],
  });
});

test('dashboard payload gives the same view where both profiles say the same', () => {
  const documented = normalise(fixture('documented'));
  const dashboard = normalise(fixture('dashboard'));
  for (const key of ['totalEvents', 'eventsPerSecond', 'avgLatency', 'totalErrors', 'uniqueUsers', 'uniqueSources',
    'uniqueEventTypes', 'latency', 'severities', 'types', 'sources', 'users']) {
    assert.deepEqual(dashboard[key], documented[key], key);
  }
});

test('dashboard payload keeps what only it has', () => {
  const view = normalise(fixture('dashboard'));
  assert.equal(view.profile, 'dashboard');
  assert.equal(view.errorRate, 3.5);
  assert.deepEqual(view.throughput, { peak: 87.5, peakTimestamp: '2026-01-12T14:23:15Z', avg: 18.7, trend: null });
  assert.deepEqual(view.spans[0], { name: '1 minute', events: 1518, avgLatency: null, errorRate: null });
  assert.equal(view.spans.length, 5);
  assert.deepEqual(view.anomalies, [{ severity: 'warning', message: 'Error rate is 6.0 %' }]);
});

test('payload of an idle broker has zeros and empty lists', () => {
  const view = normalise({ summary: { totalEvents: 0 }, throughput: { peakTimestamp: null } });
  assert.equal(view.totalEvents, 0);
  assert.equal(view.latency.p99, 0);
  assert.equal(view.throughput.peakTimestamp, null);
  assert.deepEqual(view.types, []);
  assert.deepEqual(view.spans, []);
  assert.deepEqual(view.severities.map(({ count }) => count), [0, 0, 0, 0]);
});

test('wrong types inside a payload become zeros and not NaN', () => {
  const view = normalise({
    summary: { totalEvents: 'many', avgLatency: null },
    eventsByType: { 'user.login': 'x' },
    topUsers: [null, { userId: 7, eventCount: 2 }],
    timeWindows: { last5Minutes: null },
    latencyMetrics: { overall: [] },
  });
  assert.equal(view.totalEvents, 0);
  assert.equal(view.avgLatency, 0);
  assert.deepEqual(view.types, [{ name: 'user.login', count: 0 }]);
  assert.deepEqual(view.users, [{ name: '7', count: 2 }]);
  assert.equal(view.spans[0].events, 0);
});

test('names with the same count are in alphabetical order', () => {
  const { types } = normalise({ summary: {}, eventsByType: { b: 1, c: 2, a: 1 } });
  assert.deepEqual(types.map(({ name }) => name), ['c', 'a', 'b']);
});

test('something else than a payload is refused', () => {
  for (const other of [null, 7, 'text', [], {}, { summary: [] }]) {
    assert.throws(() => normalise(other), /not a metrics payload/);
  }
});

const SEVERITIES = [
  { name: 'INFO', count: 13500 },
  { name: 'WARNING', count: 980 },
  { name: 'ERROR', count: 420 },
  { name: 'CRITICAL', count: 100 },
];
