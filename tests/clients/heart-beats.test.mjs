/** @stomp/stompjs in Chromium: heart-beats from a Web Worker, which Node does not have. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { launch, openPage } from './chromium.mjs';
import { ROOT, startServer } from './server.mjs';
import { WAIT_MS, within } from './wait.mjs';

const INTERVAL_MS = 200;
/** More than the two intervals of silence that a client is given. */
const QUIET_MS = 6 * INTERVAL_MS;

let server, browser, site;
before(async () => {
  const config = `[stomp]\nheart_beat_send = "${INTERVAL_MS}ms"\nheart_beat_receive = "${INTERVAL_MS}ms"\n`;
  [server, browser, site] = await Promise.all([startServer({ config }), launch(), servePage()]);
});
after(async () => {
  await browser?.close();
  await server?.stop();
  site?.close();
});

for (const [strategy, count] of [['worker', 1], ['interval', 0]]) {
  test(`heart-beats by ${strategy} in a browser keep a quiet connection`, async (t) => {
    const page = await openPage(t, browser, `http://127.0.0.1:${site.address().port}`);
    const worker = count > 0 ? page.waitForEvent('worker') : undefined;
    const connected = page.evaluate(connect, [server.ws('/ws'), strategy, INTERVAL_MS]);
    assert.equal(await within(WAIT_MS, connected, 'CONNECTED'), `${INTERVAL_MS},${INTERVAL_MS}`);
    await worker;
    const heard = await within(2 * WAIT_MS, page.evaluate(staysQuiet, QUIET_MS), 'the message after the quiet');
    assert.deepEqual(heard, { body: 'still here', closes: 0 });
    assert.equal(page.workers().length, count, 'the workers that run');
    if (count > 0) {
      const ended = page.workers()[0].waitForEvent('close');
      await page.evaluate(() => globalThis.client.deactivate());
      await within(WAIT_MS, ended, 'the end of the worker');
    }
  });
}

/** Runs in the page. */
function connect([brokerURL, heartbeatStrategy, interval]) {
  globalThis.closes = 0;
  return new Promise((done, fail) => {
    const client = new globalThis.StompJs.Client({
      brokerURL,
      heartbeatStrategy,
      heartbeatIncoming: interval,
      heartbeatOutgoing: interval,
      reconnectDelay: 0,
      onConnect: ({ headers }) => done(headers['heart-beat']),
      onStompError: ({ body }) => fail(new Error(body)),
      onWebSocketClose: () => (globalThis.closes += 1),
    });
    globalThis.client = client;
    client.activate();
  });
}

/** Runs in the page. */
async function staysQuiet(ms) {
  const { client } = globalThis;
  const heard = new Promise((done) => client.subscribe('/topic/quiet', ({ body }) => done(body)));
  await new Promise((done) => setTimeout(done, ms));
  client.publish({ destination: '/topic/quiet', body: 'still here' });
  return { body: await heard, closes: globalThis.closes };
}

async function servePage() {
  const script = readFileSync(join(ROOT, 'tests/clients/node_modules/@stomp/stompjs/bundles/stomp.umd.js'));
  const page = '<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,"><body><script src="/stomp.js"></script>';
  const http = createServer((request, response) => {
    const isScript = request.url === '/stomp.js';
    response.writeHead(200, { 'content-type': isScript ? 'text/javascript' : 'text/html' });
    response.end(isScript ? script : page);
  });
  await new Promise((done) => http.listen(0, '127.0.0.1', done));
  return http;
}
