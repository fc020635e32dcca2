import { Client, ReconnectionTimeMode } from '@stomp/stompjs';
import SockJS from 'sockjs-client';
import { mountUrl } from './settings.js';

/**
 * What the page can be asked to use, by `?transport=`: a SockJS transport, `raw` for a WebSocket
 * without SockJS, or nothing for the best transport that works.
 */
export const TRANSPORTS = ['websocket', 'xhr-streaming', 'xhr-polling', 'raw'];

/** The `message` of the one ERROR that comes again for the same credentials; all others pass. */
const FINAL = 'Access refused';

/**
 * The one STOMP connection of the page. It reconnects by itself and makes its subscriptions again, except
 * when the broker refused it, or them: the same would be refused for ever.
 *
 * States: `connecting` → `connected` → `reconnecting` → `connected` …, or `refused`.
 */
export class Link {
  #client = null;
  #state = 'connecting';
  /** What is to be subscribed to on each connection, with the handle it has on the present one. */
  #subscriptions = new Set();
  /** Receipt → what to do when an ERROR comes in its place. */
  #awaited = new Map();
  #receipts = 0;

  /**
   * @param {object} on
   * @param {(state: string, transport: string) => void} on.state
   * @param {(title: string, text: string) => void} on.error what the broker complained about
   * @param {(client: Client) => void} on.connected each time
   */
  constructor(on) {
    this.on = on;
  }

  get client() {
    return this.#client;
  }

  get connected() {
    return this.#state === 'connected';
  }

  /** Leaves the present connection, if any, and opens one with these settings. */
  async open({ transport = '', token = '', login = '', passcode = '' } = {}) {
    await this.#client?.deactivate();
    for (const subscription of this.#subscriptions) subscription.isRefused = false;
    let socket = null;
    const client = new Client({
      webSocketFactory: () => (socket = createSocket(transport)),
      connectHeaders: connectHeaders({ token, login, passcode }),
      reconnectDelay: 1_000,
      maxReconnectDelay: 15_000,
      reconnectTimeMode: ReconnectionTimeMode.EXPONENTIAL,
      connectionTimeout: 10_000,
      heartbeatIncoming: 10_000,
      heartbeatOutgoing: 10_000,
      discardWebsocketOnCommFailure: true,
      onConnect: () => {
        this.#enter('connected', transport === 'raw' ? 'raw' : socket.transport);
        this.#awaited.clear();
        for (const subscription of this.#subscriptions) if (!subscription.isRefused) this.#ask(subscription);
        this.on.connected(client);
      },
      onStompError: ({ headers, body }) => {
        const refused = this.#awaited.get(headers['receipt-id']);
        if (refused !== undefined) refused(body);
        else this.on.error(headers.message ?? 'The broker sent an error', body);
        if (this.#state !== 'connected' && headers.message === FINAL) {
          this.#enter('refused', '');
          client.deactivate();
        }
      },
      onWebSocketClose: () => {
        if (this.#client === client && this.#state !== 'refused') this.#enter('reconnecting', '');
      },
    });
    this.#client = client;
    this.#enter('connecting', '');
    client.activate();
  }

  /**
   * Subscribes, now and on each later connection, until it is refused or the returned function is called.
   *
   * @param {string} destination
   * @param {object} headers
   * @param {(message: import('@stomp/stompjs').IMessage) => void} onMessage
   * @param {(reason: string) => void} onRefused
   */
  subscribe(destination, headers, onMessage, onRefused) {
    const subscription = { destination, headers, onMessage, onRefused, isRefused: false, handle: null };
    this.#subscriptions.add(subscription);
    if (this.connected) this.#ask(subscription);
    return () => {
      this.#subscriptions.delete(subscription);
      if (this.connected && !subscription.isRefused) subscription.handle?.unsubscribe();
    };
  }

  /**
   * Sends on the present connection.
   *
   * @param {{ destination: string, headers: object, body: string }} message
   * @param {() => void} onAccepted
   * @param {(reason: string) => void} onRefused
   */
  send({ destination, headers, body }, onAccepted, onRefused) {
    const receipt = this.#await(onAccepted, onRefused, headers.receipt);
    this.#client.publish({ destination, headers: { ...headers, receipt }, body });
  }

  /** Asked for with a receipt: an ERROR names it, so that what was refused is not asked for again. */
  #ask(subscription) {
    const { destination, headers, onMessage, onRefused } = subscription;
    const refuse = (reason) => {
      subscription.isRefused = true;
      onRefused(reason);
    };
    const receipt = this.#await(() => {}, refuse);
    // A soft refusal is one last message of the subscription.
    const take = (message) => (message.headers.status === undefined ? onMessage(message) : refuse(message.body));
    subscription.handle = this.#client.subscribe(destination, take, { ...headers, receipt });
  }

  #await(onAccepted, onRefused, receipt = `page-${++this.#receipts}`) {
    this.#awaited.set(receipt, onRefused);
    this.#client.watchForReceipt(receipt, () => {
      this.#awaited.delete(receipt);
      onAccepted();
    });
    return receipt;
  }

  #enter(state, transport) {
    this.#state = state;
    this.on.state(state, transport);
  }
}

function createSocket(transport) {
  const url = mountUrl();
  if (transport !== 'raw') {
    return new SockJS(url.href, null, transport === '' ? {} : { transports: [transport] });
  }
  url.pathname += '/websocket';
  url.protocol = url.protocol.replace('http', 'ws');
  return new WebSocket(url, ['v12.stomp', 'v11.stomp', 'v10.stomp']);
}

function connectHeaders({ token, login, passcode }) {
  const headers = {};
  if (token !== '') headers.Authorization = `Bearer ${token}`;
  if (login !== '') Object.assign(headers, { login, passcode });
  return headers;
}
