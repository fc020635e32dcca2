/** @stomp/stompjs over every way into the broker, as front ends use it. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import SockJS from 'sockjs-client';
import { FRONT_END, SOCKJS_TRANSPORTS, WAYS, connect, createClient, metricsThat, receiptOf, send, subscribe, versions } from './clients.mjs';
import { eventBody, isDocumentedPayload } from './payloads.mjs';
import { startServer } from './server.mjs';
import { Queue, WAIT_MS, within } from './wait.mjs';

let server;
before(async () => (server = await startServer()));
after(() => server?.stop());

test('the front end code of the guide works unchanged', async (t) => {
  const messages = new Queue();
  const client = new (createClient(t, {}).constructor)({
    webSocketFactory: () => new SockJS(`${server.url}/ws`),
    ...FRONT_END,
    connectHeaders: { Authorization: 'Bearer not-needed-here' },
    onConnect: () => {
      client.subscribe('/topic/metrics', (message) => messages.push(JSON.parse(message.body)));
    },
  });
  t.after(() => client.deactivate({ force: true }));
  client.activate();
  isDocumentedPayload(await messages.next('metrics'));
  isDocumentedPayload(await messages.next('metrics of the next second'));
});

for (const [way, settings] of Object.entries(WAYS)) {
  describe(way, () => {
    test('connects, gets metrics each second, leaves with a receipt', async (t) => {
      const client = await connect(t, settings(server));
      assert.equal(client.connectedVersion, '1.2');
      const metrics = await subscribe(client, '/topic/metrics');
      isDocumentedPayload(JSON.parse((await metrics.next('metrics')).body));
      isDocumentedPayload(JSON.parse((await metrics.next('metrics of the next second')).body));
      await within(WAIT_MS, client.deactivate(), 'the receipt of DISCONNECT');
      assert.equal(client.errors.length, 0);
    });

    test('two clients talk on a topic and every character survives', async (t) => {
      const [speaker, listener] = [await connect(t, settings(server)), await connect(t, settings(server))];
      const heard = await subscribe(listener, '/topic/chat');
      await send(speaker, { destination: '/topic/chat', body: CHARACTERS, headers: { 'x-note': NOTE } });
      const message = await heard.next('the message');
      assert.equal(message.body, CHARACTERS);
      assert.equal(message.headers['x-note'], NOTE);
      assert.equal(message.headers.destination, '/topic/chat');
    });

    test('a body of 500 KB arrives whole', async (t) => {
      const [speaker, listener] = [await connect(t, settings(server)), await connect(t, settings(server))];
      const heard = await subscribe(listener, '/topic/chat.big');
      const body = 'stompbox é '.repeat(41_667);
      await send(speaker, { destination: '/topic/chat.big', body });
      assert.ok((await heard.next('the message')).body === body);
    });

    test('300 messages keep their order', async (t) => {
      const [speaker, listener] = [await connect(t, settings(server)), await connect(t, settings(server))];
      const heard = await subscribe(listener, '/topic/chat.order');
      for (let n = 0; n < 300; n++) speaker.publish({ destination: '/topic/chat.order', body: String(n) });
      const bodies = (await heard.take(300, 'messages in order')).map(({ body }) => Number(body));
      assert.deepEqual(bodies, Array.from({ length: 300 }, (_, n) => n));
    });

    test('nothing arrives after the receipt of UNSUBSCRIBE', async (t) => {
      const client = await connect(t, settings(server));
      const heard = await subscribe(client, '/topic/chat.left');
      const others = await subscribe(client, '/topic/chat.left');
      const left = receiptOf(client, 'left');
      heard.subscription.unsubscribe({ receipt: 'left' });
      await left;
      await send(client, { destination: '/topic/chat.left', body: 'anyone?' });
      await others.next('the message');
      assert.equal(heard.length, 0);
    });
  });
}

for (const version of ['1.0', '1.1', '1.2']) {
  test(`STOMP ${version} is spoken`, async (t) => {
    const client = await connect(t, { ...WAYS['ws /ws'](server), stompVersions: versions(version) });
    assert.equal(client.connectedVersion, version);
    const heard = await subscribe(client, `/topic/version.${version.replace('.', '')}`);
    await send(client, { destination: `/topic/version.${version.replace('.', '')}`, body: 'hello' });
    assert.equal((await heard.next('the message')).body, 'hello');
  });
}

test('binary bodies travel between WebSockets', async (t) => {
  const settings = WAYS['ws /ws'](server);
  const [speaker, listener] = [await connect(t, settings), await connect(t, settings)];
  const heard = await subscribe(listener, '/topic/bytes');
  const binaryBody = Uint8Array.from({ length: 256 }, (_, octet) => octet);
  await send(speaker, { destination: '/topic/bytes', binaryBody, headers: { 'content-type': 'application/octet-stream' } });
  const message = await heard.next('the message');
  assert.deepEqual([...message.binaryBody], [...binaryBody]);
  assert.equal(message.headers['content-type'], 'application/octet-stream');
});

test('a frame that stompjs splits into parts arrives whole', async (t) => {
  const client = await connect(t, { ...WAYS['ws /ws'](server), splitLargeFrames: true, maxWebSocketChunkSize: 1024 });
  const heard = await subscribe(client, '/topic/split');
  const body = 'x'.repeat(100_000);
  await send(client, { destination: '/topic/split', body });
  assert.equal((await heard.next('the message')).body.length, body.length);
});

test('a transaction arrives at its COMMIT, in order, and an aborted one never', async (t) => {
  const [speaker, listener] = [await connect(t, WAYS['ws /ws'](server)), await connect(t, WAYS['ws /ws'](server))];
  const heard = await subscribe(listener, '/topic/transactions');
  const say = (body, headers = {}) => send(speaker, { destination: '/topic/transactions', body, headers });
  const kept = speaker.begin();
  const dropped = speaker.begin();
  await say('second', { transaction: kept.id });
  await say('never', { transaction: dropped.id });
  await say('third', { transaction: kept.id });
  await say('first');
  dropped.abort();
  kept.commit();
  await say('last');
  assert.deepEqual((await heard.take(4, 'all but the aborted')).map(({ body }) => body), ['first', 'second', 'third', 'last']);
});

test('a retained message reaches who subscribes later, and says so', async (t) => {
  const [speaker, late] = [await connect(t, WAYS['ws /ws'](server)), await connect(t, WAYS['sockjs xhr-streaming'](server))];
  await send(speaker, { destination: '/topic/kept', body: 'still here', headers: { retain: 'true' } });
  const message = await (await subscribe(late, '/topic/kept')).next('the retained message');
  assert.equal(message.body, 'still here');
  assert.equal(message.headers.retained, 'true');
});

test('a pattern hears what fits it and nothing else', async (t) => {
  const client = await connect(t, WAYS['ws /ws'](server));
  const one = await subscribe(client, '/topic/rooms.*.chat');
  const any = await subscribe(client, '/topic/rooms.>');
  for (const name of ['rooms.a.chat', 'rooms.a.b.chat', 'other', 'rooms.b.chat']) {
    await send(client, { destination: `/topic/${name}`, body: name });
  }
  assert.deepEqual((await any.take(3, 'any depth')).map(({ body }) => body), ['rooms.a.chat', 'rooms.a.b.chat', 'rooms.b.chat']);
  assert.deepEqual((await one.take(2, 'one word')).map(({ body }) => body), ['rooms.a.chat', 'rooms.b.chat']);
  assert.equal(one.length, 0);
});

test('a refused subscription ends with a message that says why, and the connection lives', async (t) => {
  const client = await connect(t, WAYS['ws /ws'](server));
  const refused = new Queue();
  client.subscribe('/nowhere/at/all', (message) => refused.push(message));
  const message = await refused.next('the refusal');
  assert.match(message.headers.status, /^40[34]$/);
  assert.ok(message.body.length > 0);
  const heard = await subscribe(client, '/topic/after-refusal');
  await send(client, { destination: '/topic/after-refusal', body: 'alive' });
  assert.equal((await heard.next('the message')).body, 'alive');
  assert.equal(client.errors.length, 0);
});

test('a message reaches every subscriber once', async (t) => {
  const clients = await Promise.all(Object.values(WAYS).map((settings) => connect(t, settings(server))));
  const all = await Promise.all(clients.map((client) => subscribe(client, '/topic/everyone')));
  await send(clients[0], { destination: '/topic/everyone', body: 'first' });
  await send(clients[0], { destination: '/topic/everyone', body: 'last' });
  for (const heard of all) assert.deepEqual((await heard.take(2, 'both')).map(({ body }) => body), ['first', 'last']);
});

test('a lost connection comes back, and with it the subscriptions made in onConnect', async (t) => {
  const client = createClient(t, { ...WAYS['ws /ws'](server), reconnectDelay: 50 });
  const messages = new Queue();
  client.onConnect = (frame) => {
    client.subscribe('/topic/metrics', (message) => messages.push(message));
    client.connects.push(frame);
  };
  client.activate();
  await client.connects.next('the first CONNECTED');
  client.webSocket.terminate();
  await client.connects.next('the second CONNECTED');
  await messages.next('metrics');
});

describe('events and metrics', () => {
  let quiet;
  // A period that no test lives to see: what arrives was asked for.
  before(async () => (quiet = await startServer({ config: '[metrics]\nperiod = "1m"\n' })));
  after(() => quiet?.stop());

  test('SEND /app/subscribe brings the snapshot at once to the subscriptions of the sender', async (t) => {
    const client = await connect(t, WAYS['ws /ws'](quiet));
    const metrics = await subscribe(client, '/topic/metrics');
    client.publish({ destination: '/app/subscribe', body: 'any' });
    isDocumentedPayload(JSON.parse((await metrics.next('the snapshot')).body));
  });

  test('SUBSCRIBE /app/metrics is answered once', async (t) => {
    const client = await connect(t, WAYS['sockjs xhr-streaming'](quiet));
    const once = await subscribe(client, '/app/metrics');
    const message = await once.next('the snapshot');
    isDocumentedPayload(JSON.parse(message.body));
    assert.equal(message.headers.subscription, once.subscription.id);
    await send(client, { destination: '/topic/fence', body: '' });
    assert.equal(once.length, 0);
  });

  test('a SockJS session gets the snapshot at once too', async (t) => {
    for (const name of SOCKJS_TRANSPORTS) {
      const client = await connect(t, WAYS[`sockjs ${name}`](quiet));
      const metrics = await subscribe(client, '/topic/metrics');
      client.publish({ destination: '/app/subscribe' });
      isDocumentedPayload(JSON.parse((await metrics.next(`the snapshot by ${name}`)).body));
    }
  });
});

test('events sent to /app/events, one or an array, are counted on the screen of another client', async (t) => {
  const [sender, screen] = [await connect(t, WAYS['ws /ws'](server)), await connect(t, WAYS['sockjs xhr-polling'](server))];
  const metrics = await subscribe(screen, '/topic/metrics');
  const before = JSON.parse((await metrics.next('metrics')).body);
  await send(sender, { destination: '/app/events', body: JSON.stringify(eventBody({ eventType: 'stompjs.one', severity: 'error' })) });
  const batch = [1, 2, 3].map((n) => eventBody({ eventType: 'stompjs.batch', userId: `stompjs-${n}`, severity: 'Warning' }));
  await send(sender, { destination: '/app/events', body: JSON.stringify(batch) });
  const after = await metricsThat(metrics, ({ summary }) => summary.totalEvents >= before.summary.totalEvents + 4, 'the counts');
  isDocumentedPayload(after);
  assert.equal(after.summary.totalEvents, before.summary.totalEvents + 4);
  assert.equal(after.eventsByType['stompjs.one'], 1);
  assert.equal(after.eventsByType['stompjs.batch'], 3);
  assert.equal(after.eventsBySeverity.ERROR, (before.eventsBySeverity.ERROR ?? 0) + 1);
  assert.equal(after.eventsBySeverity.WARNING, (before.eventsBySeverity.WARNING ?? 0) + 3);
});

/** Everything that JSON, SockJS and old proxies are known to mangle. */
const CHARACTERS = 'Grüße 😀 👩‍👩‍👧 日本語 \u2028\u2029\u200d\u202e\ufeff\ufff0 "quoted" \\back\\slash\\ \t tab\r\nline\u0001\u007f';

/** Each escape of STOMP 1.2 but `\\c`, `\\n`, `\\r`: stompjs 7.5 reads a raw backslash before these letters wrongly. */
const NOTE = 'a:b\\d\re\nf';
