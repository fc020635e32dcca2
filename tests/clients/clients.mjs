/** The clients that people use, set up for tests, and a bare peer for what they would never send. */
import { Client, Versions } from '@stomp/stompjs';
import SockJS from 'sockjs-client';
import { WebSocket } from 'ws';
import { Queue, WAIT_MS, within } from './wait.mjs';

// stompjs takes the browser's WebSocket, which Node has only from version 22 on.
globalThis.WebSocket = WebSocket;

export const SOCKJS_TRANSPORTS = ['websocket', 'xhr-streaming', 'xhr-polling'];

/** Ways to one broker: name → settings of a stompjs Client. */
export const WAYS = {
  'ws /ws': (server) => ({ brokerURL: server.ws('/ws') }),
  'ws /ws/websocket': (server) => ({ brokerURL: server.ws('/ws/websocket') }),
  ...Object.fromEntries(
    SOCKJS_TRANSPORTS.map((name) => [
      `sockjs ${name}`,
      (server) => ({ webSocketFactory: () => new SockJS(`${server.url}/ws`, null, { transports: [name] }) }),
    ]),
  ),
};

/** The settings that the front ends out there use. */
export const FRONT_END = { reconnectDelay: 3000, heartbeatIncoming: 4000, heartbeatOutgoing: 4000 };

/** A stompjs Client that notes what happens to it. Ends with the test `t`. */
export function createClient(t, settings) {
  const client = new Client({ ...FRONT_END, ...settings });
  client.connects = new Queue();
  client.errors = new Queue();
  client.closes = new Queue();
  client.onConnect = (frame) => client.connects.push(frame);
  client.onStompError = (frame) => client.errors.push(frame);
  client.onWebSocketClose = (event) => client.closes.push(event);
  t.after(() => client.deactivate({ force: true }));
  return client;
}

/** A connected stompjs Client; an ERROR instead of CONNECTED fails. */
export async function connect(t, settings) {
  const client = createClient(t, settings);
  const { onConnect, onStompError } = client;
  const connected = new Promise((done, fail) => {
    client.onConnect = (frame) => {
      onConnect(frame);
      done();
    };
    client.onStompError = (frame) => {
      onStompError(frame);
      fail(new Error(`ERROR ${frame.headers.message}: ${frame.body}`));
    };
  });
  client.activate();
  await within(WAIT_MS, connected, 'CONNECTED');
  return client;
}

/** Subscribes and waits for the receipt, so that nothing sent from now on is missed. */
export async function subscribe(client, destination, headers = {}) {
  const messages = new Queue();
  const receipt = `subscribed-${++receipts}`;
  const live = receiptOf(client, receipt);
  messages.subscription = client.subscribe(destination, (message) => messages.push(message), { ...headers, receipt });
  await live;
  return messages;
}

/** Sends and waits for the receipt. */
export async function send(client, message) {
  const receipt = `sent-${++receipts}`;
  const taken = receiptOf(client, receipt);
  client.publish({ ...message, headers: { ...message.headers, receipt } });
  await taken;
}

export function receiptOf(client, receipt) {
  return within(WAIT_MS, new Promise((done) => client.watchForReceipt(receipt, done)), `RECEIPT ${receipt}`);
}

export const versions = (...list) => new Versions(list);

/** The subscription's metrics, parsed, until one fits. */
export async function metricsThat(messages, fits, what) {
  const message = await messages.find(({ body }) => fits(JSON.parse(body)), what);
  return JSON.parse(message.body);
}

/** A WebSocket that says exactly what it is told, and reads STOMP frames. */
export class BarePeer {
  frames = new Queue();
  heartBeats = new Queue();
  /** Everything that was read. */
  text = '';

  /** An open peer; ends with the test `t`. */
  static async open(t, url, protocols = ['v12.stomp']) {
    const peer = new BarePeer(new WebSocket(url, protocols));
    t.after(() => peer.socket.terminate());
    await within(WAIT_MS, peer.opened, 'the WebSocket to open');
    return peer;
  }

  /** An open peer after CONNECTED. */
  static async connected(t, url, headers = {}) {
    const peer = await BarePeer.open(t, url);
    const lines = Object.entries({ 'accept-version': '1.2', host: 'localhost', ...headers });
    peer.send('CONNECT', Object.fromEntries(lines));
    const frame = await peer.frames.next('CONNECTED');
    if (frame.command !== 'CONNECTED') throw new Error(`${frame.command} ${JSON.stringify(frame.headers)} ${frame.body}`);
    peer.connectedFrame = frame;
    return peer;
  }

  constructor(socket) {
    this.socket = socket;
    this.opened = new Promise((done, fail) => socket.once('open', done).once('error', fail));
    this.closed = new Promise((done) => socket.once('close', (code, reason) => done({ code, reason: String(reason) })));
    socket.on('error', () => {});
    socket.on('message', (data) => this.#read(data.toString('utf8')));
  }

  send(command, headers = {}, body = '') {
    const lines = Object.entries(headers).map(([name, value]) => `${name}:${value}\n`);
    this.sendRaw(`${command}\n${lines.join('')}\n${body}\0`);
  }

  sendRaw(text) {
    this.socket.send(text);
  }

  /** One WebSocket message holds one frame or more here; the broker under test sends no parts. */
  #read(text) {
    this.text += text;
    for (const part of text.split('\0')) {
      if (part.replaceAll('\n', '') === '') {
        if (part !== '' && text === part) this.heartBeats.push(part);
        continue;
      }
      const [head, ...rest] = part.replace(/^\n+/, '').split('\n\n');
      const [command, ...lines] = head.split('\n');
      const headers = {};
      for (const line of lines) headers[line.slice(0, line.indexOf(':'))] ??= line.slice(line.indexOf(':') + 1);
      this.frames.push({ command, headers, body: rest.join('\n\n') });
    }
  }
}

let receipts = 0;
