/** What a broker must say to peers that break the rules, fall silent, or come without permission. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { BarePeer, WAYS, connect, createClient, subscribe } from './clients.mjs';
import { startServer } from './server.mjs';
import { Queue, WAIT_MS, within } from './wait.mjs';

describe('bad frames', () => {
  let server;
  before(async () => (server = await startServer()));
  after(() => server?.stop());

  for (const { name, bytes, says } of [
    { name: 'an unknown command', bytes: 'SHOUT\n\n\0', says: /command/i },
    { name: 'a command in lower case', bytes: 'send\ndestination:/topic/a\n\n\0', says: /command/i },
    { name: 'SEND without destination', bytes: 'SEND\n\nbody\0', says: /destination/i },
    { name: 'SUBSCRIBE without id', bytes: 'SUBSCRIBE\ndestination:/topic/a\n\n\0', says: /id/i },
    { name: 'a header without colon', bytes: 'SEND\ndestination\n\n\0', says: /header|colon/i },
    { name: 'an unknown escape', bytes: 'SEND\ndestination:/topic/\\t\n\n\0', says: /escape/i },
    { name: 'a content-length that is no number', bytes: 'SEND\ndestination:/topic/a\ncontent-length:many\n\n\0', says: /content-length/i },
    { name: 'a content-length that is too small', bytes: 'SEND\ndestination:/topic/a\ncontent-length:1\n\nbody\0', says: /content-length|NUL/i },
    { name: 'a body above the limit', bytes: 'SEND\ndestination:/topic/a\ncontent-length:1048577\n\n', says: /1048577|1048576/ },
    { name: 'a body on SUBSCRIBE', bytes: 'SUBSCRIBE\nid:1\ndestination:/topic/a\n\nbody\0', says: /body/i },
    { name: 'ACK of an unknown id', bytes: 'ACK\nid:nobody\n\n\0', says: /id|ack/i },
    { name: 'an unknown transaction', bytes: 'COMMIT\ntransaction:nobody\n\n\0', says: /transaction/i },
    { name: 'a second CONNECT', bytes: 'CONNECT\naccept-version:1.2\nhost:a\n\n\0', says: /connect/i },
  ]) {
    test(`${name} is answered with an ERROR that says so, and the close`, async (t) => {
      const peer = await BarePeer.connected(t, server.ws('/ws'));
      peer.sendRaw(bytes);
      const frame = await peer.frames.next('ERROR');
      assert.equal(frame.command, 'ERROR');
      assert.match(`${frame.headers.message}\n${frame.body}`, says);
      assert.ok(frame.body.length > 0, 'the body explains');
      await within(WAIT_MS, peer.closed, 'the close');
    });
  }

  test('an ERROR names the receipt that was asked for', async (t) => {
    const peer = await BarePeer.connected(t, server.ws('/ws'));
    peer.send('SEND', { receipt: 'r-7' }, 'no destination');
    const frame = await peer.frames.next('ERROR');
    assert.equal(frame.command, 'ERROR');
    assert.equal(frame.headers['receipt-id'], 'r-7');
  });

  test('a frame before CONNECT is refused', async (t) => {
    const peer = await BarePeer.open(t, server.ws('/ws'));
    peer.send('SEND', { destination: '/topic/a' }, 'hello');
    assert.equal((await peer.frames.next('ERROR')).command, 'ERROR');
    await within(WAIT_MS, peer.closed, 'the close');
  });

  test('no common version is answered with the list', async (t) => {
    const peer = await BarePeer.open(t, server.ws('/ws'));
    peer.send('CONNECT', { 'accept-version': '9.9', host: 'localhost' });
    const frame = await peer.frames.next('ERROR');
    assert.equal(frame.command, 'ERROR');
    for (const version of ['1.0', '1.1', '1.2']) assert.ok(frame.headers.version.includes(version), frame.headers.version);
  });

  test('the highest subprotocol offered is answered, and none is accepted too', async (t) => {
    const answer = async (...offered) => (await BarePeer.open(t, server.ws('/ws'), offered)).socket.protocol;
    assert.equal(await answer('v10.stomp', 'v11.stomp', 'v12.stomp'), 'v12.stomp');
    assert.equal(await answer('v11.stomp', 'v10.stomp'), 'v11.stomp');
    assert.equal(await answer('v10.stomp'), 'v10.stomp');
    assert.equal(await answer(), '');
  });

  test('stompjs sees the ERROR', async (t) => {
    const client = await connect(t, WAYS['sockjs xhr-streaming'](server));
    client.publish({ destination: '', body: 'nowhere' });
    const frame = await client.errors.next('ERROR');
    assert.ok(frame.headers.message.length > 0);
  });
});

describe('heart-beats', () => {
  let server;
  const config = '[stomp]\nheart_beat_send = "300ms"\nheart_beat_receive = "300ms"\n';
  before(async () => (server = await startServer({ config })));
  after(() => server?.stop());

  for (const [way, settings] of Object.entries(WAYS)) {
    test(`${way}: both sides beat, and the connection lives`, async (t) => {
      const debug = new Queue();
      const client = createClient(t, {
        ...settings(server),
        heartbeatIncoming: 300,
        heartbeatOutgoing: 300,
        debug: (line) => debug.push(line),
      });
      client.activate();
      await client.connects.next('CONNECTED');
      for (let n = 1; n <= 6; n++) await debug.find((line) => line.includes('PONG'), `heart-beat ${n} of the server`);
      assert.equal(client.connected, true);
      assert.equal(client.closes.length, 0);
    });
  }

  test('a peer that promised heart-beats and fell silent gets an ERROR that says so, then the close', async (t) => {
    const peer = await BarePeer.connected(t, server.ws('/ws'), { 'heart-beat': '300,0' });
    assert.equal(peer.connectedFrame.headers['heart-beat'], '300,300');
    const frame = await peer.frames.next('ERROR');
    assert.equal(frame.command, 'ERROR');
    assert.match(`${frame.headers.message} ${frame.body}`, /heart-?beat/i);
    await within(WAIT_MS, peer.closed, 'the close');
  });

  test('the server beats for a peer that only listens', async (t) => {
    const peer = await BarePeer.connected(t, server.ws('/ws'), { 'heart-beat': '0,300' });
    for (let n = 1; n <= 4; n++) await peer.heartBeats.next(`heart-beat ${n}`);
  });
});

describe('credentials', () => {
  let server;
  const config = `
[auth]
tokens = [{ name = "web", token = "correct-horse" }]
users = [{ name = "ann", passcode = "s3cret" }]
`;
  before(async () => (server = await startServer({ config })));
  after(() => server?.stop());

  const good = {
    'Authorization: Bearer': { Authorization: 'Bearer correct-horse' },
    'Authorization: Basic': { Authorization: `Basic ${Buffer.from('ann:s3cret').toString('base64')}` },
    'X-Authorization': { 'X-Authorization': 'Bearer correct-horse' },
    token: { token: 'correct-horse' },
    access_token: { access_token: 'correct-horse' },
    'login and passcode': { login: 'ann', passcode: 's3cret' },
  };
  for (const [name, connectHeaders] of Object.entries(good)) {
    test(`${name} lets in`, async (t) => {
      const client = await connect(t, { ...WAYS['ws /ws'](server), connectHeaders });
      await (await subscribe(client, '/topic/metrics')).next('metrics');
    });
  }

  test('CONNECTED names the user', async (t) => {
    const client = createClient(t, { ...WAYS['ws /ws'](server), connectHeaders: good['login and passcode'] });
    client.activate();
    assert.equal((await client.connects.next('CONNECTED')).headers['user-name'], 'ann');
  });

  const bad = {
    'a wrong token': { Authorization: 'Bearer wrong' },
    'a wrong passcode': { login: 'ann', passcode: 'wrong' },
    'an unknown user': { login: 'bob', passcode: 's3cret' },
    'no credentials': {},
  };
  for (const way of ['ws /ws', 'sockjs websocket', 'sockjs xhr-streaming', 'sockjs xhr-polling']) {
    for (const [name, connectHeaders] of Object.entries(bad)) {
      test(`${way}: ${name} is refused with an ERROR that onStompError sees`, async (t) => {
        const client = createClient(t, { ...WAYS[way](server), connectHeaders });
        client.activate();
        const frame = await client.errors.next('ERROR');
        assert.equal(frame.headers.message, 'Access refused');
        assert.doesNotMatch(frame.body, /passcode|user|token/i, 'no hint which part was wrong');
        await client.closes.next('the close');
        assert.equal(client.connects.length, 0);
      });
    }
  }

  for (const way of Object.keys(WAYS).filter((name) => name.startsWith('sockjs'))) {
    test(`${way}: a token lets in`, async (t) => {
      const client = await connect(t, { ...WAYS[way](server), connectHeaders: good['Authorization: Bearer'] });
      await (await subscribe(client, '/topic/metrics')).next('metrics');
    });
  }
});

describe('the end of the server', () => {
  test('clients of a server that went away reconnect to its successor and get metrics again', async (t) => {
    const first = await startServer();
    t.after(() => first.kill());
    const ways = ['ws /ws', 'sockjs websocket', 'sockjs xhr-streaming', 'sockjs xhr-polling'];
    const clients = ways.map((way) => {
      const client = createClient(t, { ...WAYS[way](first), reconnectDelay: 100 });
      client.metrics = new Queue();
      client.onConnect = () => client.subscribe('/topic/metrics', (message) => client.metrics.push(message));
      client.activate();
      return client;
    });
    for (const client of clients) await client.metrics.next('metrics of the first server');
    const { port } = first;
    await first.stop();
    for (const client of clients) await client.closes.next('the close');
    const second = await startServer({ port });
    t.after(() => second.kill());
    for (const client of clients) {
      while (client.metrics.length > 0) await client.metrics.next();
      await client.metrics.next('metrics of the second server', 20_000);
    }
    await second.stop();
  });
});
