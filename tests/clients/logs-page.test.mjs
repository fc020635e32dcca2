/** The Logs tab and the Alerts badge of the page at /, in a real browser. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { launch, openPage, textThat } from './chromium.mjs';
import { startServer } from './server.mjs';
import { WAIT_MS } from './wait.mjs';

describe('the Logs tab', () => {
  let browser, server;
  before(async () => ([browser, server] = await Promise.all([launch(), startServer()])));
  after(async () => {
    await browser?.close();
    await server?.stop();
  });

  async function open(t) {
    const page = await openPage(t, browser, `${server.url}/#logs`);
    await textThat(page, 'connection-state', (text) => text === 'connected');
    return page;
  }

  test('shows lines as they come, by level, source and pattern', async (t) => {
    const page = await open(t);
    await post(server, [
      { level: 'error', source: 'db', message: 'disk is full' },
      { level: 'info', source: 'web', message: 'GET /' },
      { level: 'warn', source: 'web', message: 'slow answer' },
    ]);
    await textThat(page, 'log-count', (text) => text === '3');
    await page.getByTestId('log-level').selectOption('error');
    await textThat(page, 'log-count', (text) => text === '1 of 3');
    assert.match(await page.getByTestId('log-rows').innerText(), /disk is full/);
    await page.getByTestId('log-level').selectOption('');
    await page.getByTestId('log-source').selectOption('web');
    await textThat(page, 'log-count', (text) => text === '2 of 3');
    await page.getByTestId('log-pattern').fill('/^SLOW/i');
    await textThat(page, 'log-count', (text) => text === '1 of 3');
    assert.deepEqual(page.complaints, []);
  });

  test('pauses, goes on, and keeps 10,000 lines with few of them in the document', async (t) => {
    const page = await open(t);
    await page.getByTestId('log-pause').click();
    const lines = (from) => Array.from({ length: 500 }, (_, n) => ({ level: 'info', source: 's', message: `line ${from + n}` }));
    for (let from = 0; from < 10_500; from += 500) {
      await post(server, lines(from));
      // More at once than the session's mailbox holds would be dropped for a page that is slower.
      const waiting = Math.min(from + 500, 10_000);
      await textThat(page, 'log-state', (text) => text.startsWith(`paused, ${waiting} waiting`));
    }
    assert.equal(await page.getByTestId('log-count').innerText(), '0');
    await page.getByTestId('log-pause').click();
    await textThat(page, 'log-count', (text) => text === '10000');
    const rows = page.getByTestId('log-rows');
    await rows.getByText('line 10499', { exact: true }).waitFor();
    assert.ok((await rows.locator('li').count()) < 100);
    // Further up, new lines do not move what is read.
    const list = page.getByTestId('log-list');
    await list.hover();
    await page.mouse.wheel(0, -100_000);
    await page.getByTestId('log-newest').waitFor();
    await page.waitForFunction(() => document.querySelector('[data-testid=log-list]').scrollTop < 200_000);
    const frame = await page.evaluate(async () => {
      const list = document.querySelector('[data-testid=log-list]');
      let longest = 0;
      for (let n = 0; n < 60; n += 1) {
        const start = performance.now();
        list.scrollTop = (n * 3_900) % 230_000;
        await new Promise(requestAnimationFrame);
        longest = Math.max(longest, performance.now() - start);
      }
      return longest;
    });
    t.diagnostic(`the longest frame while scrolling took ${Math.round(frame)} ms`);
    assert.ok(frame < 500, `${frame} ms`);
    await page.getByTestId('log-newest').click();
    await rows.getByText('line 10499', { exact: true }).waitFor();
    assert.deepEqual(page.complaints, []);
  });

  test('an alert that was raised before the page came is on its badge', async (t) => {
    const watched = await startServer({ config: '[[alerts]]\nname = "many"\nmetric = "connections"\nabove = 0\n' });
    t.after(() => watched.stop());
    const first = await openPage(t, browser, watched.url);
    await textThat(first, 'alert-count', (text) => text === '1');
    const second = await openPage(t, browser, watched.url);
    await textThat(second, 'alert-count', (text) => text === '1');
    assert.match(await second.getByTestId('alert-list').textContent(), /many: \d+ is above 0/);
    assert.deepEqual(second.complaints, []);
  });

  test('alerts are counted on the badge and told in its list', async (t) => {
    const page = await open(t);
    await textThat(page, 'alert-count', (text) => text === '0');
    const socket = new (await import('ws')).default(server.ws('/ws/channels'));
    await new Promise((done) => socket.on('open', done));
    const publish = (state) => {
      const data = { type: 'alert', timestamp: '2026-01-12T14:23:15.789Z', severity: 'critical', message: 'disk above 95', source: 'system', metadata: { rule: 'disk', state } };
      socket.send(JSON.stringify({ action: 'publish', channel: 'alerts', data }));
    };
    publish('raised');
    await textThat(page, 'alert-count', (text) => text === '1');
    await page.getByTestId('alerts').click();
    assert.match(await page.getByTestId('alert-list').innerText(), /critical: disk above 95/);
    publish('cleared');
    await page.waitForFunction(() => document.querySelector('[data-testid=alert-count]').textContent === '0', undefined, { timeout: WAIT_MS });
    socket.terminate();
  });
});

async function post(server, entries) {
  const headers = { 'content-type': 'application/json' };
  const answer = await fetch(`${server.url}/api/v1/logs`, { method: 'POST', headers, body: JSON.stringify(entries) });
  assert.ok(answer.ok, `${answer.status} ${await answer.text()}`);
}
