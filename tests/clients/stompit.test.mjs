/** stompit, the STOMP client of Node services, over plain TCP. */
import assert from 'node:assert/strict';
import { connect as connectSocket } from 'node:net';
import { after, before, test } from 'node:test';
import stompit from 'stompit';
import { startServer } from './server.mjs';
import { Queue, WAIT_MS, within } from './wait.mjs';

let server;
before(async () => {
  const config = '[stomp]\nheart_beat_send = "200ms"\nheart_beat_receive = "200ms"\n';
  server = await startServer({ config });
});
after(() => server?.stop());

for (const version of ['1.0', '1.1', '1.2']) {
  const topic = (name) => `/topic/stompit.${version}.${name}`;

  test(`stompit ${version}: messages, receipts and a clean end`, async (t) => {
    const client = await connect(t, { 'accept-version': version });
    assert.equal(client.headers.version, version);
    const heard = await subscribe(client, { destination: topic('talk') });
    await send(client, { destination: topic('talk'), 'content-type': 'text/plain' }, 'Grüße 😀');
    const message = await heard.next('the message');
    assert.equal(String(message.body), 'Grüße 😀');
    assert.equal(message.headers['content-type'], 'text/plain');
    await within(WAIT_MS, new Promise((done, fail) => client.disconnect((error) => (error ? fail(error) : done()))), 'the end');
  });

  test(`stompit ${version}: binary bodies, streamed`, async (t) => {
    const client = await connect(t, { 'accept-version': version });
    const heard = await subscribe(client, { destination: topic('bytes') });
    const body = Buffer.from(Array.from({ length: 100_000 }, (_, n) => n % 256));
    const frame = client.send({ destination: topic('bytes'), 'content-length': body.length });
    for (let at = 0; at < body.length; at += 9999) frame.write(body.subarray(at, at + 9999));
    frame.end();
    assert.ok(body.equals((await heard.next('the message')).body));
  });

  test(`stompit ${version}: a transaction is all or nothing`, async (t) => {
    const client = await connect(t, { 'accept-version': version });
    const heard = await subscribe(client, { destination: topic('transaction') });
    const [kept, dropped] = [client.begin(), client.begin()];
    for (const n of [1, 2, 3]) {
      kept.send({ destination: topic('transaction') }).end(`kept ${n}`);
      dropped.send({ destination: topic('transaction') }).end(`dropped ${n}`);
    }
    dropped.abort();
    await within(WAIT_MS, new Promise((onReceipt) => kept.commit({ onReceipt })), 'the receipt of COMMIT');
    await send(client, { destination: topic('transaction') }, 'after');
    const bodies = (await heard.take(4, 'the messages')).map(({ body }) => String(body));
    assert.deepEqual(bodies, ['kept 1', 'kept 2', 'kept 3', 'after']);
  });

  test(`stompit ${version}: ack in both modes`, async (t) => {
    const client = await connect(t, { 'accept-version': version });
    for (const ack of ['client', 'client-individual']) {
      const heard = await subscribe(client, { destination: topic(ack), ack });
      await send(client, { destination: topic(ack) }, 'x');
      const message = await heard.next('the message');
      await within(WAIT_MS, new Promise((onReceipt) => client.ack(message.frame, {}, { onReceipt })), 'the receipt of ACK');
    }
    assert.equal(client.errors.length, 0);
  });
}

test('stompit: a queue delivers again what is refused', async (t) => {
  const client = await connect(t, {});
  const destination = '/queue/stompit.again';
  const heard = await subscribe(client, { destination, ack: 'client-individual' });
  await send(client, { destination }, 'x');
  client.nack((await heard.next('the message')).frame);
  const again = await heard.next('the redelivery');
  assert.deepEqual([String(again.body), again.headers.redelivered, again.headers['delivery-count']], ['x', 'true', '2']);
  await within(WAIT_MS, new Promise((onReceipt) => client.ack(again.frame, {}, { onReceipt })), 'the receipt of ACK');
});

test('stompit: an ACK of what was acknowledged is an ERROR, and the end', async (t) => {
  const client = await connect(t, {});
  const destination = '/queue/stompit.twice';
  const heard = await subscribe(client, { destination, ack: 'client-individual' });
  await send(client, { destination }, 'x');
  const message = await heard.next('the message');
  client.ack(message.frame);
  client.ack(message.frame);
  const refusal = await client.refusals.next('ERROR');
  assert.equal(refusal.message, 'Unknown message');
  assert.equal(Number(refusal['content-length']), 'ACK names "0", which no delivered message waits for'.length);
  await client.errors.next('the end');
});

test('stompit: heart-beats keep a quiet connection', async (t) => {
  const client = await connect(t, { 'heart-beat': '200,200' });
  const heard = await subscribe(client, { destination: '/topic/stompit.quiet' });
  const other = await connect(t, {});
  // More than the two intervals that a silent client is given.
  await new Promise((done) => setTimeout(done, 1000));
  await send(other, { destination: '/topic/stompit.quiet' }, 'still here');
  assert.equal(String((await heard.next('the message')).body), 'still here');
  assert.equal(client.errors.length, 0);
});

/** A connected client; errors after that are in `errors`. */
async function connect(t, headers) {
  const { host, port } = server.tcp;
  const socket = connectSocket(port, host);
  const client = new stompit.Client(socket);
  client.errors = new Queue();
  t.after(() => client.destroy());
  const connected = new Promise((done, fail) => {
    client.connect({ host, ...headers }, (error) => (error ? fail(error) : done()));
  });
  await within(WAIT_MS, connected, 'CONNECTED');
  client.on('error', (error) => client.errors.push(error));
  client.refusals = new Queue();
  // stompit 1.0 ends the stream of an ERROR's body with an error, and does not listen itself; which
  // error it tells, the ERROR or the close right behind it, is a matter of luck.
  const { ERROR: onError } = client._commandHandlers;
  client._commandHandlers.ERROR = function (frame, ...rest) {
    frame.on('error', () => {});
    client.refusals.push(frame.headers);
    return onError.call(this, frame, ...rest);
  };
  return client;
}

/** Subscribes and makes sure that the subscription is live: frames of one connection are taken in order. */
async function subscribe(client, headers) {
  const messages = new Queue();
  client.subscribe({ ...headers }, (error, frame) => {
    if (error) return;
    const pieces = [];
    frame.on('data', (piece) => pieces.push(piece));
    frame.on('end', () => messages.push({ headers: frame.headers, body: Buffer.concat(pieces), frame }));
  });
  await send(client, { destination: '/topic/stompit.fence' }, '');
  return messages;
}

function send(client, headers, body) {
  const taken = new Promise((onReceipt) => client.sendString({ ...headers }, body, { onReceipt }));
  return within(WAIT_MS, taken, 'the receipt of SEND');
}
