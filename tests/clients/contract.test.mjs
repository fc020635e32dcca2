/** What clients of streams and channels rely on, field by field: each type, code, name and unit. */
import assert from 'node:assert/strict';
import { get } from 'node:http';
import { after, before, describe, test } from 'node:test';
import WebSocket from 'ws';
import { startServer } from './server.mjs';
import { Queue, WAIT_MS, within } from './wait.mjs';

const RFC3339_MS = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;

let server;
before(async () => (server = await startServer({ config: '[[alerts]]\nname = "many"\nmetric = "connections"\nabove = 0\nseverity = "critical"\n' })));
after(() => server?.stop());

describe('REST', () => {
  test('health, status and server-info have the documented fields', async () => {
    const health = await json('/api/health');
    assert.equal(health.status, 'healthy');
    assert.match(health.timestamp, RFC3339_MS);
    assert.equal(typeof health.version, 'string');
    assert.ok(Number.isInteger(health.uptime) && health.uptime >= 0 && health.uptime < 600, `seconds: ${health.uptime}`);
    const status = await json('/api/status');
    assert.equal(status.status, 'running');
    assert.ok(Number.isInteger(status.active_connections));
    assert.match(status.last_update, RFC3339_MS);
    assert.equal(typeof (await json('/api/server-info')).name, 'string');
  });

  test('metrics have the gauges in octets and percent, and the licences that were posted', async () => {
    const answer = await post('/api/v1/licenses', [{ feature: 'cad', total: 60, used: 45 }, { feature: 'sim', total: 40, used: 30 }]);
    assert.ok(answer.ok, await answer.text());
    isMetrics(await json('/api/metrics'));
  });
});

describe('WebSocket', () => {
  test('a log line has type, timestamp, level, message, source and metadata, and no more', async (t) => {
    const socket = await open(t, '/ws/logs');
    await socket.ask({ action: 'ping' }, ({ type }) => type === 'pong');
    const line = { timestamp: '2024-01-15T10:30:45.123Z', level: 'warn', message: 'License utilization at 90%', source: 'license-server', metadata: { n: 1 } };
    await post('/api/v1/logs', line);
    assert.deepEqual(await socket.next(), { type: 'log', ...line });
    await post('/api/v1/logs', [{ message: 'a' }, { message: 'b', metadata: {} }]);
    for (const message of ['a', 'b']) {
      const { timestamp, ...rest } = await socket.next();
      assert.match(timestamp, RFC3339_MS);
      assert.deepEqual(rest, { type: 'log', level: 'info', message, source: 'unknown', metadata: {} });
    }
  });

  test('metrics come at the interval that was asked for', async (t) => {
    const socket = await open(t, '/ws/metrics');
    const first = await socket.next();
    isMetrics(first);
    socket.say({ action: 'configure', interval: 250 });
    const times = [];
    for (let n = 0; n < 5; n += 1) times.push(Date.parse((await socket.next()).timestamp));
    const gaps = times.slice(2).map((time, n) => time - times[n + 1]);
    assert.ok(gaps.every((gap) => gap >= 150 && gap <= 1500), `${gaps}`);
  });

  test('an alert has severity, message, source and metadata, and those that are raised can be asked for', async (t) => {
    const alerts = await open(t, '/ws/channels');
    alerts.say({ action: 'subscribe', channel: 'alerts', since: 0 });
    const { data } = await alerts.find(({ channel }) => channel === 'alerts');
    assert.deepEqual(Object.keys(data), ['type', 'timestamp', 'severity', 'message', 'source', 'metadata']);
    assert.match(data.timestamp, RFC3339_MS);
    assert.deepEqual([data.type, data.severity, data.metadata.name, data.metadata.state], ['alert', 'critical', 'many', 'raised']);
    assert.ok(JSON.stringify(await json('/api/v1/alerts')).includes('"many"'));
    const socket = await open(t, '/ws/combined');
    const alert = { type: 'alert', timestamp: '2024-01-15T10:30:45.123Z', severity: 'info', message: 'm', source: 's', metadata: { a: 1 } };
    alerts.say({ action: 'publish', channel: 'alerts', data: alert });
    assert.deepEqual(await socket.find(({ message }) => message === 'm'), alert);
  });

  test('pong and error have a timestamp; every code is the documented one and the connection goes on', async (t) => {
    const socket = await open(t, '/ws/logs');
    socket.say({ action: 'ping' });
    const pong = await socket.next();
    assert.deepEqual(Object.keys(pong), ['type', 'timestamp']);
    assert.match(pong.timestamp, RFC3339_MS);
    for (const [text, code] of [
      ['{', 'INVALID_JSON'],
      ['7', 'INVALID_JSON'],
      ['{"action":"nope"}', 'UNKNOWN_ACTION'],
      ['{}', 'UNKNOWN_ACTION'],
      ['{"action":"subscribe","filter":{"level":5}}', 'INVALID_FILTER'],
      ['{"action":"filter","filter":{"pattern":"/(/"}}', 'INVALID_FILTER'],
      ['{"action":"configure","interval":10}', 'INVALID_INTERVAL'],
      ['{"action":"configure","interval":"x"}', 'INVALID_INTERVAL'],
    ]) {
      socket.send(text);
      const error = await socket.next();
      assert.deepEqual(Object.keys(error), ['type', 'code', 'message', 'timestamp'], text);
      assert.deepEqual([error.type, error.code], ['error', code], text);
      assert.match(error.timestamp, RFC3339_MS);
    }
    await socket.ask({ action: 'ping' }, ({ type }) => type === 'pong');
  });
  test('the documented requests are taken as they stand', async (t) => {
    const socket = await open(t, '/ws/combined');
    for (const text of [
      '{"action":"subscribe","filter":{"level":["error","warn"],"source":"license-server","pattern":"utilization"}}',
      '{"action":"subscribe"}',
      '{"action":"filter","filter":{"level":"error"}}',
      '{"action":"filter","filter":{"source":["a","b"]}}',
      '{"action":"filter","filter":null}',
      '{"action":"configure","interval":5000}',
    ]) {
      socket.send(text);
      socket.send('{"action":"ping"}');
      const answer = await socket.find(({ type }) => type === 'pong' || type === 'error');
      assert.equal(answer.type, 'pong', `${text}: ${answer.message}`);
    }
  });
});

describe('Server-Sent Events', () => {
  test('a line comes without a name and under that of its level, with id and retry', async (t) => {
    const events = await stream(t, '/stream/logs');
    assert.match(await events.next('the first block'), /^retry: \d+\nid: \S+$/);
    for (const [level, name] of [['error', 'error_log'], ['warn', 'warning_log'], ['warning', 'warning_log'], ['info', 'log'], ['debug', 'log']]) {
      await post('/api/v1/logs', { level, message: level, source: 's' });
      const [plain, named] = [await events.next('plain'), await events.next('named')];
      assert.match(plain, /^id: \S+\ndata: \{.*\}$/);
      assert.match(named, new RegExp(`^id: \\S+\\nevent: ${name}\\ndata: \\{.*\\}$`));
      assert.equal(JSON.parse(named.split('data: ')[1]).type, 'log');
    }
  });

  test('metrics are named, and thinned out to the interval', async (t) => {
    const events = await stream(t, '/stream/metrics?interval=200&events=named');
    await events.next('retry');
    const block = await events.next('metrics');
    assert.match(block, /^id: \S+\nevent: metrics\ndata: /);
    isMetrics(JSON.parse(block.split('data: ')[1]));
  });

  test('the query filters, and what is wrong in it is told with 400', async (t) => {
    const events = await stream(t, '/stream/combined?level=error,warn&source=db&pattern=disk&interval=3600000&events=message');
    await events.next('retry');
    await post('/api/v1/logs', [
      { level: 'info', source: 'db', message: 'disk 1' },
      { level: 'error', source: 'x', message: 'disk 2' },
      { level: 'error', source: 'db', message: 'cpu 3' },
      { level: 'warn', source: 'db', message: 'disk 4' },
    ]);
    const log = await events.find((block) => block.includes('"type":"log"'), 'a line');
    assert.equal(JSON.parse(log.split('data: ')[1]).message, 'disk 4');
    for (const [query, code] of [['interval=1', 'INVALID_INTERVAL'], ['pattern=/(/', 'INVALID_FILTER'], ['events=x', 'INVALID_EVENTS']]) {
      const answer = await fetch(`${server.url}/stream/logs?${query}`);
      assert.equal(answer.status, 400);
      assert.equal((await answer.json()).code, code);
    }
  });
});

describe('channels', () => {
  test('each action and type has its documented answer', async (t) => {
    const socket = await open(t, '/ws/channels');
    const ask = async (request) => {
      socket.say(request);
      return socket.next();
    };
    assert.deepEqual(await ask({ type: 'ping' }), { type: 'pong' });
    assert.deepEqual(await ask({ action: 'subscribe', channel: 'c' }), { channel: 'system', data: { type: 'subscription_confirm', channel: 'c' } });
    for (const data of [{ a: 1 }, 'text', 7, null, [1]]) {
      const { channel, data: got } = await ask({ action: 'publish', channel: 'c', data });
      assert.deepEqual([channel, got], ['c', data]);
    }
    assert.equal((await ask({ action: 'unsubscribe', channel: 'c' })).data.channel, 'c');
    const error = await ask({ action: 'subscribe' });
    assert.deepEqual([error.channel, error.data.type, typeof error.data.message], ['system', 'error', 'string']);
    const timestamp = new Date().toISOString();
    assert.deepEqual(await ask({ type: 'event', id: 'a', timestamp, payload: { eventType: 'x', source: 'y' } }), { type: 'response', requestId: 'a', payload: { status: 'accepted' } });
    const query = await ask({ type: 'query', id: 'b', timestamp, payload: { query: 'metrics' } });
    assert.deepEqual([query.type, query.requestId, typeof query.payload.summary], ['response', 'b', 'object']);
    const command = await ask({ type: 'command', id: 'c', timestamp, payload: { command: 'logs', data: { message: 'm' } } });
    assert.deepEqual([command.type, command.requestId], ['response', 'c'], JSON.stringify(command));
    const auth = await ask({ type: 'auth', id: 'd', timestamp, payload: { token: 'x' } });
    assert.deepEqual([auth.type, auth.requestId], ['response', 'd'], JSON.stringify(auth));
    const refused = await ask({ type: 'event', id: 'e', payload: {} });
    assert.deepEqual([refused.type, refused.requestId, typeof refused.error], ['error', 'e', 'string']);
  });
});

function isMetrics(metrics) {
  assert.deepEqual(Object.keys(metrics), ['type', 'timestamp', 'system', 'licenses', 'connections']);
  assert.equal(metrics.type, 'metrics');
  assert.match(metrics.timestamp, RFC3339_MS);
  const { cpu, memory, disk } = metrics.system;
  assert.ok(cpu.usage >= 0 && cpu.usage <= 100 && Number.isInteger(cpu.cores) && cpu.cores > 0);
  for (const space of [memory, disk]) {
    assert.deepEqual(Object.keys(space), ['total', 'used', 'available', 'percentage']);
    assert.ok(Number.isInteger(space.total) && space.total > 2 ** 20 && space.used + space.available === space.total, 'octets');
    assert.ok(Math.abs(space.percentage - (space.used * 100) / space.total) < 0.01, 'percent');
  }
  assert.deepEqual(metrics.licenses, { total: 100, used: 75, available: 25, utilization: 75 });
  assert.deepEqual(Object.keys(metrics.connections), ['active', 'total']);
}

async function json(path) {
  const answer = await fetch(server.url + path);
  assert.equal(answer.status, 200, path);
  return answer.json();
}

function post(path, body) {
  return fetch(server.url + path, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) });
}

async function open(t, path) {
  const socket = new WebSocket(server.ws(path));
  t.after(() => socket.terminate());
  const queue = new Queue();
  socket.on('message', (data) => queue.push(JSON.parse(data)));
  socket.say = (message) => socket.send(JSON.stringify(message));
  socket.next = () => queue.next('a message');
  socket.find = (fits) => queue.find(fits, 'that message');
  socket.ask = (message, fits) => (socket.say(message), socket.find(fits));
  await within(WAIT_MS, new Promise((done, fail) => socket.on('open', done).on('error', fail)), path);
  return socket;
}

/** The blocks of an event stream, comments left out. */
async function stream(t, path) {
  const queue = new Queue();
  let rest = '';
  const request = get(server.url + path, (answer) => {
    assert.equal(answer.headers['content-type'], 'text/event-stream');
    answer.setEncoding('utf8').on('data', (text) => {
      const blocks = (rest + text).split('\n\n');
      rest = blocks.pop();
      blocks.filter((block) => !block.startsWith(':')).forEach((block) => queue.push(block));
    });
    answer.on('error', () => {});
  });
  request.on('error', () => {});
  t.after(() => request.destroy());
  return queue;
}
