// Calls and registrations on a bad day, against a hub that follows a script.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Hub, HubError } from '../index.mjs';
import { answer, eventually, startScript } from './support.mjs';

const registered = (response, heartbeatIntervalMs) => answer(response, 201, { id: 'lms', health: 'healthy', heartbeatIntervalMs });
const lms = { id: 'lms', name: 'LMS', transport: 'stdio' };

test('a call keeps its key through every kind of passing trouble', async (t) => {
  const { url, requests } = await startScript(t, (request, response, n) => {
    if (n === 1) return response.destroy();
    if (n === 2) return answer(response, 503, { type: 'draining', title: 'draining' }, { 'retry-after': '0' });
    if (n === 3) return response.writeHead(202, { 'content-length': 100 }).write('{"ids"', () => response.destroy());
    if (n === 4) return; // never answered
    answer(response, 202, { ids: ['e-1'] });
  });
  const hub = new Hub(url, { retryMs: 5, timeoutMs: 200 });
  assert.deepEqual(await hub.emit({ type: 'grades.synced', data: { count: 1 } }), ['e-1']);
  const keys = new Set(requests.map(({ headers }) => headers['idempotency-key']));
  assert.equal(requests.length, 5);
  assert.equal(keys.size, 1);
  await hub.emit({ type: 'grades.synced' }, { idempotencyKey: 'mine' });
  assert.equal(requests.at(-1).headers['idempotency-key'], 'mine');
});

test('what the hub refuses is not asked again', async (t) => {
  const { url, requests } = await startScript(t, (request, response) =>
    answer(response, 409, { type: 'step-not-ready', title: 'not ready', detail: 'it waits for roster', step: { id: 'grade', status: 'pending' } }),
  );
  await assert.rejects(new Hub(url).workflow.claim('w', 'grade', { serverId: 'lms' }), (error) => {
    assert.ok(error instanceof HubError);
    assert.equal(error.retryable, false);
    assert.equal(error.problem.step.status, 'pending');
    return true;
  });
  assert.equal(requests.length, 1);
  assert.equal(requests[0].url, '/workflows/w/steps/grade');
  assert.deepEqual(requests[0].body, { serverId: 'lms', status: 'running' });
});

test('waits as long as Retry-After says, and not at all for what is switched off', async (t) => {
  const { url, requests } = await startScript(t, (request, response, n) => {
    if (n === 1) return answer(response, 503, { type: 'draining' }, { 'retry-after': '1' });
    if (n === 2) return answer(response, 200, { status: 'healthy' });
    answer(response, 503, { type: 'integration-disabled', title: 'disabled' });
  });
  const hub = new Hub(url);
  const start = Date.now();
  await hub.getStatus();
  assert.ok(Date.now() - start >= 999);
  await assert.rejects(hub.getStatus(), { type: 'integration-disabled' });
  assert.equal(requests.length, 3);
});

test('an unreachable hub is a HubError with status 0, after the retries', async () => {
  const hub = new Hub('http://127.0.0.1:9', { retryMs: 1, retries: 2 });
  await assert.rejects(hub.getStatus(), { name: 'HubError', status: 0, type: 'unreachable' });
});

test('an abort ends a call with its own reason', async (t) => {
  const { url } = await startScript(t, () => {});
  const abort = new AbortController();
  const call = new Hub(url).steps({ serverId: 'lms', wait: '30s', signal: abort.signal });
  setTimeout(() => abort.abort(new Error('enough')), 20);
  await assert.rejects(call, /^Error: enough$/);
});

test('pages through history', async (t) => {
  const { url, requests } = await startScript(t, (request, response, n) =>
    answer(response, 200, { events: [{ sequence: n }], nextCursor: n < 3 ? `c${n}` : null }),
  );
  const sequences = [];
  for await (const { sequence } of new Hub(url).history({ type: 'server_*', since: new Date(5), limit: 1 })) sequences.push(sequence);
  assert.deepEqual(sequences, [1, 2, 3]);
  assert.equal(requests[2].url, '/events/history?type=server_*&since=5&limit=1&cursor=c2');
});

test('registers again where the hub forgot it, and says again how it is', async (t) => {
  let forgotten = false;
  const { url, requests } = await startScript(t, (request, response) => {
    if (request.url === '/servers') return registered(response, 40);
    if (request.method === 'DELETE') return answer(response, 200, null);
    if (forgotten) {
      forgotten = false;
      return answer(response, 404, { type: 'server-not-registered' });
    }
    answer(response, 200, { health: 'degraded', heartbeatIntervalMs: 40 });
  });
  const server = await new Hub(url).register(lms);
  await server.heartbeat({ health: 'degraded', detail: 'slow disk' });
  assert.equal(server.state.health, 'degraded');
  forgotten = true;
  const registrations = await eventually(() => {
    const found = requests.filter(({ url }) => url === '/servers');
    return found.length === 2 && found;
  });
  assert.deepEqual(registrations[1].body, registrations[0].body);
  assert.equal(registrations[0].body.instanceId, server.identity.instanceId);
  await eventually(() => requests.at(-1).url.endsWith('/heartbeat'));
  assert.deepEqual(requests.at(-1).body, { health: 'degraded', detail: 'slow disk', instanceId: server.identity.instanceId });
  assert.equal(requests.at(-1).headers['idempotency-key'], undefined);
  await server.close('done');
  assert.equal(requests.at(-1).url, `/servers/lms?reason=done&instanceId=${server.identity.instanceId}`);
  assert.equal(await server.closed, 'deregistered');
  const count = requests.length;
  await new Promise((resolve) => setTimeout(resolve, 100));
  assert.equal(requests.length, count, 'a heartbeat after the end');
});

test('beats at the pace that the last answer named', async (t) => {
  const { url, requests } = await startScript(t, (request, response) => {
    if (request.url === '/servers') return registered(response, 20);
    answer(response, 200, { health: 'healthy', heartbeatIntervalMs: 60_000 });
  });
  await new Hub(url).register(lms);
  await eventually(() => requests.length === 2);
  await new Promise((resolve) => setTimeout(resolve, 100));
  assert.equal(requests.length, 2);
});

test('a replaced instance stops, and is over', async (t) => {
  const { url, requests } = await startScript(t, (request, response) => {
    if (request.url === '/servers') return registered(response, 20);
    answer(response, 409, { type: 'instance-replaced' });
  });
  const errors = [];
  const server = await new Hub(url, { onError: (error) => errors.push(error.type) }).register(lms);
  assert.equal(await server.closed, 'replaced');
  await server.close();
  await assert.rejects(server.update({ name: 'x' }), /is over/);
  assert.equal(requests.length, 2);
  assert.deepEqual(errors, ['instance-replaced']);
});

test('a heartbeat that fails is tried again within the interval, and told once', async (t) => {
  const { url, requests } = await startScript(t, (request, response, n) => {
    if (request.url === '/servers') return registered(response, 80);
    if (n < 5) return response.destroy();
    answer(response, 200, { health: 'healthy', heartbeatIntervalMs: 60_000 });
  });
  const errors = [];
  await new Hub(url).register(lms, { onError: (error) => errors.push(error.type) });
  await eventually(() => requests.length === 5);
  assert.deepEqual(errors, ['unreachable']);
});
