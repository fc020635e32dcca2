/** Starts the real binary on a free port, with a bounded wait for everything. */
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { within } from './wait.mjs';

export const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), '../..');
const BINARY = resolve(ROOT, process.env.STOMPBOX_BIN ?? 'target/release/stompbox');
const START_MS = 15_000;
const STOP_MS = 15_000;

/**
 * @param {object} options
 * @param {string} [options.config] the text of a settings file
 * @param {string[]} [options.args] further arguments, such as `--demo`
 * @param {number} [options.port] 0: any free port
 */
export async function startServer({ config, args = [], port = 0 } = {}) {
  const folder = mkdtempSync(join(tmpdir(), 'stompbox-test-'));
  const command = ['serve', '--listen', `127.0.0.1:${port}`, ...args];
  if (config !== undefined) {
    const file = join(folder, 'stompbox.toml');
    writeFileSync(file, config);
    command.push('--config', file);
  }
  const child = spawn(BINARY, command, { cwd: folder, stdio: ['ignore', 'pipe', 'pipe'], env: environment() });
  const server = new Server(child, folder);
  try {
    await within(START_MS, server.listening, 'the line "listening on http://…"');
  } catch (error) {
    await server.kill();
    throw new Error(`${error.message}\n${BINARY} ${command.join(' ')}\n${server.log}`);
  }
  return server;
}

class Server {
  log = '';
  url = '';

  constructor(child, folder) {
    this.child = child;
    this.folder = folder;
    this.exited = new Promise((done) => child.once('exit', (code, signal) => done(code ?? signal)));
    this.listening = new Promise((done, fail) => {
      const read = (chunk) => {
        // eslint-disable-next-line no-control-regex
        this.log += String(chunk).replace(/\x1b\[[0-9;]*m/g, '');
        const found = /listening.*?(https?:\/\/[^\s"]+:\d+)/.exec(this.log);
        if (found && this.url === '') {
          this.url = found[1];
          done();
        }
      };
      child.stdout.on('data', read);
      child.stderr.on('data', read);
      child.once('error', fail);
      this.exited.then((code) => fail(new Error(`exited with ${code} before it listened`)));
    });
  }

  /** Where STOMP over TCP is spoken: `{ host, port }`. */
  get tcp() {
    const [, host, port] = /listening on tcp:\/\/([^\s"]+):(\d+)/.exec(this.log);
    return { host, port: Number(port) };
  }

  get port() {
    return Number(new URL(this.url).port);
  }

  /** `ws://host:port` + path. */
  ws(path) {
    return this.url.replace('http', 'ws') + path;
  }

  /** Asks the server to end, and insists that it does so in time and with success. */
  async stop() {
    this.child.kill('SIGTERM');
    try {
      const code = await within(STOP_MS, this.exited, 'the end of the server after SIGTERM');
      if (code !== 0) throw new Error(`the server ended with ${code}\n${this.log}`);
    } finally {
      await this.kill();
    }
  }

  /** For the end of a test: no matter how. */
  async kill() {
    this.child.kill('SIGKILL');
    await this.exited.catch(() => {});
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** Settings of the caller's shell must not leak into the server under test; its TCP port is any free one. */
function environment() {
  const kept = Object.entries(process.env).filter(([name]) => !name.startsWith('STOMPBOX_') && !name.startsWith('RUST_LOG'));
  return { ...Object.fromEntries(kept), STOMPBOX_TCP__LISTEN: '127.0.0.1:0' };
}
