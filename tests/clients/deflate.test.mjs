/** Compression, as browsers, Node's ws and a proxy in between see it. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import WebSocket from 'ws';
import { launch, openPage } from './chromium.mjs';
import { startNginx } from './proxies.mjs';
import { startServer } from './server.mjs';
import { Queue, within, WAIT_MS } from './wait.mjs';

const AGREED = 'permessage-deflate; server_no_context_takeover; client_no_context_takeover';
const BODY = JSON.stringify(Array.from({ length: 1000 }, (_, n) => ({ name: `metric.${n % 20}`, value: n * 1.5, unit: 'größe' })));
const CONNECT = 'CONNECT\naccept-version:1.2\nhost:localhost\nheart-beat:0,0\n\n\0';
const SUBSCRIBE = 'SUBSCRIBE\nid:sub-0\ndestination:/topic/deflate\nreceipt:live\n\n\0';

let server;
before(async () => (server = await startServer()));
after(() => server.stop());

/** A raw client of Node's ws with a subscription that is live. */
async function subscriber(t, url, options = {}) {
  const socket = new WebSocket(url, ['v12.stomp'], options);
  t.after(() => socket.terminate());
  const frames = new Queue();
  socket.on('message', (data) => frames.push(String(data)));
  await within(WAIT_MS, new Promise((done, fail) => socket.once('open', done).once('error', fail)), 'the open WebSocket');
  socket.send(CONNECT);
  await frames.find((frame) => frame.startsWith('CONNECTED'), 'CONNECTED');
  socket.send(SUBSCRIBE);
  await frames.find((frame) => frame.startsWith('RECEIPT'), 'the RECEIPT');
  return { socket, frames, read: () => socket._socket.bytesRead };
}

async function receives({ frames, read }, publish) {
  const before = read();
  publish();
  const frame = await frames.find((frame) => frame.startsWith('MESSAGE'), 'the MESSAGE');
  assert.equal(frame.slice(frame.indexOf('\n\n') + 2, -1), BODY);
  return read() - before;
}

for (const [name, url] of [
  ['directly', () => server.ws('/ws')],
  ['through nginx', async (t) => {
    const nginx = await startNginx(server.url);
    t.after(nginx.stop);
    return `${nginx.urls['buffering off'].replace('http', 'ws')}/ws`;
  }],
]) {
  test(`Node's ws gets a message compressed, and sends one, ${name}`, async (t) => {
    const client = await subscriber(t, await url(t));
    assert.equal(client.socket.extensions, 'permessage-deflate');
    const octets = await receives(client, () => client.socket.send(`SEND\ndestination:/topic/deflate\n\n${BODY}\0`));
    assert.ok(octets < BODY.length / 5, `${octets} octets for ${BODY.length}`);
    const plain = await subscriber(t, await url(t), { perMessageDeflate: false });
    assert.equal(plain.socket.extensions, '');
    const all = await receives(plain, () => client.socket.send(`SEND\ndestination:/topic/deflate\n\n${BODY}\0`));
    assert.ok(all > BODY.length);
  });
}

test("a window that Node's ws asks for is kept to", async (t) => {
  const perMessageDeflate = { serverMaxWindowBits: 9, clientMaxWindowBits: 10, serverNoContextTakeover: true };
  const client = await subscriber(t, server.ws('/ws'), { perMessageDeflate });
  for (let turn = 0; turn < 3; turn += 1) {
    await receives(client, () => client.socket.send(`SEND\ndestination:/topic/deflate\n\n${BODY}\0`));
  }
});

test('Chromium agrees on compression, on the raw WebSocket and on that of SockJS, and reads what was sent', async (t) => {
  const browser = await launch();
  t.after(() => browser.close());
  const page = await openPage(t, browser, `${server.url}/ws/info`);
  const publisher = await subscriber(t, server.ws('/ws'));
  for (const path of ['/ws', '/ws/000/deflated/websocket']) {
    const extensions = await page.evaluate(
      ({ url, frames, isSockJs }) =>
        new Promise((done, fail) => {
          const socket = new WebSocket(url);
          const send = (frame) => socket.send(isSockJs ? JSON.stringify([frame]) : frame);
          const on = (frame) => {
            if (frame.startsWith('CONNECTED')) send(frames[1]);
            if (frame.startsWith('RECEIPT')) done(socket.extensions);
            if (frame.startsWith('MESSAGE')) globalThis.received(frame);
          };
          globalThis.message = new Promise((received) => (globalThis.received = received));
          socket.onopen = () => isSockJs || send(frames[0]);
          socket.onerror = () => fail(new Error('the WebSocket failed'));
          socket.onmessage = ({ data }) => {
            if (!isSockJs) return on(data);
            if (data === 'o') return send(frames[0]);
            if (data[0] === 'a') JSON.parse(data.slice(1)).forEach(on);
          };
        }),
      { url: server.ws(path), frames: [CONNECT, SUBSCRIBE], isSockJs: path !== '/ws' },
    );
    assert.equal(extensions, AGREED);
    publisher.socket.send(`SEND\ndestination:/topic/deflate\n\n${BODY}\0`);
    const frame = await page.evaluate(() => globalThis.message);
    assert.equal(frame.slice(frame.indexOf('\n\n') + 2, -1), BODY);
  }
});
