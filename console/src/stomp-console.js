import { timeOfDay } from './format.js';
import { parseHeaders } from './headers.js';

/** Messages kept in the list; older ones leave. */
const MESSAGES_KEPT = 200;
/** Characters of a body that are shown; a metrics payload of 50 KB a second would stall the page. */
const BODY_SHOWN = 4_000;
const RECEIPT_TIMEOUT_MS = 5_000;

const byId = (id) => document.getElementById(id);

/** The part of the page where a person subscribes, sends, and reads messages by hand. */
export class StompConsole {
  /** Destination → `{ handle, count, chip }`; kept over reconnects. */
  #subscriptions = new Map();
  #received = 0;
  #sent = 0;

  /**
   * @param {import('./link.js').Link} link
   * @param {(title: string, text: string) => void} onError
   */
  constructor(link, onError) {
    this.link = link;
    this.onError = onError;
    byId('subscribe-form').addEventListener('submit', (event) => this.#onSubmit(event, () => this.#subscribe()));
    byId('send-form').addEventListener('submit', (event) => this.#onSubmit(event, () => this.#send()));
    byId('clear-messages').addEventListener('click', () => this.#clear());
  }

  /** Subscribes again to all that was subscribed before the connection was lost. */
  handleConnected(client) {
    for (const [destination, entry] of this.#subscriptions) {
      entry.handle = this.#listen(client, destination, entry);
    }
  }

  #onSubmit(event, action) {
    event.preventDefault();
    try {
      if (!this.link.connected) throw new Error('There is no connection');
      action();
    } catch (error) {
      this.onError('Not sent', error.message);
    }
  }

  #subscribe() {
    const destination = byId('subscribe-destination').value.trim();
    if (this.#subscriptions.has(destination)) return;
    const entry = { handle: null, count: 0, chip: this.#chip(destination) };
    this.#subscriptions.set(destination, entry);
    entry.handle = this.#listen(this.link.client, destination, entry);
  }

  #listen(client, destination, entry) {
    // A person reads the newest; what nobody can read in time need not wait.
    return client.subscribe(destination, (message) => this.#onMessage(destination, entry, message), {
      overflow: 'drop-oldest',
    });
  }

  #onMessage(destination, entry, message) {
    if (message.headers.status !== undefined) {
      this.onError(`Subscription to ${destination} refused`, message.body);
      this.#forget(destination);
      return;
    }
    entry.count += 1;
    entry.chip.querySelector('b').textContent = String(entry.count);
    this.#append(message);
  }

  #unsubscribe(destination) {
    const entry = this.#subscriptions.get(destination);
    if (this.link.connected) entry?.handle?.unsubscribe();
    this.#forget(destination);
  }

  #forget(destination) {
    this.#subscriptions.get(destination)?.chip.remove();
    this.#subscriptions.delete(destination);
  }

  #send() {
    const destination = byId('send-destination').value.trim();
    const headers = parseHeaders(byId('send-headers').value);
    const { client } = this.link;
    const state = byId('send-state');
    const receipt = (headers.receipt ??= `sent-${++this.#sent}`);
    const late = setTimeout(() => (state.textContent = 'no receipt yet'), RECEIPT_TIMEOUT_MS);
    client.watchForReceipt(receipt, () => {
      clearTimeout(late);
      state.textContent = `accepted ${timeOfDay(Date.now())}`;
    });
    state.textContent = 'sending';
    client.publish({ destination, headers, body: byId('send-body').value });
  }

  #chip(destination) {
    const chip = document.createElement('li');
    const name = Object.assign(document.createElement('code'), { textContent: destination });
    const count = Object.assign(document.createElement('b'), { textContent: '0' });
    const button = Object.assign(document.createElement('button'), { type: 'button', textContent: '✕' });
    button.setAttribute('aria-label', `Unsubscribe from ${destination}`);
    button.dataset.testid = 'unsubscribe';
    button.addEventListener('click', () => this.#unsubscribe(destination));
    chip.append(name, count, button);
    byId('subscriptions').append(chip);
    return chip;
  }

  #append({ headers, body }) {
    const list = byId('messages');
    list.prepend(messageItem(headers, body));
    while (list.children.length > MESSAGES_KEPT) list.lastElementChild.remove();
    this.#received += 1;
    this.#showCount();
  }

  #clear() {
    byId('messages').replaceChildren();
    this.#received = 0;
    this.#showCount();
  }

  #showCount() {
    byId('message-count').textContent = String(this.#received);
    byId('messages').hidden = this.#received === 0;
    byId('messages-empty').hidden = this.#received > 0;
  }
}

function messageItem(headers, body) {
  const item = document.createElement('li');
  const head = document.createElement('div');
  head.className = 'row';
  const destination = Object.assign(document.createElement('code'), { textContent: headers.destination });
  const time = Object.assign(document.createElement('span'), { className: 'muted', textContent: timeOfDay(Date.now()) });
  head.append(destination, time);
  const text = document.createElement('pre');
  text.textContent = body.length > BODY_SHOWN ? `${body.slice(0, BODY_SHOWN)}… (${body.length} characters)` : body;
  const details = document.createElement('details');
  const lines = document.createElement('pre');
  lines.textContent = Object.entries(headers)
    .map(([name, value]) => `${name}: ${value}`)
    .join('\n');
  details.append(Object.assign(document.createElement('summary'), { textContent: 'Headers' }), lines);
  item.append(head, text, details);
  return item;
}
