// How a wrapped MCP server is one instance at the hub, against a hub that follows a script.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { hostname } from 'node:os';
import { test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { InMemoryTransport } from '@modelcontextprotocol/sdk/inMemory.js';
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { Hub } from '../index.mjs';
import { report } from '../mcp.mjs';
import { toId } from '../mcp/presence.mjs';
import { answer, eventually, startScript } from './support.mjs';

const makeServer = (name = 'LMS') => {
  const server = new McpServer({ name, version: '1.0.0' });
  server.registerTool('grade', {}, async () => ({ content: [] }));
  return server;
};

/** A hub that takes everything, unless told otherwise. */
async function startHub(t, register = (response, body) => answer(response, 201, { id: body.id, heartbeatIntervalMs: 10_000 })) {
  const { url, requests } = await startScript(t, (request, response, n) => {
    const { method, body } = requests[n - 1];
    if (method === 'POST') register(response, body, n);
    else response.writeHead(204).end();
  });
  return { hub: new Hub(url), requests, sent: (method) => requests.filter((request) => request.method === method) };
}

async function connect(server) {
  const [near, far] = InMemoryTransport.createLinkedPair();
  const client = new Client({ name: 'inspector', version: '0.9.0' });
  await Promise.all([server.connect(far), client.connect(near)]);
  return client;
}

/** A network transport, as far as can be seen from outside. */
class HttpTransport extends InMemoryTransport {
  handleRequest() {}
}

const instanceOf = (request) => new URL(request.url, 'http://hub').searchParams.get('instanceId');

test('says which process it is and whom it serves, and that others may be beside it', async (t) => {
  const { hub, requests } = await startHub(t);
  const server = makeServer();
  const reported = report(server, { hub, tags: { school: 'ghent' } });
  const client = await connect(server);
  await reported.registered;
  const { instanceId, capabilities, ...body } = requests[0].body;
  assert.match(instanceId, /^[0-9a-f]{32}$/);
  assert.deepEqual(body, {
    id: 'LMS',
    name: 'LMS',
    version: '1.0.0',
    transport: 'stdio',
    client: { name: 'inspector', version: '0.9.0' },
    protocolVersion: client.transport.protocolVersion ?? body.protocolVersion,
    tags: { school: 'ghent' },
    instances: 'many',
    host: hostname(),
    pid: process.pid,
  });
  const [{ name, hash }, ...others] = capabilities.tools;
  assert.deepEqual([name, others, capabilities.resources, capabilities.prompts], ['grade', [], [], []]);
  assert.match(hash, /^[0-9a-f]{16}$/);
  assert.match(body.protocolVersion, /^20\d\d-/);
  await client.close();
  await eventually(() => requests.length === 2);
  assert.equal(requests[1].method, 'DELETE');
  assert.equal(instanceOf(requests[1]), instanceId);
});

test('a session that ends while its registration is under way: that settles first, then it is taken back', async (t) => {
  let register;
  const arrived = new Promise((resolve) => (register = resolve));
  const { hub, requests } = await startHub(t, (response, body) => register(() => answer(response, 201, { id: body.id, heartbeatIntervalMs: 10_000 })));
  const server = makeServer();
  const reported = report(server, { hub });
  const client = await connect(server);
  const answerIt = await arrived;
  await client.close();
  const closed = reported.close();
  assert.equal(requests.length, 1);
  answerIt();
  await closed;
  assert.deepEqual(requests.map(({ method }) => method), ['POST', 'DELETE']);
  assert.equal(instanceOf(requests[1]), requests[0].body.instanceId);
});

test('a registration that never settles is taken back all the same, for the hub remembers', async (t) => {
  let arrived;
  const hanging = new Promise((resolve) => (arrived = resolve));
  const { hub, requests } = await startHub(t, () => arrived());
  const errors = [];
  const reported = report(makeServer(), { hub, url: 'http://127.0.0.1:1/mcp', onError: (error) => errors.push(error) });
  await hanging;
  await reported.close('maintenance');
  assert.deepEqual(requests.map(({ method }) => method), ['POST', 'DELETE']);
  assert.equal(instanceOf(requests[1]), requests[0].body.instanceId);
  assert.match(requests[1].url, /reason=maintenance/);
  assert.deepEqual(errors, []);
});

test('one line when the hub is out of reach, one when it is back', async (t) => {
  const { hub, sent } = await startHub(t, (response, body, n) => {
    if (n < 3) response.destroy();
    else answer(response, 201, { id: body.id, heartbeatIntervalMs: 10_000 });
  });
  const said = [];
  const reported = report(makeServer(), { hub, url: 'http://127.0.0.1:1/mcp', onError: ({ message }) => said.push(message), onRecovery: (message) => said.push(message) });
  await reported.registered;
  assert.equal(sent('POST').length, 3);
  assert.equal(said.length, 2);
  assert.match(said[0], new RegExp(`^the hub at ${hub.url} can't be reached: .*; LMS goes on without it$`));
  assert.equal(said[1], `the hub at ${hub.url} is back; LMS is registered there`);
  await reported.close();
});

test('a server made anew for each of 3,000 requests is one instance, and leaves nothing behind', async (t) => {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc');
  const { hub, requests, sent } = await startHub(t);
  let made = 0;
  const alive = new Set();
  const make = report(
    (context) => {
      made++;
      assert.ok(context);
      const server = makeServer();
      alive.add(new WeakRef(server));
      return server;
    },
    { hub, url: 'http://127.0.0.1:1/mcp' },
  );
  await make.registered;
  const listeners = process.listenerCount('SIGTERM') + process.listenerCount('beforeExit');
  for (let n = 0; n < 3_000; n++) {
    const server = make({ era: 'modern' });
    const [, far] = InMemoryTransport.createLinkedPair();
    await server.connect(far);
    await server.close();
  }
  assert.equal(made, 3_001);
  assert.equal(sent('POST').length, 1);
  assert.equal(process.listenerCount('SIGTERM') + process.listenerCount('beforeExit'), listeners);
  await eventually(() => {
    collect();
    return [...alive].filter((reference) => reference.deref()).length < 50;
  }, 'the end of the servers');
  await make.close();
  assert.deepEqual(requests.map(({ method }) => method), ['POST', 'DELETE']);
  assert.equal(process.listenerCount('SIGTERM'), 0);
});

test('sessions over the network are one instance, and their end is not its end', async (t) => {
  const { hub, requests, sent } = await startHub(t);
  let last;
  for (let n = 0; n < 100; n++) {
    const server = makeServer();
    last = report(server, { hub });
    const [near, far] = HttpTransport.createLinkedPair();
    const http = Object.setPrototypeOf(far, HttpTransport.prototype);
    const client = new Client({ name: 'inspector', version: '0.9.0' });
    await Promise.all([server.connect(http), client.connect(near)]);
    await last.registered;
    await client.close();
  }
  assert.deepEqual(requests.map(({ method }) => method), ['POST']);
  assert.equal(sent('POST')[0].body.transport, 'http');
  assert.equal(sent('POST')[0].body.client, undefined);
  await last.close();
  assert.equal(sent('DELETE').length, 1);
});

test('a process that has nothing left to do says goodbye and ends, the hub there or not', async (t) => {
  const { hub, requests } = await startHub(t);
  for (const url of [hub.url, 'http://127.0.0.1:9']) {
    const program = `
      import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
      import { createServer } from 'node:http';
      import { report } from '@timeback/events/mcp';
      const make = report(() => new McpServer({ name: 'LMS', version: '1' }), { url: 'http://127.0.0.1:1/mcp', onError: () => http.close() });
      const http = createServer().listen(0);
      make.registered.then(() => http.close());`;
    const child = spawn(process.execPath, ['--input-type=module', '-e', program], { cwd: new URL('..', import.meta.url), env: { PATH: process.env.PATH, TIMEBACK_EVENTS_URL: url }, stdio: 'inherit' });
    assert.equal(await new Promise((resolve) => child.once('exit', resolve)), 0);
  }
  assert.deepEqual(requests.map(({ method }) => method), ['POST', 'DELETE']);
});

test('an id comes from the name, whatever that is', () => {
  assert.equal(toId('LMS of Ghent'), 'LMS-of-Ghent');
  assert.equal(toId('学習'), 'server-bdd22ba1');
  assert.notEqual(toId('学習'), toId('课程'));
  assert.match(toId('..'), /^server-/);
  assert.equal(toId('x'.repeat(200)).length, 128);
});
