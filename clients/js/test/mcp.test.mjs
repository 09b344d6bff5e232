import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { Hub } from '../index.mjs';
import { report } from '../mcp.mjs';
import { eventually, startHub, take, withHub } from './support.mjs';

const SERVER = fileURLToPath(new URL('mcp-server.mjs', import.meta.url));

async function startServer(t, hubUrl) {
  const transport = new StdioClientTransport({ command: process.execPath, args: [SERVER], env: { TIMEBACK_EVENTS_URL: hubUrl }, stderr: 'inherit' });
  const client = new Client({ name: 'test', version: '1.0.0' });
  await client.connect(transport);
  t.after(() => client.close());
  return { client, pid: transport.pid };
}

test('a stdio server reports what it has, what changes, and its end', withHub, async (t) => {
  const { url } = await startHub(t);
  const events = new Hub(url).events({ lastEventId: 'earliest', serverId: 'LMS-of-Ghent' });
  const { client } = await startServer(t, url);

  const [{ type, data }] = await take(events, 1);
  assert.equal(type, 'server_connected');
  assert.equal(data.connection.name, 'LMS of Ghent');
  assert.equal(data.connection.version, '2.1.0');
  assert.equal(data.connection.transport, 'stdio');
  assert.deepEqual(data.connection.tags, { school: 'ghent' });
  assert.deepEqual(namesOf(data.connection), { tools: ['grade'], resources: ['roster://all', 'student://{id}'], prompts: ['feedback'] });
  assert.match(data.connection.capabilities.tools[0].hash, /^[0-9a-f]{16}$/);

  const { content } = await client.callTool({ name: 'grade', arguments: { score: 101 } });
  assert.equal(content[0].text, 'pass');
  const [updated] = await take(events, 1);
  assert.equal(updated.type, 'server_updated');
  assert.deepEqual(namesOf(updated.data.connection).tools, ['grade', 'appeal']);
  assert.deepEqual(updated.data.drift.tools, { added: ['appeal'], removed: [], changed: [] });

  await client.close();
  const [left] = await take(events, 1);
  assert.equal(left.type, 'server_disconnected');
  assert.equal(left.data.reason, 'deregistered');
  events.close();
});

test('a server that is told to end says goodbye', withHub, async (t) => {
  const { url } = await startHub(t);
  const events = new Hub(url).events({ lastEventId: 'earliest', type: 'server_disconnected' });
  const { pid, client } = await startServer(t, url);
  await eventually(async () => (await new Hub(url).listServers()).servers.length === 1);
  const gone = new Promise((resolve) => (client.onclose = resolve));
  process.kill(pid, 'SIGTERM');
  assert.equal((await take(events, 1))[0].data.reason, 'deregistered');
  await gone;
  events.close();
});

test('a server works without a hub, and is registered once there is one', withHub, async (t) => {
  const hub = await startHub(t);
  await hub.kill('SIGKILL');
  const { client } = await startServer(t, hub.url);
  assert.equal((await client.listTools()).tools.length, 1);
  await hub.start();
  await eventually(async () => (await new Hub(hub.url).listServers()).servers.length === 1);
});

test('a tool that is described anew is drift', withHub, async (t) => {
  const { url } = await startHub(t);
  const hub = new Hub(url);
  const server = new McpServer({ name: 'lms', version: '1.0.0' });
  const grade = server.registerTool('grade', { description: `${'long '.repeat(100)}old` }, async () => ({ content: [] }));
  const events = hub.events({ lastEventId: 'earliest', type: 'server_updated' });
  const reported = report(server, { hub, id: 'lms-1', url: 'http://127.0.0.1:8080/mcp' });
  await reported.registered;
  grade.update({ description: `${'long '.repeat(100)}new` });
  const [{ data }] = await take(events, 1);
  assert.deepEqual(data.drift.tools.changed, [{ name: 'grade', fields: ['hash'] }]);
  await reported.close();
  events.close();
});

test('a network server is reported without a client', withHub, async (t) => {
  const { url } = await startHub(t);
  const hub = new Hub(url);
  const server = new McpServer({ name: 'lms', version: '1.0.0' });
  server.registerTool('grade', {}, async () => ({ content: [] }));
  const reported = report(server, { hub, id: 'lms-1', url: 'http://127.0.0.1:8080/mcp' });
  const { id } = await reported.registered;
  assert.equal(id, 'lms-1');
  server.registerTool('regrade', {}, async () => ({ content: [] }));
  const { connection } = await eventually(async () => {
    const state = await hub.getServer('lms-1');
    return state.connection.capabilities.tools.length === 2 && state;
  });
  assert.equal(connection.transport, 'http');
  assert.deepEqual(namesOf(connection), { tools: ['grade', 'regrade'], resources: [], prompts: [] });
  await reported.close('done');
  assert.equal((await hub.getServer('lms-1')).status, 'disconnected');
});

function namesOf({ capabilities }) {
  return Object.fromEntries(Object.entries(capabilities).map(([kind, list]) => [kind, list.map(({ name }) => name)]));
}
