/** The REST API, as curl and fetch see it. */
import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import { RFC3339, eventBody, isDocumentedPayload } from './payloads.mjs';
import { startServer } from './server.mjs';
import { WAIT_MS } from './wait.mjs';

let server;
before(async () => (server = await startServer()));
after(() => server?.stop());
beforeEach(async () => {
  const answer = await call('/api/v1/metrics/reset', { method: 'POST' });
  assert.ok(answer.ok, `reset: ${answer.status}`);
});

describe('health', () => {
  test('GET /api/v1/events/health is UP with the time in milliseconds', async () => {
    const answer = await call('/api/v1/events/health');
    assert.equal(answer.status, 200);
    assert.match(answer.headers.get('content-type'), /^application\/json/);
    const { status, timestamp } = await answer.json();
    assert.equal(status, 'UP');
    assert.ok(Math.abs(Number(timestamp) - Date.now()) < 60_000, timestamp);
  });

  test('GET /api/v1/events/test is running', async () => {
    const body = await (await call('/api/v1/events/test')).json();
    assert.equal(body.status, 'running');
    assert.equal(typeof body.service, 'string');
    assert.match(body.version, /^\d+\.\d+\.\d+/);
  });

  test('/ws/info is answered, to curl -I too', async () => {
    const answer = await call('/ws/info');
    assert.equal(answer.status, 200);
    const info = await answer.json();
    assert.equal(info.websocket, true);
    assert.equal(typeof info.entropy, 'number');
    const head = await call('/ws/info', { method: 'HEAD' });
    assert.equal(head.status, 200);
    assert.equal(await head.text(), '');
  });
});

describe('POST /api/v1/events', () => {
  test('an event is accepted and can be read again', async () => {
    const sent = eventBody({ severity: 'critical', sessionId: 's-1', tags: { region: 'eu' }, metadata: { latency: '7.5', page: '/a' } });
    const answer = await post('/api/v1/events', sent);
    assert.equal(answer.status, 202);
    const accepted = await answer.json();
    assert.match(accepted.eventId, /^evt_/);
    assert.equal(accepted.eventType, sent.eventType);
    assert.equal(accepted.status, 'accepted');
    assert.match(accepted.receivedAt, RFC3339);
    const stored = await (await call(`/api/v1/events/${accepted.eventId}`)).json();
    assert.equal(stored.eventId, accepted.eventId);
    assert.equal(stored.source, sent.source);
    assert.equal(stored.userId, sent.userId);
    assert.equal(stored.severity, 'CRITICAL');
    assert.deepEqual(stored.tags, sent.tags);
  });

  for (const [name, event, field] of [
    ['no eventType', eventBody({ eventType: undefined }), 'eventType'],
    ['a blank eventType', eventBody({ eventType: '  ' }), 'eventType'],
    ['no source', eventBody({ source: undefined }), 'source'],
    ['a blank source', eventBody({ source: '' }), 'source'],
    ['an unknown severity', eventBody({ severity: 'LOUD' }), 'severity'],
    ['a timestamp that is none', eventBody({ timestamp: 'yesterday' }), 'timestamp'],
    ['tags that are no object', eventBody({ tags: ['a'] }), 'tags'],
    ['metadata that is no object', eventBody({ metadata: 7 }), 'metadata'],
  ]) {
    test(`an event with ${name} is refused, and the field is named`, async () => {
      const answer = await post('/api/v1/events', event);
      assert.equal(answer.status, 400);
      const body = await answer.json();
      assert.equal(body.status, 'error');
      assert.equal(body.message, 'Validation failed');
      assert.equal(typeof body.errors[field], 'string', JSON.stringify(body));
      await onlyOneMoreIsCounted();
    });
  }

  test('an event with nothing but its type and source is taken, with the defaults', async () => {
    const { eventId } = await (await post('/api/v1/events', { eventType: 'bare', source: 'curl' })).json();
    const stored = await (await call(`/api/v1/events/${eventId}`)).json();
    assert.equal(stored.severity, 'INFO');
    assert.match(stored.timestamp, RFC3339);
  });

  test('latency without metadata is the age of the event', async () => {
    const timestamp = new Date(Date.now() - 5_000).toISOString();
    await post('/api/v1/events', { eventType: 'late', source: 'curl', timestamp });
    near((await metricsOf(1)).summary.avgLatency, 5_000, 2_000);
  });

  test('a page of another origin may post', async () => {
    const answer = await call('/api/v1/events', {
      method: 'OPTIONS',
      headers: {
        Origin: 'http://elsewhere.example',
        'Access-Control-Request-Method': 'POST',
        'Access-Control-Request-Headers': 'content-type',
      },
    });
    assert.ok(answer.ok, String(answer.status));
    assert.ok(['*', 'http://elsewhere.example'].includes(answer.headers.get('access-control-allow-origin')));
    assert.match(answer.headers.get('access-control-allow-methods'), /POST/);
    assert.match(answer.headers.get('access-control-allow-headers'), /content-type/i);
  });

  test('a body that is not JSON is refused', async () => {
    const answer = await call('/api/v1/events', { method: 'POST', body: '{"eventType":', headers: JSON_TYPE });
    assert.equal(answer.status, 400);
    assert.equal((await answer.json()).status, 'error');
  });

  test('a body above 1 MiB is refused with 413', async () => {
    const answer = await post('/api/v1/events', eventBody({ metadata: { fill: 'x'.repeat(1_048_576) } }));
    assert.equal(answer.status, 413);
  });
});

describe('POST /api/v1/events/batch', () => {
  test('each event has its result, and the valid ones are counted', async () => {
    const answer = await post('/api/v1/events/batch', [eventBody(), eventBody({ source: '' }), eventBody({ eventType: 'b' })]);
    assert.ok(answer.status === 202 || answer.status === 200 || answer.status === 207, String(answer.status));
    assert.match(await answer.text(), /accepted/);
    await metricsOf(2);
  });

  test('1000 events are taken', async () => {
    const answer = await post('/api/v1/events/batch', Array.from({ length: 1000 }, () => eventBody()));
    assert.ok(answer.ok, String(answer.status));
    await metricsOf(1000);
  });

  test('1001 events are refused, and none is counted', async () => {
    const answer = await post('/api/v1/events/batch', Array.from({ length: 1001 }, () => eventBody()));
    assert.ok(answer.status === 400 || answer.status === 413, String(answer.status));
    assert.equal((await answer.json()).status, 'error');
    await onlyOneMoreIsCounted();
  });

  test('something else than an array is refused', async () => {
    assert.equal((await post('/api/v1/events/batch', eventBody())).status, 400);
  });
});

describe('GET /api/v1/events', () => {
  test('pages are newest first in the shape of Spring', async () => {
    for (const eventType of ['page.1', 'page.2', 'page.3']) await post('/api/v1/events', eventBody({ eventType }));
    const page = async (query) => (await call(`/api/v1/events${query}`)).json();
    const first = await page('?page=0&size=2');
    const second = await page('?page=1&size=2');
    const types = [...first.content, ...second.content].map(({ eventType }) => eventType);
    assert.deepEqual(types.slice(0, 3), ['page.3', 'page.2', 'page.1']);
    assert.equal(first.size, 2);
    assert.equal(first.number, 0);
    assert.equal(second.number, 1);
    assert.equal(first.totalPages, Math.ceil(first.totalElements / 2));
    assert.equal((await page('')).size, 20);
  });

  test('a page of more than 100 is refused or cut to 100', async () => {
    await post('/api/v1/events/batch', Array.from({ length: 150 }, () => eventBody()));
    const answer = await call('/api/v1/events?size=1000');
    if (answer.ok) assert.ok((await answer.json()).content.length <= 100);
    else assert.equal(answer.status, 400);
  });

  test('events of one type are found', async () => {
    await post('/api/v1/events', eventBody({ eventType: 'rare.kind' }));
    await post('/api/v1/events', eventBody());
    const { content } = await (await call('/api/v1/events/type/rare.kind?page=0&size=5')).json();
    assert.ok(content.length >= 1);
    assert.ok(content.every(({ eventType }) => eventType === 'rare.kind'));
  });

  test('an unknown event is 404', async () => {
    assert.equal((await call('/api/v1/events/evt_nobody')).status, 404);
  });
});

describe('GET /api/v1/metrics', () => {
  test('an empty broker has the whole documented shape', async () => {
    isDocumentedPayload(await metricsOf(0));
  });

  test('counts, shares and percentiles are those of the events', async () => {
    const latencies = Array.from({ length: 100 }, (_, n) => n + 1);
    const batch = latencies.map((latency) =>
      eventBody({
        eventType: latency % 2 ? 'odd' : 'even',
        userId: `user_${latency % 4}`,
        severity: latency > 98 ? 'CRITICAL' : latency > 95 ? 'error' : 'INFO',
        metadata: { latency },
      }),
    );
    await post('/api/v1/events/batch', batch);
    const payload = await metricsOf(100);
    isDocumentedPayload(payload);
    assert.deepEqual(payload.eventsByType, { even: 50, odd: 50 });
    assert.deepEqual(payload.eventsBySource, { 'auth-service': 100 });
    assert.equal(payload.eventsBySeverity.INFO, 95);
    assert.equal(payload.eventsBySeverity.ERROR, 3);
    assert.equal(payload.eventsBySeverity.CRITICAL, 2);
    assert.equal(payload.summary.errorRate, 5);
    assert.equal(payload.summary.uniqueUsers, 4);
    assert.equal(payload.errorMetrics.totalErrors, 5);
    near(payload.summary.avgLatency, 50.5, 0.6);
    near(payload.latencyMetrics.overall.p50, 50, 1.5);
    near(payload.latencyMetrics.overall.p95, 95, 1.5);
    near(payload.latencyMetrics.overall.p99, 99, 1.5);
    near(payload.latencyMetrics.overall.min, 1, 0.1);
    near(payload.latencyMetrics.overall.max, 100, 0.5);
    assert.equal(payload.timeWindows.last5Minutes.events, 100);
    assert.equal(payload.topUsers.length, 4);
    assert.equal(payload.topUsers[0].eventCount, 25);
  });

  test('a page of another origin may read it', async () => {
    const answer = await call('/api/v1/metrics', { headers: { Origin: 'http://elsewhere.example' } });
    assert.ok(['*', 'http://elsewhere.example'].includes(answer.headers.get('access-control-allow-origin')));
  });
});

describe('profile dashboard', () => {
  test('the snapshot has the shape that the dashboard declares', async (t) => {
    const other = await startServer({ config: '[metrics]\nprofile = "dashboard"\n' });
    t.after(() => other.stop());
    await fetch(`${other.url}/api/v1/events`, { method: 'POST', headers: JSON_TYPE, body: JSON.stringify(eventBody()) });
    const payload = await metricsOf(1, other);
    const names = ['summary', 'throughput', 'timeWindows', 'eventsByType', 'eventsBySource', 'eventsBySeverity', 'userMetrics',
      'topEvents', 'errorAnalysis', 'performance', 'anomalies'];
    assert.deepEqual(Object.keys(payload).sort(), names.sort());
    assert.equal(payload.summary.systemHealth, 'healthy');
    assert.equal(payload.eventsByType['user.login'].count, 1);
    assert.equal(payload.userMetrics.topActiveUsers[0].userId, 'user_1');
  });
});

const JSON_TYPE = { 'content-type': 'application/json' };

function call(path, options = {}) {
  return fetch(server.url + path, { signal: AbortSignal.timeout(WAIT_MS), ...options });
}

function post(path, body) {
  return call(path, { method: 'POST', headers: JSON_TYPE, body: JSON.stringify(body) });
}

/** The metrics, as soon as they count this many events: they are what the last period published. */
async function metricsOf(total, of = server) {
  const end = Date.now() + WAIT_MS;
  let seen;
  do {
    const payload = await (await fetch(`${of.url}/api/v1/metrics`, { signal: AbortSignal.timeout(WAIT_MS) })).json();
    seen = payload.summary.totalEvents;
    if (seen === total) return payload;
    await new Promise((done) => setTimeout(done, 20));
  } while (Date.now() < end);
  throw new Error(`the metrics count ${seen} events, not ${total}`);
}

/** What was refused before is not counted, or it would be counted with this one. */
async function onlyOneMoreIsCounted() {
  await post('/api/v1/events', eventBody());
  await metricsOf(1);
}

function near(actual, expected, tolerance) {
  assert.ok(Math.abs(actual - expected) <= tolerance, `${actual} is not within ${tolerance} of ${expected}`);
}
