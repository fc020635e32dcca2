/** Proxies in front of a server: nginx as people set it up, and worse ones. */
import { spawn } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer as createHttpServer, request as httpRequest } from 'node:http';
import { createServer, connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { WAIT_MS } from './wait.mjs';

const UPGRADES = 'proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "upgrade";';

/** Name → what its `location` says. */
export const PROXIES = {
  'buffering off': `proxy_buffering off; ${UPGRADES}`,
  'buffering on': `proxy_buffering on; ${UPGRADES}`,
  'buffering on, whatever the server says': `proxy_buffering on; proxy_ignore_headers X-Accel-Buffering; ${UPGRADES}`,
  'upgrades blocked': 'proxy_buffering on; proxy_set_header Connection "";',
};

/** Starts one nginx with a port for each proxy; answers their addresses by name. */
export async function startNginx(url) {
  const folder = mkdtempSync(join(tmpdir(), 'stompbox-nginx-'));
  chmodSync(folder, 0o755);
  const urls = {};
  const servers = [];
  for (const [name, says] of Object.entries(PROXIES)) {
    const port = await freePort();
    urls[name] = `http://127.0.0.1:${port}`;
    servers.push(`server { listen 127.0.0.1:${port}; location / { proxy_pass ${url}; proxy_http_version 1.1; ${says} } }`);
  }
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((name) => `${name}_temp_path ${folder}/${name};`);
  writeFileSync(
    join(folder, 'nginx.conf'),
    `daemon off; pid ${folder}/pid; error_log stderr warn; ${process.getuid() === 0 ? 'user root;' : ''}
     events { worker_connections 256; }
     http { access_log off; client_max_body_size 4m; ${temporary.join(' ')} ${servers.join('\n')} }`,
  );
  const env = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin` };
  const child = spawn('nginx', ['-p', folder, '-c', join(folder, 'nginx.conf')], { stdio: ['ignore', 'ignore', 'pipe'], env });
  let log = '';
  child.stderr.on('data', (chunk) => (log += chunk));
  const exited = new Promise((done) => child.once('exit', done).once('error', done));
  const stop = async () => {
    child.kill('SIGTERM');
    await exited;
    rmSync(folder, { recursive: true, force: true });
  };
  try {
    for (const address of Object.values(urls)) await listens(Number(new URL(address).port));
  } catch (error) {
    await stop();
    throw new Error(`${error.message}\n${log}`);
  }
  return { urls, stop };
}

/** An HTTP proxy that knows no upgrades and passes a response on when it has all of it. */
export async function startHolder(url) {
  const server = createHttpServer((asked, answer) => {
    const { connection, upgrade, ...headers } = asked.headers;
    const passed = httpRequest(new URL(asked.url, url), { method: asked.method, headers }, async (response) => {
      const parts = await response.toArray().catch(() => []);
      const { 'transfer-encoding': chunked, ...others } = response.headers;
      answer.writeHead(response.statusCode, others).end(Buffer.concat(parts));
    });
    passed.on('error', () => answer.destroy());
    answer.on('close', () => passed.destroy());
    asked.pipe(passed);
  });
  server.on('upgrade', (asked, socket) => socket.end('HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n'));
  await new Promise((done) => server.listen(0, '127.0.0.1', done));
  const stop = () => {
    server.close();
    server.closeAllConnections();
  };
  return { url: `http://127.0.0.1:${server.address().port}`, stop };
}

/** A TCP proxy that cuts each connection after a while, which the seed decides. */
export async function startCutter(url, longest, seed) {
  const random = () => (seed = (seed * 48_271) % 0x7fffffff) / 0x7fffffff;
  const target = Number(new URL(url).port);
  const open = new Set();
  const server = createServer((inner) => {
    const outer = connect(target, '127.0.0.1');
    const timer = setTimeout(() => {
      cutter.cuts += 1;
      cut();
    }, random() * longest);
    const cut = () => {
      clearTimeout(timer);
      inner.destroy();
      outer.destroy();
      open.delete(cut);
    };
    open.add(cut);
    for (const end of [inner, outer]) end.on('error', cut).on('close', cut);
    inner.pipe(outer).pipe(inner);
  });
  const cutter = {
    cuts: 0,
    stop: () => {
      server.close();
      for (const cut of open) cut();
    },
  };
  await new Promise((done) => server.listen(0, '127.0.0.1', done));
  cutter.url = `http://127.0.0.1:${server.address().port}`;
  return cutter;
}

async function freePort() {
  const server = createServer();
  await new Promise((done) => server.listen(0, '127.0.0.1', done));
  const { port } = server.address();
  await new Promise((done) => server.close(done));
  return port;
}

async function listens(port) {
  const end = Date.now() + WAIT_MS;
  for (;;) {
    const open = await new Promise((done) => {
      const socket = connect(port, '127.0.0.1', () => done(true)).on('error', () => done(false));
      socket.on('connect', () => socket.destroy());
    });
    if (open) return;
    if (Date.now() > end) throw new Error(`nobody listens on ${port}`);
    await new Promise((done) => setTimeout(done, 20));
  }
}
