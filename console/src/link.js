import { Client, ReconnectionTimeMode } from '@stomp/stompjs';
import SockJS from 'sockjs-client';
import { mountUrl } from './settings.js';

/**
 * What the page can be asked to use, by `?transport=`: a SockJS transport, `raw` for a WebSocket
 * without SockJS, or nothing for the best transport that works.
 */
export const TRANSPORTS = ['websocket', 'xhr-streaming', 'xhr-polling', 'raw'];

/**
 * The one STOMP connection of the page. It reconnects by itself, except when the broker refused it:
 * the same credentials would be refused for ever.
 *
 * States: `connecting` → `connected` → `reconnecting` → `connected` …, or `refused`.
 */
export class Link {
  #client = null;
  #state = 'connecting';

  /**
   * @param {object} on
   * @param {(state: string, transport: string) => void} on.state
   * @param {(title: string, text: string) => void} on.error what the broker complained about
   * @param {(client: Client) => void} on.connected each time; subscriptions are to be made again
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
        this.on.connected(client);
      },
      onStompError: (frame) => {
        const refused = this.#state !== 'connected';
        this.on.error(frame.headers.message ?? 'The broker sent an error', frame.body);
        if (refused) {
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
