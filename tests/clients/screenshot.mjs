/** Takes the picture of the page for the README: `npm run screenshot`. */
import { join } from 'node:path';
import { launch, openPage, textThat } from './chromium.mjs';
import { ROOT, startServer } from './server.mjs';

const DEMO_MS = 25_000;
const SIZE = { width: 1280, height: 816 };

const cleanup = [];
const server = await startServer({ args: ['--demo'] });
const browser = await launch();
try {
  const page = await openPage({ after: (action) => cleanup.push(action) }, browser, server.url, {
    viewport: SIZE,
    colorScheme: process.env.SCHEME ?? 'light',
  });
  await textThat(page, 'connection-state', (text) => text === 'connected');
  await new Promise((done) => setTimeout(done, DEMO_MS));
  await page.screenshot({ path: process.env.OUT ?? join(ROOT, 'console/screenshot.png') });
} finally {
  for (const action of cleanup) await action();
  await browser.close();
  await server.stop();
}
