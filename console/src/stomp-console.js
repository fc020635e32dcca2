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
  /** Destination → `{ unsubscribe, count, chip }`. */
  #subscriptions = new Map();
  #received = 0;

  /** @param {import('./link.js').Link} link */
  constructor(link) {
    this.link = link;
    this.#onSubmit('subscribe', () => this.#subscribe());
    this.#onSubmit('send', () => this.#send());
    byId('clear-messages').addEventListener('click', () => this.#clear());
  }

  /** What is wrong is said beside the form: there it stays when the connection comes back. */
  #onSubmit(form, action) {
    byId(`${form}-form`).addEventListener('submit', (event) => {
      event.preventDefault();
      say(form, '');
      try {
        if (!this.link.connected) throw new Error('There is no connection');
        action();
      } catch (error) {
        say(form, error.message, true);
      }
    });
  }

  #subscribe() {
    const destination = destinationOf('subscribe');
    if (this.#subscriptions.has(destination)) return;
    const entry = { unsubscribe: null, count: 0, chip: this.#chip(destination) };
    this.#subscriptions.set(destination, entry);
    const refused = (reason) => {
      say('subscribe', `Subscription to ${destination} refused: ${reason}`, true);
      this.#unsubscribe(destination);
    };
    // A person reads the newest; what nobody can read in time need not wait.
    const headers = { overflow: 'drop-oldest' };
    entry.unsubscribe = this.link.subscribe(destination, headers, (message) => this.#onMessage(entry, message), refused);
  }

  #onMessage(entry, message) {
    entry.count += 1;
    entry.chip.querySelector('b').textContent = String(entry.count);
    this.#append(message);
  }

  #unsubscribe(destination) {
    const entry = this.#subscriptions.get(destination);
    this.#subscriptions.delete(destination);
    entry?.unsubscribe();
    entry?.chip.remove();
  }

  #send() {
    const destination = destinationOf('send');
    const headers = parseHeaders(byId('send-headers').value);
    const late = setTimeout(() => say('send', 'no receipt yet'), RECEIPT_TIMEOUT_MS);
    const told = (text, isWrong) => {
      clearTimeout(late);
      say('send', text, isWrong);
    };
    const accepted = () => told(`accepted ${timeOfDay(Date.now())}`);
    const message = { destination, headers, body: byId('send-body').value };
    say('send', 'sending');
    this.link.send(message, accepted, (reason) => told(reason, true));
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

function say(form, text, isWrong = false) {
  const state = byId(`${form}-state`);
  state.textContent = text;
  state.classList.toggle('wrong', isWrong);
}

function destinationOf(form) {
  const destination = byId(`${form}-destination`).value.trim();
  if (!destination.startsWith('/')) throw new Error('A destination begins with a slash, such as /topic/chat');
  return destination;
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
