/** The files under examples/, which the README shows, run as they are pasted; only the address is another. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createServer } from 'node:http';
import { mkdtempSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { dirname, extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { after, before, describe, test } from 'node:test';
import react from '@vitejs/plugin-react';
import { build } from 'vite';
import { launch, openPage, textThat } from './chromium.mjs';
import { eventBody } from './payloads.mjs';
import { ROOT, startServer } from './server.mjs';
import { Queue, WAIT_MS, within } from './wait.mjs';

const HERE = dirname(fileURLToPath(import.meta.url));

describe('examples/frontend', () => {
  for (const [name, config] of [
    ['stompjs.mjs', undefined],
    ['sockjs.mjs', '[auth]\ntokens = [{ name = "web", token = "YOUR-TOKEN" }]\n'],
  ]) {
    test(`${name} prints the metrics`, async (t) => {
      const server = await startServer({ config });
      t.after(() => server.stop());
      const lines = run(t, name, server);
      await lines.find((line) => /^\d+ events, [\d.]+ per second$/.test(line), 'a line of metrics');
    });
  }

  for (const name of ['stompjs.mjs', 'sockjs.mjs']) {
    test(`${name} says why the metrics are refused`, async (t) => {
      const server = await startServer({ config: METRICS_REFUSED });
      t.after(() => server.stop());
      const reason = await run(t, name, server).next('the reason');
      assert.match(reason, /may not subscribe to \/topic\/metrics/);
    });
  }

  test('sockjs.mjs goes on after a restart of the server', async (t) => {
    const config = '[auth]\ntokens = [{ name = "web", token = "YOUR-TOKEN" }]\n';
    const isMetrics = (line) => /^\d+ events, [\d.]+ per second$/.test(line);
    const first = await startServer({ config });
    t.after(() => first.kill());
    const lines = run(t, 'sockjs.mjs', first);
    await lines.find(isMetrics, 'a line of metrics');
    await first.stop();
    await lines.find((line) => line.startsWith('Server shutting down'), 'the ERROR of the first server');
    const second = await startServer({ config, port: first.port });
    t.after(() => second.kill());
    await lines.find(isMetrics, 'a line of metrics of the second server', 20_000);
    await second.stop();
  });

  test('sockjs.mjs with a token that is refused says so and ends', async (t) => {
    const server = await startServer({ config: '[auth]\ntokens = [{ name = "web", token = "another" }]\n' });
    t.after(() => server.stop());
    const lines = run(t, 'sockjs.mjs', server);
    await lines.find((line) => line.startsWith('Access refused'), 'the refusal');
    assert.equal(await within(WAIT_MS, lines.exited, 'the end of the example'), 0);
  });
});

/** All may do all but read the metrics. */
const METRICS_REFUSED = `[[auth.rules]]
allow = false
operations = ["subscribe"]
destinations = ["/topic/metrics"]

[[auth.rules]]
operations = ["subscribe", "send", "app"]
destinations = ["/topic/**", "/app/**"]
`;

describe('examples/react', () => {
  let browser, pages, server;
  before(async () => {
    [browser, pages, server] = await Promise.all([launch(), servePage(), startServer()]);
  });
  after(async () => {
    await browser?.close();
    await pages?.close();
    await server?.stop();
  });
  const open = (t, target, token = '') =>
    openPage(t, browser, `${pages.url}/?${new URLSearchParams({ url: `${target.url}/ws`, ...(token && { token }) })}`, {
      hosts: [new URL(pages.url).host, new URL(target.url).host],
    });

  test('useMetrics shows live numbers on a page of another origin', async (t) => {
    const page = await open(t, server);
    await textThat(page, 'state', (text) => text === 'connected');
    await textThat(page, 'total', (text) => text === '0');
    await fetch(`${server.url}/api/v1/events`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(eventBody()),
    });
    await textThat(page, 'total', (text) => text === '1');
    assert.deepEqual(page.complaints, []);
  });

  test('useMetrics without WebSocket falls back to xhr on a page of another origin', async (t) => {
    const other = await startServer({ config: '[sockjs]\nwebsocket = false\n' });
    t.after(() => other.stop());
    const page = await open(t, other);
    await textThat(page, 'state', (text) => text === 'connected');
    await textThat(page, 'total', (text) => text === '0');
    assert.deepEqual(page.complaints, []);
  });

  test('useMetrics with a token is let in, and without is refused', async (t) => {
    const guarded = await startServer({ config: '[auth]\ntokens = [{ name = "web", token = "correct-horse" }]\n' });
    t.after(() => guarded.stop());
    await textThat(await open(t, guarded, 'correct-horse'), 'total', (text) => text === '0');
    const refused = await open(t, guarded, 'wrong');
    await textThat(refused, 'state', (text) => text === 'refused');
    assert.equal(await refused.getByTestId('error').innerText(), 'Access refused');
  });

  test('useMetrics says why the metrics are refused, and stays connected', async (t) => {
    const closed = await startServer({ config: METRICS_REFUSED });
    t.after(() => closed.stop());
    const page = await open(t, closed);
    await textThat(page, 'error', (text) => text.includes('/topic/metrics'));
    assert.equal(await page.getByTestId('state').innerText(), 'connected');
    assert.deepEqual(page.complaints, []);
  });
});

test('the README shows the examples as they are', () => {
  const readme = readFileSync(join(ROOT, 'README.md'), 'utf8');
  for (const file of ['frontend/stompjs.mjs', 'frontend/sockjs.mjs', 'react/useMetrics.js']) {
    assert.ok(readme.includes(readFileSync(join(ROOT, 'examples', file), 'utf8').trim()), `examples/${file}`);
  }
});

/** Runs an example in Node, with the address of this server; its lines, and the promise of its exit code. */
function run(t, name, server) {
  mkdirSync(join(HERE, '.pasted'), { recursive: true });
  const folder = mkdtempSync(join(HERE, '.pasted/'));
  const file = join(folder, name);
  const source = readFileSync(join(ROOT, 'examples/frontend', name), 'utf8');
  writeFileSync(file, source.replaceAll('localhost:8080', new URL(server.url).host));
  const child = spawn(process.execPath, ['--import', join(HERE, 'websocket-global.mjs'), file]);
  const lines = new Queue();
  const read = (chunk) => String(chunk).split('\n').filter(Boolean).forEach((line) => lines.push(line));
  child.stdout.on('data', read);
  child.stderr.on('data', read);
  lines.exited = new Promise((done) => child.once('exit', done));
  t.after(() => {
    child.kill('SIGKILL');
    rmSync(folder, { recursive: true, force: true });
  });
  return lines;
}

/** The React page, compiled by Vite and served from an origin of its own. */
async function servePage() {
  const outDir = join(ROOT, 'target/react-page');
  await build({
    root: join(HERE, 'react-page'),
    configFile: false,
    logLevel: 'error',
    plugins: [react()],
    define: { global: 'globalThis' },
    // The hook lies outside this package, as it does in no real project: its imports are looked up here.
    resolve: { dedupe: ['react', 'react-dom', '@stomp/stompjs', 'sockjs-client'] },
    build: { outDir, emptyOutDir: true },
  });
  const types = { '.html': 'text/html', '.js': 'text/javascript' };
  const http = createServer(async (request, response) => {
    const { pathname } = new URL(request.url, 'http://localhost');
    const file = join(outDir, pathname === '/' ? 'index.html' : pathname);
    response.setHeader('content-type', types[extname(file)] ?? 'text/plain');
    response.end(await readFile(file).catch(() => response.writeHead(404) && ''));
  });
  await new Promise((done) => http.listen(0, '127.0.0.1', done));
  return {
    url: `http://127.0.0.1:${http.address().port}`,
    close: () => new Promise((done) => http.close(done)),
  };
}
