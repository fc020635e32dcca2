/** Signed tokens as stompjs users show them: in the headers of CONNECT, and anew in the open session. */
import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { connect, createClient, subscribe, WAYS } from './clients.mjs';
import { startServer } from './server.mjs';

const SECRET = 'a secret of thirty-two octets, or more';
const folder = mkdtempSync(join(tmpdir(), 'stompbox-tokens-'));
writeFileSync(join(folder, 'secret'), SECRET);

let server;
before(async () => {
  server = await startServer({ config: `[auth.jwt]\nsecret_file = ${JSON.stringify(join(folder, 'secret'))}\n` });
});
after(async () => {
  await server?.stop();
  rmSync(folder, { recursive: true });
});

/** An HS256 token of `name` that is good for so many seconds from now on. */
function token(name, seconds, secret = SECRET) {
  const part = (object) => Buffer.from(JSON.stringify(object)).toString('base64url');
  const claims = { sub: name, exp: Math.floor(Date.now() / 1000) + seconds };
  const input = `${part({ alg: 'HS256', typ: 'JWT' })}.${part(claims)}`;
  return `${input}.${createHmac('sha256', secret).update(input).digest('base64url')}`;
}

for (const [way, settings] of Object.entries(WAYS)) {
  describe(way, () => {
    test('a good token is let in under its name; another ends in onStompError', async (t) => {
      const Authorization = `Bearer ${token('ann', 100)}`;
      const client = await connect(t, { ...settings(server), connectHeaders: { Authorization } });
      assert.equal((await client.connects.next('CONNECTED')).headers['user-name'], 'ann');
      for (const wrong of [token('ann', 100, 'another secret of thirty-two octets'), token('ann', -1), 'x', '']) {
        const connectHeaders = { Authorization: `Bearer ${wrong}` };
        const refused = createClient(t, { ...settings(server), connectHeaders, reconnectDelay: 0 });
        refused.activate();
        assert.equal((await refused.errors.next('ERROR')).headers.message, 'Access refused');
        await refused.deactivate();
      }
    });

    test('a session ends with its token, or goes on with a new one', async (t) => {
      const headers = (seconds, more = {}) => ({ Authorization: `Bearer ${token('ann', seconds)}`, ...more });
      const options = { ...settings(server), reconnectDelay: 0 };
      const stays = await connect(t, { ...options, connectHeaders: headers(4, { 'token-refresh': 'true' }) });
      const ends = await connect(t, { ...options, connectHeaders: headers(4) });
      stays.publish({ destination: '/app/$auth', body: token('ann', 100) });
      assert.equal((await ends.errors.next('ERROR')).headers.message, 'Session expired');
      await ends.closes.next('the close');
      await subscribe(stays, '/topic/metrics');
      assert.equal(stays.errors.length, 0);
    });
  });
}
