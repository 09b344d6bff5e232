// Against the real hub, through its bad days too.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Hub } from '../index.mjs';
import { eventually, startHub, take, withHub } from './support.mjs';

const lms = { id: 'lms-server-001', name: 'LMS', transport: 'stdio', version: '1.0.0', capabilities: { tools: ['grade'] }, tags: { region: 'eu' } };

test('a server connects, changes, falls ill and leaves', withHub, async (t) => {
  const { url } = await startHub(t);
  const hub = new Hub(url);
  const events = hub.events({ lastEventId: 'earliest', type: 'server_*' });
  const server = await hub.register(lms);
  await server.update({ version: '1.1.0' });
  await server.heartbeat({ health: 'degraded', detail: 'the disk is slow' });
  await server.close('maintenance');

  const [connected, updated, ill, left] = await take(events, 4);
  assert.equal(connected.type, 'server_connected');
  assert.equal(connected.serverId, lms.id);
  assert.equal(connected.data.connection.name, 'LMS');
  assert.deepEqual(connected.data.connection.capabilities.tools, ['grade']);
  assert.equal(updated.type, 'server_updated');
  assert.deepEqual(updated.data.changed, ['version']);
  assert.equal(ill.data.health, 'degraded');
  assert.match(ill.data.detail, /the disk is slow/);
  assert.equal(left.data.reason, 'maintenance');
  events.close();

  const { servers } = await hub.listServers();
  assert.equal(servers[0].status, 'disconnected');
  assert.deepEqual(await hub.getEvent(connected.id), connected);
});

test('kill -9 in mid-stream, again and again: nothing lost, nothing twice', { ...withHub, timeout: 120_000 }, async (t) => {
  const process = await startHub(t);
  const hub = new Hub(process.url, { retryMs: 50, maxRetryMs: 200, retries: 100 });
  const verdicts = [];
  const events = hub.events({ type: 'load.*', onVerdict: ({ verdict }) => verdicts.push(verdict), onGap: (gap) => assert.fail(`a gap: ${gap.reason}`) });
  const first = events.next();
  await eventually(() => verdicts.length === 1);

  const TOTAL = 300;
  const producing = (async () => {
    for (let n = 0; n < TOTAL; n++) await hub.emit({ type: 'load.tick', data: { n } });
  })();
  const seen = [(await first).value];
  const consuming = (async () => {
    while (seen.length < TOTAL) seen.push(...(await take(events, 1)));
  })();
  for (const mark of [50, 120, 200]) {
    await eventually(() => seen.length >= mark, `event ${mark}`);
    await process.kill('SIGKILL');
    await process.start();
  }
  await producing;
  await consuming;
  assert.deepEqual(seen.map((event) => event.data.n), Array.from({ length: TOTAL }, (_, n) => n));
  assert.deepEqual(verdicts, ['live', 'resumed', 'resumed', 'resumed']);

  const kept = [];
  for await (const event of hub.history({ type: 'load.*', limit: 77 })) kept.push(event.id);
  assert.deepEqual(kept, seen.map((event) => event.id));
  events.close();
});

test('a drained hub says so, and the stream goes on when it is back', withHub, async (t) => {
  const process = await startHub(t);
  const hub = new Hub(process.url, { maxRetryMs: 100 });
  const reasons = [];
  const events = hub.events({ type: 'custom_*', onClosing: ({ reason }) => reasons.push(reason) });
  const next = events.next();
  await eventually(async () => (await hub.getStatus()).sseClients === 1, 'the stream');
  await process.kill('SIGTERM');
  await process.start();
  await hub.emit({ type: 'custom_hello', data: {} });
  assert.equal((await next).value.type, 'custom_hello');
  assert.deepEqual(reasons, ['draining']);
  events.close();
});

test('a registered server stays registered through a restart, and through a hub that lost its data', withHub, async (t) => {
  const env = { INTEGRATION_DATA_DIR: ':memory:', INTEGRATION_HEARTBEAT_INTERVAL_MS: '100' };
  const process = await startHub(t, env);
  const hub = new Hub(process.url, { onError: () => {} });
  const server = await hub.register(lms);
  await process.kill('SIGKILL');
  await process.start();
  await eventually(async () => (await hub.listServers()).servers.some(({ status }) => status === 'connected'), 'the re-registration');

  const successor = await hub.register(lms);
  assert.equal(await server.closed, 'replaced');
  await successor.close();
  assert.equal(await successor.closed, 'deregistered');
});

test('one that was replaced does not disconnect its successor', withHub, async (t) => {
  const { url } = await startHub(t);
  const hub = new Hub(url);
  const first = await hub.register(lms);
  const second = await hub.register(lms);
  await first.close();
  assert.equal((await hub.getServer(lms.id)).status, 'connected');
  await second.close();
  assert.equal((await hub.getServer(lms.id)).status, 'disconnected');
});

test('servers drive a workflow together', withHub, async (t) => {
  const { url } = await startHub(t);
  const hub = new Hub(url);
  const events = hub.events({ workflowId: 'assess-1' });
  const next = events.next();
  await eventually(async () => (await hub.getStatus()).sseClients === 1, 'the stream');

  const waiting = hub.steps({ serverId: 'roster', status: 'ready', wait: '10s' });
  const definition = {
    id: 'assess-1',
    name: 'Assessment',
    steps: [
      { id: 'fetch', server: 'roster', retries: 1 },
      { id: 'grade', server: 'grader', dependsOn: ['fetch'] },
    ],
  };
  const started = await hub.workflow.start(definition);
  assert.equal(started.status, 'running');
  assert.equal((await hub.workflow.start(definition)).id, started.id, 'the same again is no second one');
  const [work] = await waiting;
  assert.equal(work.id, 'fetch');

  const roster = await hub.register({ id: 'roster', name: 'Roster', transport: 'http' });
  const lost = await hub.workflow.claim('assess-1', 'fetch', roster.identity);
  await hub.workflow.step('assess-1', 'fetch', { ...roster.identity, status: 'failed', error: 'timed out', attempt: lost.attempt });
  const { attempt } = await hub.workflow.claim('assess-1', 'fetch', roster.identity);
  assert.equal(attempt, 2);
  await hub.workflow.step('assess-1', 'fetch', { ...roster.identity, status: 'completed', attempt, result: { students: 30 } });
  await assert.rejects(hub.workflow.claim('assess-1', 'grade', roster.identity), { status: 409, type: 'step-belongs-elsewhere' });
  await hub.workflow.step('assess-1', 'grade', { status: 'completed' });

  const seen = [(await next).value, ...(await take(events, 6))];
  assert.deepEqual(seen.map(({ type }) => type), [
    'workflow_started',
    'workflow_step_started',
    'workflow_step_failed',
    'workflow_step_started',
    'workflow_step_completed',
    'workflow_step_completed',
    'workflow_completed',
  ]);
  const done = await hub.workflow.get('assess-1');
  assert.equal(done.status, 'completed');
  assert.deepEqual(done.steps[0].result, { students: 30 });

  await hub.workflow.start({ id: 'w2', name: 'Two', steps: ['only'] });
  assert.equal((await hub.workflow.fail('w2', { error: 'no' })).status, 'failed');
  await hub.workflow.start({ id: 'w3', name: 'Three', steps: ['only'] });
  assert.equal((await hub.workflow.cancel('w3', 'not today')).reason, 'cancelled');
  await hub.workflow.start({ id: 'w4', name: 'Four' });
  assert.equal((await hub.workflow.complete('w4', [{ step: 'x', status: 'completed' }])).status, 'completed');
  assert.equal((await hub.workflow.list({ status: 'failed' })).workflows.length, 2);
  await roster.close();
  events.close();
});

test('a snapshot and every change after it', withHub, async (t) => {
  const { url } = await startHub(t);
  const hub = new Hub(url);
  const servers = await Promise.all(Array.from({ length: 20 }, (_, n) => hub.register({ id: `s${n}`, name: `S${n}`, transport: 'stdio' })));
  let snapshot;
  const events = hub.events({ snapshot: true, type: 'pattern_*', onSnapshot: (state) => (snapshot = state) });
  const next = events.next();
  await eventually(() => snapshot, 'the snapshot');
  assert.equal(snapshot.servers.length, 20);
  assert.equal((await hub.getSnapshot()).id, snapshot.id);
  await hub.setPattern('shared_resources', { enabled: true });
  assert.equal((await next).value.data.pattern.name, 'shared_resources');
  assert.ok((await hub.listPatterns()).some(({ name, enabled }) => name === 'shared_resources' && enabled));
  events.close();
  await Promise.all(servers.map((server) => server.close()));
});

test('an unknown place is a gap, a bad query an error', withHub, async (t) => {
  const { url } = await startHub(t);
  const hub = new Hub(url);
  await hub.emit([{ type: 'custom_a', data: {} }, { type: 'custom_b', data: {} }]);
  let gap;
  const events = hub.events({ lastEventId: 'no-such-1', onGap: (told) => (gap = told) });
  await take(events, 1);
  assert.ok(['malformed', 'unknown_log'].includes(gap.reason), gap.reason);
  events.close();
  await assert.rejects(hub.events({ type: 'server_conected' }).next(), (error) => error.status === 400 && /server_connected/.test(error.message));
  await assert.rejects(hub.emit([{ type: 'custom_a', data: {} }, { type: 'Not A Type', data: {} }]), (error) => error.status >= 400 && error.status < 500);
  await assert.rejects(hub.getServer('nobody'), { status: 404 });
});

test('the example prints the mission, through a restart', { ...withHub, timeout: 60_000 }, async (t) => {
  const process = await startHub(t);
  const example = fileURLToPath(new URL('../../../examples/integration-manager.mjs', import.meta.url));
  const child = spawn(globalThis.process.execPath, [example], { env: { TIMEBACK_EVENTS_URL: process.url }, stdio: ['ignore', 'pipe', 'ignore'] });
  t.after(() => child.kill());
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const line = async () => (await lines.next()).value;

  const hub = new Hub(process.url);
  await eventually(async () => (await hub.getStatus()).sseClients === 1, 'the listener');
  const server = await hub.register(lms);
  assert.equal(await line(), 'New server connected: LMS');
  await process.kill('SIGKILL');
  await process.start();
  await hub.workflow.start({ id: 'w1', name: 'One', steps: ['only'] });
  await hub.workflow.step('w1', 'only', { status: 'completed' });
  await server.close();
  assert.equal(await line(), 'Workflow w1 completed successfully');
  assert.equal(await line(), 'Server disconnected: lms-server-001');
});
