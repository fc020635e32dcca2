/** The page at /, in a real browser. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { launch, openPage, textThat } from './chromium.mjs';
import { SOCKJS_TRANSPORTS } from './clients.mjs';
import { eventBody } from './payloads.mjs';
import { startServer } from './server.mjs';

let browser;
before(async () => (browser = await launch()));
after(() => browser?.close());

describe('with the demo running', () => {
  let server;
  before(async () => (server = await startServer({ args: ['--demo'] })));
  after(() => server?.stop());

  for (const [transport, shown] of [
    ['', 'websocket'],
    ...SOCKJS_TRANSPORTS.map((name) => [name, name]),
    ['raw', 'raw'],
  ]) {
    test(`numbers change by ${transport || 'the best transport'}`, async (t) => {
      const page = await openPage(t, browser, `${server.url}/${transport && `?transport=${transport}`}`);
      await textThat(page, 'connection-state', (text) => text === 'connected');
      assert.equal(await page.getByTestId('transport').innerText(), shown);
      const first = await textThat(page, 'total-events', (text) => count(text) > 0);
      const start = Date.now();
      await textThat(page, 'total-events', (text) => count(text) > count(first));
      assert.ok(Date.now() - start < 3_000, `${Date.now() - start} ms`);
      assert.deepEqual(page.complaints, []);
    });
  }

  for (const [name, viewport] of Object.entries({ 'a small phone': [360, 640], 'a phone': [390, 844], 'a tablet': [768, 1024], 'a desk': [1280, 800] })) {
    test(`${name} does not scroll sideways`, async (t) => {
      const [width, height] = viewport;
      const page = await openPage(t, browser, server.url, { viewport: { width, height } });
      await textThat(page, 'total-events', (text) => count(text) > 0);
      await subscribe(page, '/topic/metrics');
      await textThat(page, 'message-count', (text) => Number(text) > 0);
      const widest = await page.evaluate(() => document.documentElement.scrollWidth);
      assert.ok(widest <= width, `${widest} > ${width}`);
    });
  }

  test('the charts are drawn', async (t) => {
    const page = await openPage(t, browser, server.url);
    for (const chart of ['throughput-chart', 'latency-chart']) {
      await page.getByTestId(chart).locator('canvas').waitFor();
      await page.waitForFunction((id) => /\d/.test(document.querySelector(`[data-testid=${id}]`).ariaLabel), chart);
    }
    assert.deepEqual(page.complaints, []);
  });

  test('dark is what the system prefers, and the choice of the person is kept', async (t) => {
    const page = await openPage(t, browser, server.url, { colorScheme: 'dark' });
    const brightness = () => page.evaluate(() => Number(getComputedStyle(document.body).backgroundColor.match(/\d+/)[0]));
    assert.ok((await brightness()) < 64);
    await page.getByTestId('theme').click();
    assert.ok((await brightness()) > 192);
    await page.reload();
    await textThat(page, 'connection-state', (text) => text === 'connected');
    assert.ok((await brightness()) > 192);
    await page.getByTestId('theme').click();
    assert.ok((await brightness()) < 64);
    assert.deepEqual(page.complaints, []);
  });

  test('the name of the alerts button is what it shows', async (t) => {
    const page = await openPage(t, browser, server.url);
    await textThat(page, 'connection-state', (text) => text === 'connected');
    await page.getByRole('button', { name: 'Alerts 0', exact: true }).waitFor();
  });

  test('the skip link leads into the panel that is shown, which the address keeps', async (t) => {
    const page = await openPage(t, browser, `${server.url}/#logs`);
    await textThat(page, 'connection-state', (text) => text === 'connected');
    await page.keyboard.press('Tab');
    await page.keyboard.press('Enter');
    assert.equal(await page.evaluate(() => document.activeElement.id), 'panel-logs');
    assert.equal(new URL(page.url()).hash, '#logs');
  });

  test('fields are large enough for iOS not to zoom into them', async (t) => {
    const page = await openPage(t, browser, server.url, { hasTouch: true, isMobile: true });
    const sizes = await page.evaluate(() =>
      [...document.querySelectorAll('input, select, textarea')].map((field) => parseFloat(getComputedStyle(field).fontSize)),
    );
    assert.ok(Math.min(...sizes) >= 16, String(sizes));
  });

  test('every control has a name, and the page a heading and landmarks', async (t) => {
    const page = await openPage(t, browser, server.url);
    const nameless = await page.evaluate(() =>
      [...document.querySelectorAll('button, input, select, textarea')]
        .filter((control) => !control.labels?.length && !control.ariaLabel && !control.textContent.trim())
        .map((control) => control.outerHTML),
    );
    assert.deepEqual(nameless, []);
    assert.equal(await page.locator('h1').count(), 1);
    assert.equal(await page.locator('main').count(), 1);
    assert.equal(await page.locator('[role=status] [data-testid=connection-state]').count(), 1);
  });

  test('a strict content security policy breaks nothing', async (t) => {
    const page = await openPage(t, browser, 'about:blank', { hosts: [new URL(server.url).host] });
    await page.route(`${server.url}/`, async (route) => {
      const answer = await route.fetch();
      const policy = "default-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'";
      await route.fulfill({ response: answer, headers: { ...answer.headers(), 'content-security-policy': policy } });
    });
    await page.goto(`${server.url}/`);
    await textThat(page, 'total-events', (text) => count(text) > 0);
    assert.deepEqual(page.complaints, []);
  });

  test('the browser asks for nothing but the page, its assets, the socket and the alerts', async (t) => {
    const asked = [];
    const context = await browser.newContext();
    t.after(() => context.close());
    const page = await context.newPage();
    page.on('request', (request) => asked.push(new URL(request.url()).pathname));
    page.complaints = [];
    await page.goto(server.url);
    await textThat(page, 'connection-state', (text) => text === 'connected');
    for (const path of asked) assert.match(path, /^\/($|assets\/|ws\/|api\/v1\/alerts$)|^image\/svg/, path);
  });
});

describe('without the demo', () => {
  let server;
  before(async () => (server = await startServer()));
  after(() => server?.stop());

  test('events posted by REST are shown with exactly their counts', async (t) => {
    const page = await openPage(t, browser, server.url);
    await textThat(page, 'total-events', (text) => text === '0');
    const events = [
      ...Array.from({ length: 7 }, () => eventBody()),
      ...Array.from({ length: 3 }, () => eventBody({ eventType: 'payment.failed', severity: 'ERROR', source: 'payments', userId: 'user_2' })),
      eventBody({ severity: 'CRITICAL' }),
      eventBody({ severity: 'WARNING', userId: 'user_3' }),
    ];
    const answer = await fetch(`${server.url}/api/v1/events/batch`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(events),
    });
    assert.ok(answer.ok, String(answer.status));
    await textThat(page, 'total-events', (text) => text === '12');
    assert.deepEqual(await bars(page, 'severities'), { INFO: '7', WARNING: '1', ERROR: '3', CRITICAL: '1' });
    assert.deepEqual(await bars(page, 'types'), { 'user.login': '9', 'payment.failed': '3' });
    assert.deepEqual(await bars(page, 'sources'), { 'auth-service': '9', payments: '3' });
    assert.deepEqual(await bars(page, 'users'), { user_1: '8', user_2: '3', user_3: '1' });
    assert.equal(await page.getByTestId('unique-users').innerText(), '3');
    assert.equal(await page.getByTestId('error-rate').innerText(), '33.3 %');
    assert.equal(await page.getByTestId('avg-latency').innerText(), '12.5 ms');
    assert.deepEqual(page.complaints, []);
  });

  for (const transport of SOCKJS_TRANSPORTS) {
    test(`the console subscribes, sends, sees, and leaves by ${transport}`, async (t) => {
      const page = await openPage(t, browser, `${server.url}/?transport=${transport}`);
      await textThat(page, 'connection-state', (text) => text === 'connected');
      const destination = `/topic/console.${transport}`;
      await subscribe(page, destination);
      await sendFrom(page, destination, 'Grüße 😀', 'x-trace: 42');
      const message = page.getByTestId('messages').locator('li').first();
      await message.waitFor();
      assert.equal(await message.locator('pre').first().innerText(), 'Grüße 😀');
      await message.locator('summary').click();
      assert.match(await message.locator('details pre').innerText(), /x-trace: 42/);
      await textThat(page, 'send-state', (text) => text.startsWith('accepted'));
      await page.getByTestId('unsubscribe').click();
      assert.equal(await page.getByTestId('subscriptions').locator('li').count(), 0);
      await sendFrom(page, destination, 'nobody listens', '');
      await textThat(page, 'send-state', (text) => text.startsWith('accepted'));
      assert.equal(await page.getByTestId('message-count').innerText(), '1');
      await page.getByTestId('clear-messages').click();
      assert.equal(await page.getByTestId('message-count').innerText(), '0');
      assert.deepEqual(page.complaints, []);
    });
  }

  test('an ERROR of the broker is shown, and the page comes back', async (t) => {
    const page = await openPage(t, browser, server.url);
    await textThat(page, 'connection-state', (text) => text === 'connected');
    await subscribe(page, '/topic/chat');
    await sendFrom(page, '/nowhere', 'x', 'content-type: text/plain');
    await textThat(page, 'send-state', (text) => text.includes('/nowhere'));
    await textThat(page, 'connection-state', (text) => text === 'reconnecting');
    await textThat(page, 'connection-state', (text) => text === 'connected');
    await sendFrom(page, '/topic/chat', 'again', '');
    await textThat(page, 'message-count', (text) => text === '1');
  });

  test('a subscription that ends the connection is not made again, and the others are', async (t) => {
    const page = await openPage(t, browser, server.url);
    await textThat(page, 'connection-state', (text) => text === 'connected');
    await subscribe(page, '/topic/chat');
    await subscribe(page, '/queue/a.*');
    await textThat(page, 'subscribe-state', (text) => text.startsWith('Subscription to /queue/a.* refused'));
    assert.equal(await page.getByTestId('subscriptions').locator('li').count(), 1);
    await sentWhenConnected(page);
  });

  for (const destination of ['topic/chat', ' ']) {
    test(`a subscription to "${destination}" is refused by the page`, async (t) => {
      const page = await openPage(t, browser, server.url);
      await textThat(page, 'connection-state', (text) => text === 'connected');
      await subscribe(page, destination);
      await textThat(page, 'subscribe-state', (text) => text.includes('begins with a slash'));
      assert.equal(await page.getByTestId('subscriptions').locator('li').count(), 0);
      assert.equal(await page.getByTestId('connection-state').innerText(), 'connected');
    });
  }

  test('a refused subscription is shown, and the connection lives', async (t) => {
    const page = await openPage(t, browser, server.url);
    await textThat(page, 'connection-state', (text) => text === 'connected');
    await subscribe(page, '/nowhere');
    await textThat(page, 'subscribe-state', (text) => text.includes('Subscription to /nowhere refused'));
    assert.equal(await page.getByTestId('subscriptions').locator('li').count(), 0);
    assert.equal(await page.getByTestId('connection-state').innerText(), 'connected');
  });

  test('a header line that is none is refused by the page', async (t) => {
    const page = await openPage(t, browser, server.url);
    await textThat(page, 'connection-state', (text) => text === 'connected');
    await sendFrom(page, '/topic/chat', 'x', 'nonsense');
    assert.match(await page.getByTestId('send-state').innerText(), /line 1/);
  });
});

describe('with credentials', () => {
  let server;
  const config = '[auth]\ntokens = [{ name = "web", token = "correct-horse" }]\nusers = [{ name = "ann", passcode = "s3cret" }]\n';
  before(async () => (server = await startServer({ config })));
  after(() => server?.stop());

  test('the page says that it is refused, and a token lets it in', async (t) => {
    const page = await openPage(t, browser, server.url);
    await textThat(page, 'connection-state', (text) => text === 'refused');
    assert.match(await page.getByTestId('server-error').innerText(), /Access refused/);
    await page.getByTestId('open-connection').click();
    await page.getByTestId('connection-token').fill('correct-horse');
    await page.getByTestId('connect').click();
    await textThat(page, 'connection-state', (text) => text === 'connected');
    await textThat(page, 'total-events', (text) => text === '0');
    assert.equal(await page.getByTestId('server-error').isVisible(), false);
    assert.deepEqual(page.complaints, []);
  });

  test('a login and a transport of choice let it in too', async (t) => {
    const page = await openPage(t, browser, server.url);
    await page.getByTestId('open-connection').click();
    await page.getByTestId('connection-transport').selectOption('xhr-polling');
    await page.getByTestId('connection-login').fill('ann');
    await page.getByTestId('connection-passcode').fill('s3cret');
    await page.getByTestId('connect').click();
    await textThat(page, 'connection-state', (text) => text === 'connected');
    assert.equal(await page.getByTestId('transport').innerText(), 'xhr-polling');
    assert.match(page.url(), /transport=xhr-polling/);
  });
});

test('the profile dashboard is drawn too', async (t) => {
  const server = await startServer({ args: ['--demo'], config: '[metrics]\nprofile = "dashboard"\n' });
  t.after(() => server.stop());
  const page = await openPage(t, browser, server.url);
  await textThat(page, 'total-events', (text) => count(text) > 0);
  await page.getByTestId('types').locator('li[data-name]').first().waitFor();
  assert.equal(await page.getByTestId('spans').locator('tr').count(), 5);
  assert.deepEqual(page.complaints, []);
});

test('the page outlives a restart of the server', async (t) => {
  const first = await startServer({ args: ['--demo'] });
  t.after(() => first.kill());
  const page = await openPage(t, browser, first.url);
  await textThat(page, 'connection-state', (text) => text === 'connected');
  const { port } = first;
  await first.stop();
  await textThat(page, 'connection-state', (text) => text === 'reconnecting');
  assert.match(await page.getByTestId('server-error').innerText(), /Server shutting down/);
  const second = await startServer({ args: ['--demo'], port });
  t.after(() => second.kill());
  await textThat(page, 'connection-state', (text) => text === 'connected');
  assert.equal(await page.getByTestId('server-error').isVisible(), false);
  await second.stop();
});

test('without a metrics feed the page says so, and the rest of it works', async (t) => {
  const server = await startServer({ config: '[metrics]\nenabled = false\n' });
  t.after(() => server.stop());
  const page = await openPage(t, browser, server.url);
  await textThat(page, 'connection-state', (text) => text === 'connected');
  await textThat(page, 'metrics-notice', (text) => text.includes('publishes no metrics'));
  assert.equal(await page.getByTestId('total-events').isVisible(), false);
  await subscribe(page, '/topic/chat');
  await sendFrom(page, '/topic/chat', 'hello', '');
  await textThat(page, 'message-count', (text) => text === '1');
  await page.getByTestId('tab-logs').click();
  const lines = [{ level: 'info', source: 'web', message: 'GET /' }];
  const headers = { 'content-type': 'application/json' };
  await fetch(`${server.url}/api/v1/logs`, { method: 'POST', headers, body: JSON.stringify(lines) });
  await textThat(page, 'log-count', (text) => text === '1');
  assert.equal(await page.getByTestId('connection-state').innerText(), 'connected');
  assert.equal(await page.getByTestId('server-error').isVisible(), false);
  assert.deepEqual(page.complaints, []);
});

test('rules that refuse the metrics leave the page connected', async (t) => {
  const server = await startServer({ config: METRICS_REFUSED });
  t.after(() => server.stop());
  const page = await openPage(t, browser, server.url);
  await textThat(page, 'metrics-notice', (text) => text.includes('/topic/metrics'));
  assert.equal(await page.getByTestId('connection-state').innerText(), 'connected');
});

test('where refusals are errors, what is refused is not asked for again', async (t) => {
  const server = await startServer({ config: `[stomp]\nrefusals = "error"\n${METRICS_REFUSED}` });
  t.after(() => server.stop());
  const page = await openPage(t, browser, server.url);
  await textThat(page, 'metrics-notice', (text) => text.includes('/topic/metrics'));
  await sentWhenConnected(page, '/topic/chat');
});

for (const [name, message] of [['too many logins', 'Too many logins'], ['a rate', 'rate'], ['a limit', 'Limit exceeded']]) {
  test(`a refusal because of ${name} passes: the page tries again`, async (t) => {
    const server = await startServer();
    t.after(() => server.stop());
    const page = await openPage(t, browser, 'about:blank', { hosts: [new URL(server.url).host] });
    let attempts = 0;
    await page.routeWebSocket(/\/websocket$/, (socket) => {
      attempts += 1;
      if (attempts > 2) return void socket.connectToServer();
      socket.onMessage(() => {
        socket.send(`ERROR\nmessage:${message}\n\nlater\0`);
        socket.close({ code: 1013 });
      });
    });
    await page.goto(`${server.url}/?transport=raw`);
    await textThat(page, 'connection-state', (text) => text === 'connected');
    assert.equal(attempts, 3);
  });
}

test('the page finds STOMP and the metrics where the settings put them', async (t) => {
  const config = '[sockjs]\npath = "/live/ws"\n[metrics]\ndestination = "/topic/live.numbers"\n';
  const server = await startServer({ config, args: ['--demo'] });
  t.after(() => server.stop());
  for (const transport of ['', 'xhr-polling', 'raw']) {
    const page = await openPage(t, browser, `${server.url}/?transport=${transport}`);
    await textThat(page, 'connection-state', (text) => text === 'connected');
    await textThat(page, 'total-events', (text) => count(text) > 0);
    assert.deepEqual(page.complaints, []);
  }
});

/** Everybody may do all but subscribe to the metrics. */
const METRICS_REFUSED = `[[auth.rules]]
allow = false
operations = ["subscribe"]
destinations = ["/topic/metrics"]

[[auth.rules]]
operations = ["subscribe", "send", "app"]
destinations = ["/topic/**", "/queue/**", "/app/**"]
`;

const count = (text) => Number(text.replaceAll(',', ''));

async function bars(page, testId) {
  const items = await page.getByTestId(testId).locator('li').all();
  return Object.fromEntries(await Promise.all(items.map(async (item) => (await item.locator('> *').allInnerTexts()))));
}

/** A message sent to itself comes after the reconnection: the connection is back, and nothing ends it again. */
async function sentWhenConnected(page, destination = '/topic/chat') {
  await textThat(page, 'connection-state', (text) => text === 'reconnecting');
  await textThat(page, 'connection-state', (text) => text === 'connected');
  if (!(await page.getByTestId('subscriptions').innerText()).includes(destination)) await subscribe(page, destination);
  await sendFrom(page, destination, 'still here', '');
  await textThat(page, 'message-count', (text) => text === '1');
  assert.equal(await page.getByTestId('connection-state').innerText(), 'connected');
}

async function subscribe(page, destination) {
  await page.getByTestId('subscribe-destination').fill(destination);
  await page.getByTestId('subscribe').click();
}

async function sendFrom(page, destination, body, headers) {
  await page.getByTestId('send-destination').fill(destination);
  await page.getByTestId('send-headers').fill(headers);
  await page.getByTestId('send-body').fill(body);
  await page.getByTestId('send').click();
}
