// The README's examples do what they say, a second time too.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Hub } from '../index.mjs';
import { startHub, take, withHub } from './support.mjs';

const readme = await readFile(new URL('../README.md', import.meta.url), 'utf8');
const blocks = [...readme.matchAll(/^```js\n(.*?)^```/gms)].map(([, code]) => code);
const block = (words) => blocks.find((code) => code.includes(words)) ?? assert.fail(`the README has no example with ${words}`);

/** Runs a module as it stands, from this package. */
function run(t, code, env = {}) {
  const child = spawn(process.execPath, ['--input-type=module', '-e', code], { cwd: fileURLToPath(new URL('..', import.meta.url)), env: { PATH: process.env.PATH, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
  t.after(() => child.kill());
  let [out, errors] = ['', ''];
  child.stdout.on('data', (text) => (out += text));
  child.stderr.on('data', (text) => (errors += text));
  return { child, ended: new Promise((resolve) => child.once('close', (code) => resolve({ code, out, errors }))) };
}

test('a server registers, takes a step and ends it, twice over', { ...withHub, timeout: 60_000 }, async (t) => {
  const { url } = await startHub(t);
  const code = `import { Hub } from '@timeback/events';\nconst hub = new Hub(${JSON.stringify(url)});\n${block('hub.register({')}`;
  for (let time = 0; time < 2; time++) assert.deepEqual(await run(t, code).ended, { code: 0, out: '', errors: '' });
  const { workflows } = await new Hub(url).workflow.list({ status: 'completed' });
  assert.deepEqual(workflows.map(({ steps }) => steps[0].result), [{ score: 97 }, { score: 97 }]);
});

test('a listener prints what happens', { ...withHub, timeout: 60_000 }, async (t) => {
  const { url } = await startHub(t);
  const hub = new Hub(url);
  await hub.workflow.start({ id: 'w', name: 'W', steps: ['a'] });
  const { child } = run(t, block('for await').replace('http://127.0.0.1:3001', url));
  const [line] = await take(child.stdout[Symbol.asyncIterator](), 1);
  assert.match(String(line), /^workflow_started \{/);
});

test('a server per request is handed to the SDK as its maker would be', { ...withHub, timeout: 60_000 }, async (t) => {
  const { url } = await startHub(t);
  const before = `
    import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
    import { report } from '@timeback/events/mcp';
    const newServer = () => new McpServer({ name: 'LMS', version: '1' });
    const createMcpHandler = (make) => make({ era: 'modern' });`;
  const after = 'await makeServer.registered; await makeServer.close();';
  assert.deepEqual(await run(t, before + block('createMcpHandler') + after, { TIMEBACK_EVENTS_URL: url }).ended, { code: 0, out: '', errors: '' });
  assert.equal((await new Hub(url).getServer('LMS')).status, 'disconnected');
});
