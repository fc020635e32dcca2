/**
 * Records what stompjs and a broker say to each other: fixtures/clients/stompjs-VERSION.ndjson,
 * one line per WebSocket message, each character of `octets` one octet. `npm run record`.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { WebSocket } from 'ws';
import { connect, receiptOf, send, subscribe, versions } from './clients.mjs';
import { ROOT, startServer } from './server.mjs';
import { within } from './wait.mjs';

const server = await startServer({ config: '[metrics]\nenabled = false\n' });
const endings = [];
const t = { after: (end) => endings.push(end) };
for (const version of ['1.0', '1.1', '1.2']) {
  const lines = [];
  const note = (from, data) => lines.push(JSON.stringify({ from, octets: Buffer.from(data).toString('latin1') }));
  class Recorded extends WebSocket {
    constructor(...options) {
      super(...options);
      this.on('message', (data) => note('server', data));
    }

    send(data) {
      note('client', data);
      super.send(data);
    }
  }
  const stompVersions = versions(version);
  const webSocketFactory = () => new Recorded(server.ws('/ws'), stompVersions.protocolVersions());
  const client = await connect(t, { webSocketFactory, stompVersions, reconnectDelay: 0 });
  await dialogue(client, version);
  await within(5000, client.deactivate(), 'the receipt of DISCONNECT');
  writeFileSync(join(ROOT, `fixtures/clients/stompjs-${version}.ndjson`), `${lines.join('\n')}\n`);
}
for (const end of endings) await end();
await server.stop();

async function dialogue(client, version) {
  const destination = '/topic/dialogue';
  const heard = await subscribe(client, destination, { ack: 'client-individual' });
  // stompjs escapes in 1.2 alone.
  const headers = version === '1.2' ? { 'x-note': 'a:b\nc' } : {};
  await send(client, { destination, body: 'Grüße 😀', headers });
  const first = await heard.next();
  await acknowledged(client, (receipt) => first.ack({ receipt }));
  await send(client, { destination, binaryBody: Uint8Array.of(0, 1, 255, 0) });
  const second = await heard.next();
  await acknowledged(client, (receipt) => (version === '1.0' ? second.ack({ receipt }) : second.nack({ receipt })));
  const [kept, dropped] = [client.begin('kept'), client.begin('dropped')];
  client.publish({ destination, body: 'kept', headers: { transaction: kept.id } });
  client.publish({ destination, body: 'dropped', headers: { transaction: dropped.id } });
  dropped.abort();
  kept.commit();
  const third = await heard.next();
  await acknowledged(client, (receipt) => third.ack({ receipt }));
  await acknowledged(client, (receipt) => heard.subscription.unsubscribe({ receipt }));
}

async function acknowledged(client, act) {
  const receipt = `done-${Math.random().toString(36).slice(2, 8)}`;
  const done = receiptOf(client, receipt);
  act(receipt);
  await done;
}
