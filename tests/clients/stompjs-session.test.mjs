/** @stomp/stompjs: transactions, acknowledging, split frames and heart-beats. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { TickerStrategy } from '@stomp/stompjs';
import { WAYS, connect, receiptOf, send, subscribe, versions } from './clients.mjs';
import { startServer } from './server.mjs';
import { WAIT_MS, within } from './wait.mjs';

let server;
before(async () => {
  const config = '[stomp]\nheart_beat_send = "200ms"\nheart_beat_receive = "200ms"\n';
  server = await startServer({ config });
});
after(() => server?.stop());

for (const way of ['ws /ws', 'sockjs xhr-streaming']) {
  describe(way, () => {
    const peer = (t, settings = {}) => connect(t, { ...WAYS[way](server), heartbeatIncoming: 0, heartbeatOutgoing: 0, ...settings });
    const bodies = async (heard, count) => (await heard.take(count, 'the messages')).map(({ body }) => body);

    test('a transaction is all or nothing and keeps its order', async (t) => {
      const client = await peer(t);
      const destination = '/topic/transaction';
      const heard = await subscribe(client, destination);
      const [kept, dropped] = [client.begin(), client.begin()];
      for (const n of [1, 2, 3]) {
        client.publish({ destination, body: `kept ${n}`, headers: { transaction: kept.id } });
        client.publish({ destination, body: `dropped ${n}`, headers: { transaction: dropped.id } });
      }
      await send(client, { destination, body: 'before' });
      dropped.abort();
      kept.commit();
      await send(client, { destination, body: 'after' });
      assert.deepEqual(await bodies(heard, 5), ['before', 'kept 1', 'kept 2', 'kept 3', 'after']);
    });

    for (const version of ['1.0', '1.1', '1.2']) {
      test(`messages are acknowledged in ${version}, one by one and all before`, async (t) => {
        const client = await peer(t, { stompVersions: versions(version) });
        for (const ack of ['client', 'client-individual']) {
          const destination = `/topic/ack.${version}.${ack}`;
          const heard = await subscribe(client, destination, { ack });
          for (const body of ['0', '1']) await send(client, { destination, body });
          const [first, second] = await heard.take(2, 'both messages');
          assert.equal('ack' in first.headers, version === '1.2');
          if (ack === 'client') {
            const done = receiptOf(client, 'all');
            second.ack({ receipt: 'all' });
            await done;
          } else {
            const done = Promise.all([receiptOf(client, 'second'), receiptOf(client, 'first')]);
            second.ack({ receipt: 'second' });
            if (version === '1.0') first.ack({ receipt: 'first' });
            else first.nack({ receipt: 'first' });
            await done;
          }
        }
        assert.equal(client.errors.length, 0);
      });
    }

    test('acknowledging in a transaction that is aborted leaves the message as it was', async (t) => {
      const client = await peer(t);
      const heard = await subscribe(client, '/topic/ack.transaction', { ack: 'client-individual' });
      await send(client, { destination: '/topic/ack.transaction', body: 'x' });
      const message = await heard.next('the message');
      const dropped = client.begin();
      message.ack({ transaction: dropped.id });
      dropped.abort();
      const done = receiptOf(client, 'done');
      message.ack({ receipt: 'done' });
      await done;
    });

    test('an ack of what was acknowledged is an ERROR', async (t) => {
      const client = await peer(t, { reconnectDelay: 0 });
      const heard = await subscribe(client, '/topic/ack.twice', { ack: 'client-individual' });
      await send(client, { destination: '/topic/ack.twice', body: 'x' });
      const message = await heard.next('the message');
      message.ack();
      message.ack({ receipt: 'again' });
      const error = await client.errors.next('ERROR');
      assert.equal(error.headers['receipt-id'], 'again');
      await client.closes.next('the close');
    });

    test('a queue delivers again what is refused, and what a lost consumer had', async (t) => {
      const destination = `/queue/again.${way.replace(/\W/g, '.')}`;
      const [first, second] = [await peer(t, { reconnectDelay: 0 }), await peer(t)];
      const options = { ack: 'client-individual', 'prefetch-count': '10' };
      const heard = await subscribe(first, destination, options);
      for (const body of ['0', '1']) await send(second, { destination, body });
      const [refused, held] = await heard.take(2, 'both messages');
      assert.equal(refused.headers.redelivered, undefined);
      refused.nack();
      const again = await heard.next('the redelivery');
      assert.deepEqual([again.body, again.headers.redelivered, again.headers['delivery-count']], ['0', 'true', '2']);
      const acked = receiptOf(first, 'acked');
      again.ack({ receipt: 'acked' });
      await acked;
      assert.equal(held.body, '1');
      const others = await subscribe(second, destination, options);
      await within(WAIT_MS, first.deactivate({ force: true }), 'the end of the first');
      const left = await others.next('what the first had');
      assert.deepEqual([left.body, left.headers.redelivered, left.headers['delivery-count']], ['1', 'true', '2']);
      left.ack();
    });

    for (const heartbeatStrategy of [TickerStrategy.Interval, TickerStrategy.Worker]) {
      // Node has no Web Worker of the kind that stompjs starts: there it falls back to an interval; heart-beats.test.mjs has the worker.
      test(`heart-beats by ${heartbeatStrategy} keep a quiet connection`, async (t) => {
        const client = await peer(t, { heartbeatIncoming: 200, heartbeatOutgoing: 200, heartbeatStrategy, reconnectDelay: 0 });
        const heard = await subscribe(client, '/topic/quiet');
        const other = await peer(t);
        // More than the intervals of silence that either side is given.
        await new Promise((done) => setTimeout(done, 1200));
        await send(other, { destination: '/topic/quiet', body: 'still here' });
        assert.equal((await heard.next('the message')).body, 'still here');
        assert.equal(client.closes.length + client.errors.length, 0);
      });
    }

    test('a client that promised heart-beats and fell silent is told and closed', async (t) => {
      const client = await peer(t, { heartbeatIncoming: 0, heartbeatOutgoing: 200, reconnectDelay: 0 });
      client._stompHandler._pinger.stop();
      const error = await client.errors.next('ERROR');
      assert.match(error.body, /heart-beat/);
      await client.closes.next('the close');
    });
  });
}

test('a frame that stompjs splits arrives whole, whatever its characters take', async (t) => {
  const client = await connect(t, { ...WAYS['ws /ws'](server), splitLargeFrames: true, maxWebSocketChunkSize: 1024 });
  const heard = await subscribe(client, '/topic/split.text');
  // stompjs 7.5 splits surrogate pairs, too, and sends U+FFFD for each half: no 😀 here.
  const body = 'éx日'.repeat(20_000);
  await send(client, { destination: '/topic/split.text', body });
  assert.ok((await heard.next('the message')).body === body);
});

test('binary bodies with NULs travel beside text on one connection', async (t) => {
  const client = await connect(t, { ...WAYS['ws /ws'](server), forceBinaryWSFrames: true });
  const heard = await subscribe(client, '/topic/mixed');
  const binaryBody = Uint8Array.from({ length: 100_000 }, (_, n) => n % 256);
  for (let n = 0; n < 3; n++) {
    await send(client, { destination: '/topic/mixed', binaryBody });
    await send(client, { destination: '/topic/mixed', body: `text ${n}\0after a NUL` });
  }
  for (let n = 0; n < 3; n++) {
    assert.deepEqual(Buffer.from((await heard.next('octets')).binaryBody), Buffer.from(binaryBody));
    assert.equal((await heard.next('text')).body, `text ${n}\0after a NUL`);
  }
});
