/** Log and metric streams, and channels, as their clients use them: WebSocket, EventSource in Chromium, STOMP beside them. */
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { spawn } from 'node:child_process';
import { mkdtempSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { after, before, describe, test } from 'node:test';
import WebSocket from 'ws';
import { launch, openPage } from './chromium.mjs';
import { ROOT, startServer } from './server.mjs';
import { Queue, WAIT_MS, within } from './wait.mjs';

const HERE = dirname(fileURLToPath(import.meta.url));
const KEYS = '[auth]\napi_keys = [{ name = "tail", key = "YOUR-KEY" }]\n';

describe('WebSocket', () => {
  let server;
  before(async () => (server = await startServer()));
  after(() => server?.stop());

  test('a filter by level, source and pattern lets through what it names, and null everything', async (t) => {
    const socket = await open(t, server.ws('/ws/logs'));
    socket.say({ action: 'subscribe', filter: { level: ['error', 'warn'], source: 'license-server', pattern: 'utilization' } });
    await socket.ping();
    await postLogs(server, [
      { level: 'info', source: 'license-server', message: 'utilization at 10%' },
      { level: 'warn', source: 'other', message: 'utilization at 20%' },
      { level: 'warn', source: 'license-server', message: 'all is well' },
      { level: 'warn', source: 'license-server', message: 'License utilization at 90%', metadata: { pool: 'cad' } },
    ]);
    const line = await socket.next();
    assert.equal(line.type, 'log');
    assert.equal(line.message, 'License utilization at 90%');
    assert.deepEqual(line.metadata, { pool: 'cad' });
    assert.match(line.timestamp, /^\d{4}-\d\d-\d\dT[\d:.]+Z$/);
    socket.say({ action: 'filter', filter: null });
    await socket.ping();
    await postLogs(server, [{ level: 'debug', source: 'x', message: 'anything' }]);
    assert.equal((await socket.next()).message, 'anything');
  });

  test('each mistake is told by its code, and the connection stays open', async (t) => {
    const socket = await open(t, server.ws('/ws/combined'));
    for (const [text, code] of [
      ['nonsense', 'INVALID_JSON'],
      ['{"action":"fly"}', 'UNKNOWN_ACTION'],
      ['{"action":"subscribe","filter":{"pattern":"/(/"}}', 'INVALID_FILTER'],
      ['{"action":"configure","interval":99}', 'INVALID_INTERVAL'],
    ]) {
      socket.send(text);
      const error = await socket.find((event) => event.type === 'error');
      assert.equal(error.code, code);
      assert.ok(error.message.length > 10 && error.timestamp);
    }
    await socket.ping();
  });

  test('a key comes in the query, as a subprotocol or in a header; without one UNAUTHORIZED', async (t) => {
    const guarded = await startServer({ config: KEYS });
    t.after(() => guarded.stop());
    for (const [path, protocols, options] of [
      ['/ws/logs?api_key=YOUR-KEY', [], {}],
      ['/ws/logs', ['api_key', 'YOUR-KEY'], {}],
      ['/ws/logs', [], { headers: { 'x-api-key': 'YOUR-KEY' } }],
    ]) {
      const socket = await open(t, guarded.ws(path), protocols, options);
      assert.equal(socket.protocol, protocols[0] ?? '');
      await socket.ping();
    }
    const refused = await open(t, guarded.ws('/ws/logs?api_key=wrong'));
    assert.equal((await refused.next()).code, 'UNAUTHORIZED');
    assert.equal(await within(WAIT_MS, refused.closed, 'the close'), 1008);
    assert.equal((await fetch(`${guarded.url}/stream/logs`)).status, 401);
  });

  test('a client that says nothing for the idle time is closed', async (t) => {
    const strict = await startServer({ config: '[streams]\nidle_timeout = "1s"\n' });
    t.after(() => strict.stop());
    const socket = await open(t, strict.ws('/ws/logs'));
    assert.equal((await socket.next()).code, 'IDLE_TIMEOUT');
    assert.equal(await within(WAIT_MS, socket.closed, 'the close'), 1000);
  });

  test('examples/streams/logs.mjs prints the lines that it asks for', async (t) => {
    const guarded = await startServer({ config: KEYS });
    t.after(() => guarded.stop());
    const lines = run(t, 'logs.mjs', guarded);
    await printed(lines, guarded, { level: 'warn', source: 'license-server', message: 'License utilization at 90%' }, 'warn: License utilization at 90%');
  });
});

describe('channels', () => {
  let server;
  before(async () => (server = await startServer()));
  after(() => server?.stop());

  test('two clients hear each other, and one that was away asks for what it missed', async (t) => {
    const [first, second] = [await open(t, server.ws('/ws/channels')), await open(t, server.ws('/ws/channels'))];
    first.say({ action: 'subscribe', channel: 'orders' });
    assert.deepEqual(await first.next(), { channel: 'system', data: { type: 'subscription_confirm', channel: 'orders' } });
    second.say({ action: 'publish', channel: 'orders', data: { n: 1 } });
    const { id, ...message } = await first.next();
    assert.deepEqual(message, { channel: 'orders', data: { n: 1 } });
    first.close();
    second.say({ action: 'publish', channel: 'orders', data: { n: 2 } });
    second.say({ action: 'publish', channel: 'orders', data: 'three' });
    second.say({ type: 'ping' });
    assert.deepEqual(await second.next(), { type: 'pong' });
    const third = await open(t, server.ws('/ws/channels'));
    third.say({ action: 'subscribe', channel: 'orders', since: id });
    await third.find(({ data }) => data?.type === 'subscription_confirm');
    assert.deepEqual((await third.next()).data, { n: 2 });
    assert.deepEqual((await third.next()).data, 'three');
    third.say({ action: 'unsubscribe', channel: 'orders' });
    assert.equal((await third.next()).data.type, 'unsubscription_confirm');
    third.say({ action: 'subscribe', channel: 'orders', since: '0-1' });
    await third.find(({ data }) => data?.type === 'gap');
  });

  test('requests are answered by their id, and what is wrong is said', async (t) => {
    const socket = await open(t, server.ws('/ws/channels'));
    socket.say({ type: 'event', id: 'e1', timestamp: 1, payload: { eventType: 'page.view', source: 'web' } });
    assert.deepEqual(await socket.next(), { type: 'response', requestId: 'e1', payload: { status: 'accepted' } });
    socket.say({ type: 'event', id: 'e2', payload: { source: 'web' } });
    const refused = await socket.next();
    assert.equal(refused.requestId, 'e2');
    assert.match(refused.error, /eventType/);
    socket.say({ type: 'query', id: 3, payload: { query: 'metrics' } });
    const answer = await socket.next();
    assert.deepEqual([answer.type, answer.requestId, answer.payload.summary.totalEvents], ['response', 3, 1]);
    socket.say({ type: 'command', id: 4, payload: { command: 'nothing' } });
    assert.match((await socket.next()).error, /nothing handles/);
    socket.send('{');
    assert.match((await socket.next()).data.message, /not JSON/);
    socket.say({ action: 'publish', channel: 'a/*', data: 1 });
    assert.match((await socket.next()).data.message, /pattern/);
  });

  test('where users are known, a client says who it is first', async (t) => {
    const guarded = await startServer({ config: KEYS });
    t.after(() => guarded.stop());
    const socket = await open(t, guarded.ws('/ws/channels'));
    socket.say({ action: 'subscribe', channel: 'a' });
    assert.match((await socket.next()).data.message, /who you are/);
    socket.say({ type: 'auth', id: 1, payload: { api_key: 'wrong' } });
    assert.equal((await socket.next()).type, 'error');
    socket.say({ type: 'auth', id: 2, payload: { api_key: 'YOUR-KEY' } });
    assert.deepEqual((await socket.next()).payload, { status: 'authenticated', user: 'tail' });
    socket.say({ action: 'subscribe', channel: 'a' });
    assert.equal((await socket.next()).data.type, 'subscription_confirm');
  });

  test('examples/streams/channels.mjs hears itself and is answered', async (t) => {
    const lines = run(t, 'channels.mjs', server);
    const seen = await lines.take(3, 'what it prints');
    assert.deepEqual(new Set(seen), new Set(['subscription_confirm', seen.find((line) => line.startsWith('answer 1: ')), 'notifications: Hello']));
  });
});

describe('EventSource in Chromium', () => {
  let browser;
  before(async () => (browser = await launch()));
  after(() => browser?.close());

  test('examples/streams/events.js sees each line under its name and as a message', async (t) => {
    const server = await startServer({ config: KEYS });
    t.after(() => server.stop());
    const { page, lines } = await eventPage(t, browser, server, 'events.js');
    await page.waitForFunction(() => events.readyState === EventSource.OPEN);
    await postLogs(server, [
      { level: 'info', source: 's', message: 'quiet' },
      { level: 'error', source: 's', message: 'bad' },
      { level: 'warn', source: 's', message: 'odd' },
    ]);
    assert.deepEqual(await lines.take(4, 'lines'), ['line bad', 'error bad', 'line odd', 'warning odd']);
  });

  test('a connection that is lost misses nothing, and a server that is another says that there is a gap', async (t) => {
    const server = await startServer({ config: '[streams]\nretry = "50ms"\n' });
    const proxy = await cuttingProxy(server.port);
    t.after(() => proxy.close());
    const { page } = await eventPage(t, browser, proxy, null, '/stream/logs');
    await page.evaluate(() => {
      window.seen = [];
      window.gaps = 0;
      window.source = new EventSource('/stream/logs?events=named');
      source.addEventListener('log', ({ data }) => seen.push(JSON.parse(data).message));
      source.addEventListener('gap', () => (window.gaps += 1));
    });
    await page.waitForFunction(() => source.readyState === EventSource.OPEN);
    const total = 200;
    for (let n = 0; n < total; n += 1) {
      await postLogs(server, [{ level: 'info', source: 's', message: String(n) }]);
      if (n % 20 === 10) proxy.cut();
    }
    await page.waitForFunction((last) => seen.includes(last), String(total - 1), { timeout: WAIT_MS });
    const { seen, gaps } = await page.evaluate(() => ({ seen, gaps }));
    assert.deepEqual(seen, Array.from({ length: total }, (_, n) => String(n)));
    assert.equal(gaps, 0);
    await server.stop();
    const again = await startServer({ config: '[streams]\nretry = "50ms"\n' });
    t.after(() => again.stop());
    proxy.target = again.port;
    await page.waitForFunction(() => window.gaps === 1, undefined, { timeout: WAIT_MS });
    await postLogs(again, [{ level: 'info', source: 's', message: 'after' }]);
    await page.waitForFunction(() => seen.includes('after'), undefined, { timeout: WAIT_MS });
  });
});

test("the server's own warnings reach /topic/logs and every stream, and a truncated file is counted", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'stompbox-own-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const file = join(folder, 'app.log');
  writeFileSync(file, 'first\n');
  const server = await startServer({ config: `[logs]\nfrom = "start"\ntail = [${JSON.stringify(file)}]\n` });
  t.after(() => server.stop());
  const socket = await open(t, server.ws('/ws/logs'));
  const channel = await open(t, server.ws('/ws/channels'));
  channel.say({ action: 'subscribe', channel: 'logs', since: 0 });
  await channel.find(({ data }) => data?.message === 'first');
  const events = await fetch(`${server.url}/stream/logs?level=warn&source=stompbox&events=named`);
  const reader = events.body.pipeThrough(new TextDecoderStream()).getReader();
  t.after(() => reader.cancel());
  await reader.read();
  writeFileSync(file, '');
  const warning = await socket.find(({ source }) => source === 'stompbox');
  const { timestamp, message, metadata, ...rest } = warning;
  assert.deepEqual(rest, { type: 'log', level: 'warn', source: 'stompbox' });
  assert.match(message, /^truncated without a copy/);
  assert.deepEqual([metadata.path, metadata.octets], [file, 0]);
  assert.deepEqual((await channel.find(({ data }) => data?.source === 'stompbox')).data, warning);
  const { value } = await reader.read();
  assert.match(value, /^id: \S+\nevent: warning_log\ndata: /);
  assert.deepEqual(JSON.parse(value.split('data: ')[1]), warning);
  assert.deepEqual((await counters(t, server)).files, { truncations: 1, lost_bytes: 0 });
});

test('of 200 listeners with ten filters, each filter is looked at once a line', async (t) => {
  const server = await startServer({ config: '[server]\nshards = 1\n' });
  t.after(() => server.stop());
  const queries = ['level=error', 'level=warn', 'source=a', 'source=b', 'pattern=disk', 'pattern=/D.sk/i', 'level=error&source=a', 'level=info', 'level=error,info', 'pattern=/^[0-9]/'];
  const counts = new Array(200).fill(0);
  const agent = new (await import('node:http')).Agent({ maxSockets: Infinity });
  t.after(() => agent.destroy());
  const { get } = await import('node:http');
  await Promise.all(
    counts.map(
      (_, n) =>
        new Promise((done) => {
          get(`${server.url}/stream/logs?events=named&${queries[n % 10]}`, { agent }, (answer) => {
            answer.setEncoding('utf8').on('error', () => {});
            answer.on('data', (text) => {
              counts[n] += text.split('\nevent: ').length - 1;
              done();
            });
          }).on('error', () => {});
        }),
    ),
  );
  const before = await conditions(t, server);
  const lines = Array.from({ length: 30 }, (_, n) => ({ level: ['error', 'warn', 'info'][n % 3], source: n % 2 ? 'a' : 'b', message: `${n} disk` }));
  await postLogs(server, lines);
  const wanted = [10, 10, 15, 15, 30, 30, 5, 10, 20, 30];
  const end = Date.now() + WAIT_MS;
  while (Date.now() < end && counts.some((count, n) => count < wanted[n % 10])) await conditions(t, server);
  assert.deepEqual(counts, counts.map((_, n) => wanted[n % 10]));
  assert.equal((await conditions(t, server)) - before, 10 * lines.length);
});

/** How many conditions were looked at. */
async function conditions(t, server) {
  return (await counters(t, server)).messages.conditions;
}

/** The broker's own counters. */
async function counters(t, server) {
  const socket = await open(t, server.ws('/ws/channels'));
  socket.say({ action: 'subscribe', channel: '$sys/broker' });
  const { data } = await socket.find(({ channel }) => channel === '$sys/broker');
  socket.terminate();
  return data;
}

test('the README shows the examples of streams as they are', () => {
  const readme = readFileSync(join(ROOT, 'README.md'), 'utf8');
  for (const file of ['logs.mjs', 'logs.py', 'events.js', 'channels.mjs']) {
    assert.ok(readme.includes(readFileSync(join(ROOT, 'examples/streams', file), 'utf8').trim()), `examples/streams/${file}`);
  }
});

/** A WebSocket whose messages can be awaited. */
async function open(t, url, protocols = [], options = {}) {
  const socket = new WebSocket(url, protocols, options);
  t.after(() => socket.terminate());
  const events = new Queue();
  socket.on('message', (data) => events.push(JSON.parse(data)));
  socket.closed = new Promise((done) => socket.on('close', done));
  socket.say = (message) => socket.send(JSON.stringify(message));
  socket.next = () => events.next('a message');
  socket.find = (fits) => events.find(fits, 'that message');
  socket.ping = async () => {
    socket.say({ action: 'ping' });
    await socket.find((event) => event.type === 'pong');
  };
  await within(WAIT_MS, new Promise((done, fail) => socket.on('open', done).on('error', fail)), `${url} to open`);
  return socket;
}

async function postLogs(server, entries) {
  const headers = { 'content-type': 'application/json', 'x-api-key': 'YOUR-KEY' };
  const answer = await fetch(`${server.url}/api/v1/logs`, { method: 'POST', headers, body: JSON.stringify(entries) });
  assert.ok(answer.ok, `${answer.status} ${await answer.text()}`);
}

/** Posts the line until the example, which may still be on its way, prints it. */
async function printed(lines, server, entry, wanted) {
  for (let end = Date.now() + WAIT_MS; Date.now() < end; ) {
    await postLogs(server, [entry]);
    const line = await lines.next('a line', 250).catch(() => undefined);
    if (line !== undefined) return assert.equal(line, wanted);
  }
  assert.fail(`${wanted} was not printed`);
}

/** Runs an example in Node, with the address of this server. */
function run(t, name, server) {
  mkdirSync(join(HERE, '.pasted'), { recursive: true });
  const folder = mkdtempSync(join(HERE, '.pasted/'));
  const file = join(folder, name);
  writeFileSync(file, pasted(name, server));
  const child = spawn(process.execPath, ['--import', join(HERE, 'websocket-global.mjs'), file]);
  const lines = new Queue();
  const read = (chunk) => String(chunk).split('\n').filter(Boolean).forEach((line) => lines.push(line));
  child.stdout.on('data', read);
  child.stderr.on('data', read);
  t.after(() => {
    child.kill('SIGKILL');
    rmSync(folder, { recursive: true, force: true });
  });
  return lines;
}

function pasted(name, server) {
  return readFileSync(join(ROOT, 'examples/streams', name), 'utf8').replaceAll('localhost:8080', new URL(server.url).host);
}

/** A page that runs the example; what it logs can be awaited. */
async function eventPage(t, browser, server, name) {
  const html = createServer((_, response) => {
    response.setHeader('content-type', 'text/html');
    response.end(`<!doctype html><title>x</title><script>${name ? pasted(name, server) : ''}</script>`);
  });
  await new Promise((done) => html.listen(0, '127.0.0.1', done));
  t.after(() => html.close());
  const own = `http://127.0.0.1:${html.address().port}`;
  // Of the server's own origin where the test itself opens the stream.
  const page = await openPage(t, browser, name ? own : `${server.url}/api/v1/events/health`, { hosts: [new URL(own).host, new URL(server.url).host] });
  const lines = new Queue();
  page.on('console', (message) => lines.push(message.text()));
  if (name) await page.reload();
  return { page, lines };
}

/** Passes connections on to the server, and cuts them all on demand. */
async function cuttingProxy(target) {
  const { createServer: listen, connect } = await import('node:net');
  const pairs = new Set();
  const proxy = { target };
  const http = listen((client) => {
    const server = connect(proxy.target, '127.0.0.1');
    const pair = [client, server];
    pairs.add(pair);
    client.pipe(server).pipe(client);
    for (const socket of pair) {
      socket.on('error', () => {});
      socket.on('close', () => {
        pairs.delete(pair);
        pair.forEach((other) => other.destroy());
      });
    }
  });
  await new Promise((done) => http.listen(0, '127.0.0.1', done));
  proxy.url = `http://127.0.0.1:${http.address().port}`;
  proxy.cut = () => pairs.forEach((pair) => pair.forEach((socket) => socket.destroy()));
  proxy.close = () => {
    proxy.cut();
    http.close();
  };
  return proxy;
}
