/** The destination guide of the README: each of its examples runs as it stands; only the address is another. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { after, before, describe, test } from 'node:test';
import { ROOT, startServer } from './server.mjs';
import { Queue, WAIT_MS, within } from './wait.mjs';

const HERE = dirname(fileURLToPath(import.meta.url));

/** What each prints, by the heading it stands under; a heading may have several. */
const PRINTS = {
  '/topic/NAME': [['/topic/prices.oil 81.20']],
  '/queue/NAME': [['resize 17 1', 'resize 17 2'], ['done 42']],
  '/temp-queue/NAME': [['/temp-queue/answers 7 HELLO']],
  '/user/queue/NAME': [['/user/queue/chat hello Ann']],
  selector: [['500 AT']],
  '/topic/$sys/broker': [[/^\{/, /timestamp: \d+,/]],
};

const guide = readFileSync(join(ROOT, 'README.md'), 'utf8').split('\n## Destinations\n')[1].split('\n## ')[0];
const [opening, ...sections] = guide.split('\n### ');
const blocks = (text) => [...text.matchAll(/^```js\n(.*?)^```/gms)].map(([, code]) => code);

describe('the destination guide', () => {
  let open, guarded, folder;
  before(async () => {
    const config = '[auth]\nusers = [{ name = "ann", passcode = "a" }, { name = "bob", passcode = "b" }]\n';
    [open, guarded] = await Promise.all([startServer(), startServer({ config })]);
    mkdirSync(join(HERE, '.pasted'), { recursive: true });
    folder = mkdtempSync(join(HERE, '.pasted/'));
  });
  after(async () => {
    await Promise.all([open?.stop(), guarded?.stop()]);
    rmSync(folder, { recursive: true, force: true });
  });

  test('has an example for each kind of destination', () => {
    const shown = sections.filter((text) => blocks(text).length > 0).map(nameOf);
    assert.deepEqual(shown, Object.keys(PRINTS));
  });

  for (const section of sections) {
    blocks(section).forEach((code, at) => {
      const name = nameOf(section);
      test(`${name}, example ${at + 1}`, async (t) => {
        const server = code.includes('login:') ? guarded : open;
        const own = mkdtempSync(join(folder, 'example-'));
        const { host } = new URL(server.url);
        for (const [file, text] of [['client.mjs', blocks(opening)[0]], ['example.mjs', code]]) {
          writeFileSync(join(own, file), text.replaceAll('127.0.0.1:8080', host));
        }
        const child = spawn(process.execPath, [join(own, 'example.mjs')]);
        t.after(() => child.kill('SIGKILL'));
        const exited = new Promise((done) => child.once('exit', done));
        const lines = new Queue();
        const read = (chunk) => String(chunk).split('\n').filter(Boolean).forEach((line) => lines.push(line));
        child.stdout.on('data', read);
        child.stderr.on('data', read);
        for (const expected of PRINTS[name][at]) {
          const line = await lines.next(`the line ${expected}`);
          if (expected instanceof RegExp) assert.match(line, expected);
          else assert.equal(line, expected);
        }
        assert.equal(await within(WAIT_MS, exited, 'the end of the example'), 0);
      });
    });
  }
});

/** `` `/queue/NAME`: one subscriber`` is about /queue/NAME. */
function nameOf(section) {
  return /`([^`]+)`/.exec(section.split('\n')[0])?.[1] ?? section.split('\n')[0];
}
