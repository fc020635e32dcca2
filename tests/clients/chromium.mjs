/** Debian's Chromium, driven by playwright-core; nothing is downloaded. */
import { chromium } from 'playwright-core';
import { WAIT_MS } from './wait.mjs';

const FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  // An answer that a test rewrites has no address; Chromium would keep its page from 127.0.0.1.
  '--disable-features=LocalNetworkAccessChecks',
];

export function launch() {
  return chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: FLAGS });
}

/**
 * A page of its own context. `page.complaints` holds each console error, uncaught exception, failed request,
 * answer of 400 or above, and request to another host than those of `hosts`.
 */
export async function openPage(t, browser, url, options = {}) {
  const { hosts = [new URL(url).host], ...contextOptions } = options;
  const context = await browser.newContext(contextOptions);
  t.after(() => context.close());
  context.setDefaultTimeout(WAIT_MS);
  const page = await context.newPage();
  page.complaints = [];
  page.on('console', (message) => message.type() === 'error' && page.complaints.push(message.text()));
  page.on('pageerror', (error) => page.complaints.push(String(error)));
  page.on('response', (answer) => answer.status() >= 400 && page.complaints.push(`${answer.status()} ${answer.url()}`));
  page.on('request', (request) => {
    const { protocol, host } = new URL(request.url());
    if (protocol.startsWith('http') && !hosts.includes(host)) page.complaints.push(`asked ${request.url()}`);
  });
  await page.goto(url);
  return page;
}

/** Waits until the element's text fits. */
export async function textThat(page, testId, fits, what = `text of ${testId}`) {
  const end = Date.now() + WAIT_MS;
  let text;
  while (Date.now() < end) {
    text = await page.getByTestId(testId).innerText();
    if (fits(text)) return text;
    await page.evaluate(() => new Promise(requestAnimationFrame));
  }
  throw new Error(`waited ${WAIT_MS} ms for the ${what}; it is ${JSON.stringify(text)}; ${page.complaints.join('; ')}`);
}
