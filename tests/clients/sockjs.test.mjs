/** sockjs-client 1.6.1 on every transport it knows: in Node, in Chromium from a page of another origin, and through nginx. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readFileSync, readdirSync } from 'node:fs';
import { createServer } from 'node:http';
import { join, resolve } from 'node:path';
import { after, before, describe, test } from 'node:test';
import SockJS from 'sockjs-client';
import { launch, openPage } from './chromium.mjs';
import { SOCKJS_TRANSPORTS, connect, createClient, send, subscribe } from './clients.mjs';
import { PROXIES, startCutter, startHolder, startNginx } from './proxies.mjs';
import { ROOT, startServer } from './server.mjs';
import { Queue, WAIT_MS, until, within } from './wait.mjs';

/** Each transport, and what a page that uses it asks for below the mount, beside `info`. */
const IFRAME = ['iframe.html', 'sockjs.min.js'];
const IN_CHROMIUM = {
  websocket: ['websocket'],
  'xhr-streaming': ['xhr_send', 'xhr_streaming'],
  eventsource: ['eventsource', 'xhr_send'],
  'iframe-eventsource': ['eventsource', ...IFRAME, 'xhr_send'],
  'iframe-htmlfile': ['htmlfile', ...IFRAME, 'xhr_send'],
  'xhr-polling': ['xhr', 'xhr_send'],
  'iframe-xhr-polling': [...IFRAME, 'xhr', 'xhr_send'],
  'jsonp-polling': ['jsonp', 'jsonp_send'],
};
const MIB = 'stompbox'.repeat(131_072);
/** Every character of the BMP, and some beyond. */
const UNICODE = Array.from({ length: 0x10000 }, (_, code) => (code >= 0xd800 && code < 0xe000 ? '' : String.fromCharCode(code))).join('') + '😀\u{10ffff}';

describe('in Node', () => {
  let echo;
  before(async () => (echo = await startTestServer()));
  after(() => echo?.stop());

  for (const name of SOCKJS_TRANSPORTS) {
    test(`${name}: 1 MiB and every character come back`, async () => {
      const socket = new SockJS(`${echo.url}/echo`, null, { transports: [name] });
      const frames = new Queue();
      socket.onopen = () => frames.push('open');
      socket.onmessage = ({ data }) => frames.push(data);
      socket.onclose = ({ code, reason }) => frames.push(`closed: ${code} ${reason}`);
      assert.equal(await frames.next('open'), 'open');
      for (const text of [MIB, UNICODE]) {
        socket.send(text);
        assert.ok((await frames.next('the echo')) === text);
      }
      socket.close();
      assert.equal(await frames.next('the close'), 'closed: 1000 Normal closure');
    });
  }
});

test('a client that polls is told when the server shuts down', async (t) => {
  const server = await startServer();
  t.after(() => server.kill());
  const socket = new SockJS(`${server.url}/ws`, null, { transports: ['xhr-polling'] });
  const frames = new Queue();
  socket.onopen = () => frames.push('open');
  socket.onclose = ({ code, reason }) => frames.push(`closed: ${code} ${reason}`);
  assert.equal(await frames.next('open'), 'open');
  await server.stop();
  assert.equal(await frames.next('the close'), 'closed: 1013 Try again later');
});

describe('in Chromium', () => {
  let server, echo, browser, site;
  before(async () => {
    site = await servePage();
    const config = `[sockjs]\niframe = true\nframe_ancestors = ["${site.url}"]\n`;
    [server, echo, browser] = await Promise.all([startServer({ config }), startTestServer(), launch()]);
  });
  after(async () => {
    await browser?.close();
    await server?.stop();
    echo?.stop();
    site?.stop();
  });

  for (const [name, asked] of Object.entries(IN_CHROMIUM)) {
    test(`${name}: a whole STOMP dialogue from another origin`, async (t) => {
      const page = await openPage(t, browser, site.url, { hosts: [new URL(site.url).host, new URL(server.url).host] });
      const paths = notePaths(page);
      const heard = await within(2 * WAIT_MS, page.evaluate(dialogue, [`${server.url}/ws`, name]), `the dialogue; ${page.complaints}`);
      assert.deepEqual(heard, { transport: name, bodies: ['0', '1', '2', 'Grüße 😀 \u2028'], left: true });
      assert.deepEqual(paths.below('/ws'), asked);
      assert.deepEqual(page.complaints, []);
    });

    test(`${name}: 1 MiB and every character come back`, async (t) => {
      const page = await openPage(t, browser, site.url);
      const same = page.evaluate(echoes, [`${echo.url}/echo`, name, UNICODE]);
      assert.deepEqual(await within(2 * WAIT_MS, same, 'the echo'), { unicode: true, long: true });
    });
  }

  test('a page that is no allowed ancestor gets no iframe', async (t) => {
    const other = await servePage();
    t.after(() => other.stop());
    const page = await openPage(t, browser, other.url, { hosts: [new URL(other.url).host, new URL(server.url).host] });
    await page.evaluate((url) => {
      const frame = document.createElement('iframe');
      frame.src = `${url}/ws/iframe.html`;
      document.body.append(frame);
      return new Promise((done) => (frame.onload = done));
    }, server.url);
    assert.match(page.complaints.join(), /frame-ancestors/);
  });
});

describe('through nginx', () => {
  let server, nginx;
  before(async () => {
    server = await startServer();
    nginx = await startNginx(server.url);
  });
  after(async () => {
    await nginx?.stop();
    await server?.stop();
  });

  for (const name of Object.keys(PROXIES)) {
    for (const transport of [undefined, 'websocket', 'xhr-streaming', 'xhr-polling']) {
      const isBlocked = transport === 'websocket' && name === 'upgrades blocked';
      if (isBlocked) continue;
      test(`${name}: a whole STOMP dialogue over ${transport ?? 'what works'}`, async (t) => {
        let socket;
        const options = transport ? { transports: [transport] } : {};
        const webSocketFactory = () => (socket = new SockJS(`${nginx.urls[name]}/ws`, null, options));
        const client = await connect(t, { webSocketFactory, connectionTimeout: 0, heartbeatIncoming: 0 });
        const expected = transport ?? (name === 'upgrades blocked' ? 'xhr-streaming' : 'websocket');
        assert.equal(socket.transport, expected);
        const destination = `/topic/nginx.${nginx.urls[name].split(':').pop()}`;
        const heard = await subscribe(client, destination);
        for (const body of ['first', 'x'.repeat(200_000), 'last']) {
          await send(client, { destination, body });
          assert.ok((await heard.next('the message')).body === body);
        }
        await within(WAIT_MS, client.deactivate(), 'the receipt of DISCONNECT');
      });
    }
  }

  test('behind a proxy that blocks upgrades and holds streams back, the client falls back to polling', async (t) => {
    const holder = await startHolder(server.url);
    t.after(() => holder.stop());
    let socket;
    const webSocketFactory = () => (socket = new SockJS(`${holder.url}/ws`));
    const client = await connect(t, { webSocketFactory, connectionTimeout: 0, heartbeatIncoming: 0 });
    assert.equal(socket.transport, 'xhr-polling');
    const heard = await subscribe(client, '/topic/held.back');
    await send(client, { destination: '/topic/held.back', body: 'through' });
    assert.equal((await heard.next('the message')).body, 'through');
  });
});

describe('behind a proxy that cuts connections at random', () => {
  for (const place of ['Node', 'Chromium']) {
    test(`in ${place}, each session hears what it said once and in order, and none is left behind`, async (t) => {
      const echo = await startTestServer();
      t.after(() => echo.stop());
      const files = echo.openFiles();
      const cutter = await startCutter(echo.url, 800, 20_261_121);
      t.after(() => cutter.stop());
      const talking = place === 'Node' ? talkInNode(cutter.url) : talkInChromium(t, cutter.url);
      for (const { name, sessions } of await within(3 * WAIT_MS, talking, 'the sessions of all transports')) {
        for (const heard of sessions) {
          // A response that was lost on its way leaves a gap, as nobody tells the server; a WebSocket has none.
          const inOrder = heard.every((n, at) => (name === 'websocket' ? n === at : at === 0 || n > heard[at - 1]));
          assert.ok(inOrder, `${name}: ${heard}`);
        }
      }
      assert.ok(cutter.cuts >= 10, `${cutter.cuts} cuts`);
      cutter.stop();
      await until(async () => (await echo.openSessions()) === 0, 'the end of all sessions');
      await until(() => echo.openFiles() <= files, `the server to have ${files} open files again`);
    });
  }

  for (const name of SOCKJS_TRANSPORTS) {
    test(`${name}: the client comes back each time and hears on`, async (t) => {
      // In Node, sockjs-client does not see that a stream broke: STOMP's heart-beats do.
      const heartBeats = '[stomp]\nheart_beat_send = "200ms"\nheart_beat_receive = "200ms"\n';
      // With room for one session, each has to be gone before the client is let in again.
      const server = await startServer({ config: `${heartBeats}[sockjs]\nsessions_per_address = 1\ndisconnect_delay = "300ms"\n` });
      t.after(() => server.kill());
      const cutter = await startCutter(server.url, 800, 20_240_607);
      t.after(() => cutter.stop());
      const webSocketFactory = () => new SockJS(`${cutter.url}/ws`, null, { transports: [name] });
      // Before CONNECTED there are no heart-beats to see it: a time limit does.
      const connectionTimeout = 2000;
      const client = createClient(t, { webSocketFactory, connectionTimeout, reconnectDelay: 20, heartbeatIncoming: 200, heartbeatOutgoing: 200 });
      const metrics = new Queue();
      client.onConnect = (frame) => {
        client.connects.push(frame);
        client.subscribe('/topic/metrics', (message) => metrics.push(message));
      };
      client.activate();
      for (let n = 0; n < 4; n++) {
        await client.connects.next(`connection ${n}`);
      }
      // A new subscription begins with the newest value: nothing older follows what came before the cut.
      const numbers = [];
      do numbers.push(Number((await metrics.next('metrics')).headers['message-id']));
      while (metrics.length > 0);
      assert.deepEqual(numbers, numbers.toSorted((one, other) => one - other));
      assert.ok(cutter.cuts >= 3, `${cutter.cuts} cuts`);
    });
  }
});

function talkInNode(url) {
  const talks = SOCKJS_TRANSPORTS.flatMap((name) => Array(3).fill(name));
  return Promise.all(talks.map(async (name) => ({ name, sessions: await talk([`${url}/echo`, name], SockJS) })));
}

async function talkInChromium(t, url) {
  const [browser, site] = await Promise.all([launch(), servePage()]);
  t.after(() => browser.close());
  t.after(() => site.stop());
  return Promise.all(
    Object.keys(IN_CHROMIUM).map(async (name) => {
      const page = await openPage(t, browser, site.url);
      return { name, sessions: await page.evaluate(talk, [`${url}/echo`, name]) };
    }),
  );
}

/** Says numbers, in a new session after each that was cut, until three sessions heard enough; what each heard. Runs in the page, too. */
async function talk([url, transport], SockJS = globalThis.SockJS) {
  const sessions = [];
  while (sessions.length < 3 || sessions.flat().length < 20) {
    const heard = [];
    await new Promise((done) => {
      const socket = new SockJS(url, null, { transports: [transport], timeout: 2000 });
      let said = 0;
      let latest = Infinity;
      let timer;
      socket.onopen = () => {
        latest = Date.now();
        timer = setInterval(() => {
          socket.send(String(said++));
          // In Node, sockjs-client does not see that a stream broke.
          if (Date.now() > latest + 500) socket.close();
        }, 20);
      };
      socket.onmessage = ({ data }) => {
        latest = Date.now();
        heard.push(Number(data));
      };
      socket.onclose = () => {
        clearInterval(timer);
        setTimeout(done, 10);
      };
    });
    sessions.push(heard);
  }
  return sessions;
}

/** What the page asks for from now on, its iframes and WebSockets included. */
function notePaths(page) {
  const paths = [];
  for (const kind of ['request', 'websocket']) page.on(kind, (asked) => paths.push(new URL(asked.url()).pathname));
  /** The last part of each path below the mount, once. */
  const below = (mount) => {
    const parts = paths.filter((path) => path.startsWith(`${mount}/`)).map((path) => path.split('/').pop());
    return [...new Set(parts)].filter((part) => part !== 'info').toSorted();
  };
  return { below };
}

/** Runs in the page. */
async function dialogue([url, transport]) {
  const { Client } = globalThis.StompJs;
  const bodies = [];
  let socket;
  const heard = new Promise((done, fail) => {
    const client = new Client({
      webSocketFactory: () => (socket = new globalThis.SockJS(url, null, { transports: [transport], timeout: 8000 })),
      reconnectDelay: 0,
      onStompError: (frame) => fail(new Error(frame.headers.message)),
      onWebSocketClose: ({ code, reason }) => fail(new Error(`closed: ${code} ${reason}`)),
      onConnect: () => {
        const destination = `/topic/page.${transport}`;
        client.watchForReceipt('live', () => {
          for (const body of ['0', '1', '2', 'Grüße 😀 \u2028']) client.publish({ destination, body });
        });
        const take = ({ body }) => bodies.push(body) === 4 && done(client);
        client.subscribe(destination, take, { receipt: 'live' });
      },
    });
    client.activate();
  });
  const client = await heard;
  const used = socket.transport;
  const left = new Promise((done) => (client.onDisconnect = () => done(true)));
  await client.deactivate();
  return { transport: used, bodies, left: await left };
}

/** Runs in the page. */
function echoes([url, transport, unicode]) {
  const long = 'stompbox'.repeat(131_072);
  return new Promise((done, fail) => {
    const socket = new globalThis.SockJS(url, null, { transports: [transport], timeout: 8000 });
    const result = {};
    socket.onopen = () => socket.send(unicode);
    socket.onclose = ({ code, reason }) => fail(new Error(`closed: ${code} ${reason}`));
    socket.onmessage = ({ data }) => {
      if (!('unicode' in result)) {
        result.unicode = data === unicode;
        socket.send(long);
      } else {
        result.long = data === long;
        socket.onclose = null;
        socket.close();
        done(result);
      }
    };
  });
}

/** A page with both clients, at an origin of its own. */
async function servePage() {
  const file = (name) => readFileSync(join(ROOT, 'tests/clients/node_modules', name));
  const files = {
    '/': ['text/html', '<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,"><body><script src="/sockjs.js"></script><script src="/stomp.js"></script>'],
    '/sockjs.js': ['text/javascript', file('sockjs-client/dist/sockjs.min.js')],
    '/stomp.js': ['text/javascript', file('@stomp/stompjs/bundles/stomp.umd.js')],
  };
  const http = createServer((request, response) => {
    const [type, body] = files[request.url] ?? ['text/plain', ''];
    response.writeHead(request.url in files ? 200 : 404, { 'content-type': type });
    response.end(body);
  });
  await new Promise((done) => http.listen(0, '127.0.0.1', done));
  return { url: `http://127.0.0.1:${http.address().port}`, stop: () => http.close() };
}

/** The example that is built on the SockJS module alone. */
async function startTestServer() {
  const binary = resolve(ROOT, process.env.SOCKJS_TEST_SERVER ?? 'target/debug/examples/sockjs_test_server');
  const child = spawn(binary, ['0'], { stdio: ['ignore', 'ignore', 'pipe'] });
  const url = new Promise((done, fail) => {
    child.once('error', fail);
    let said = '';
    child.stderr.on('data', (chunk) => {
      said += chunk;
      const found = /(http:\S+)\n/.exec(said);
      if (found) done(found[1]);
    });
  });
  const server = { url: await within(WAIT_MS, url, `${binary} to listen`), stop: () => child.kill('SIGKILL') };
  server.openSessions = async () => Number(await (await fetch(`${server.url}/open`, { headers: { connection: 'close' } })).text());
  server.openFiles = () => readdirSync(`/proc/${child.pid}/fd`).length;
  return server;
}
