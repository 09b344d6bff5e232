// What a stream does on a bad day, against a hub that follows a script.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Hub, HubError } from '../index.mjs';
import { answer, event, eventually, opened, startScript, stream, take } from './support.mjs';

test('resumes after the last finished event when the line breaks in the middle of one', async (t) => {
  const { url, requests } = await startScript(t, (request, response, n) => {
    if (n === 1) {
      stream(response, opened(), event(1), event(2).slice(0, -1));
      setTimeout(() => response.destroy(), 20);
    } else {
      stream(response, opened({ verdict: 'resumed' }), event(2));
    }
  });
  const events = new Hub(url).events({ type: ['grades.*', 'server_*'], tag: 'region:eu', replay: 5 });
  assert.deepEqual((await take(events, 2)).map((e) => e.sequence), [1, 2]);
  assert.equal(events.lastEventId, 'e-2');
  assert.equal(requests[0].headers['last-event-id'], undefined);
  assert.equal(requests[1].headers['last-event-id'], 'e-1');
  assert.equal(requests[0].url, '/events?type=grades.*&type=server_*&tag=region%3Aeu&replay=5&format=message');
  assert.equal(requests[1].url, requests[0].url);
  events.close();
});

test('a bookmark moves the place without being an event', async (t) => {
  const { url, requests } = await startScript(t, (request, response, n) => {
    stream(response, opened(), n === 1 ? 'id: e-41\nevent: bookmark\ndata: {"headId":"e-41"}\n\n' : event(42));
    if (n === 1) response.end();
  });
  const events = new Hub(url).events();
  assert.equal((await take(events, 1))[0].sequence, 42);
  assert.equal(requests[1].headers['last-event-id'], 'e-41');
  events.close();
});

test('comes back when a closing hub said to, and says why it closed', async (t) => {
  const { url, requests } = await startScript(t, (request, response, n) => {
    if (n > 1) return stream(response, opened(), event(1));
    stream(response, 'retry: 300\nevent: stream_closing\ndata: {"reason":"busy"}\n\n');
    response.end();
  });
  const told = [];
  const events = new Hub(url).events({ onClosing: (closing) => told.push(closing), onRetry: (retry) => told.push(retry) });
  const start = Date.now();
  await take(events, 1);
  assert.ok(Date.now() - start >= 299, `returned after ${Date.now() - start} ms`);
  assert.deepEqual(told, [{ reason: 'busy' }, { error: undefined, attempt: 1, delayMs: 300 }]);
  assert.equal(requests.length, 2);
  events.close();
});

test('tells a gap, whether the stream opens with it or meets it', async (t) => {
  const { url } = await startScript(t, (request, response) =>
    stream(
      response,
      opened({ verdict: 'gap', reason: 'expired', requestedId: 'e-0', oldestId: 'e-7' }),
      event(7),
      'id: e-8\nevent: stream_gap\ndata: {"reason":"corrupt","afterId":"e-7","nextId":"e-9"}\n\n',
      event(9),
    ),
  );
  const told = [];
  const events = new Hub(url).events({ lastEventId: 'e-0', onVerdict: ({ verdict }) => told.push(verdict), onGap: (gap) => told.push(gap) });
  for (const { sequence } of await take(events, 2)) told.push(sequence);
  assert.deepEqual(told.slice(0, 3), ['gap', { reason: 'expired', afterId: 'e-0', nextId: 'e-7' }, { reason: 'corrupt', afterId: 'e-7', nextId: 'e-9' }]);
  events.close();
});

test('leaves a line on which even the bookmarks stopped', async (t) => {
  const { url, requests } = await startScript(t, (request, response, n) => {
    stream(response, opened({ keepAliveMs: 10 }), event(n));
  });
  const events = new Hub(url).events();
  await take(events, 2);
  assert.equal(requests[1].headers['last-event-id'], 'e-1');
  events.close();
});

test('joins a snapshot that comes in parts, and asks again where it was cut off', async (t) => {
  const part = (n, servers, id = '') => `${id}event: snapshot\ndata: ${JSON.stringify({ part: n, parts: 2, status: 'healthy', servers })}\n\n`;
  const { url } = await startScript(t, (request, response, n) => {
    const head = 'retry: 10\nevent: stream_opened\ndata: {"verdict":"live","keepAliveMs":15000}\n\n';
    stream(response, head, part(1, ['a']));
    if (n === 1) return setTimeout(() => response.destroy(), 20);
    response.write(part(2, ['b'], 'id: e-5\n') + event(6));
  });
  const snapshots = [];
  const events = new Hub(url).events({ snapshot: true, onSnapshot: (snapshot) => snapshots.push(snapshot) });
  await take(events, 1);
  assert.deepEqual(snapshots, [{ status: 'healthy', servers: ['a', 'b'] }]);
  events.close();
});

test('waits out a hub that is away, longer each time', async (t) => {
  const { url } = await startScript(t, (request, response, n) => {
    if (n < 4) return answer(response, 503, { type: 'not-ready', title: 'loading' });
    stream(response, opened(), event(1));
  });
  const delays = [];
  const events = new Hub(url, { retryMs: 10 }).events({ onRetry: ({ delayMs }) => delays.push(delayMs) });
  await take(events, 1);
  assert.equal(delays.length, 3);
  assert.ok(delays[0] >= 10 && delays[1] >= 20 && delays[2] >= 40, String(delays));
  events.close();
});

test('gives up, with the problem, where no patience helps', async (t) => {
  const problem = { type: 'unknown-type', title: 'unknown type', detail: 'did you mean server_connected?' };
  const { url, requests } = await startScript(t, (request, response) => answer(response, 400, problem));
  await assert.rejects(new Hub(url).events({ type: 'server_conected' }).next(), (error) => {
    assert.ok(error instanceof HubError);
    assert.equal(error.status, 400);
    assert.equal(error.type, 'unknown-type');
    assert.equal(error.message, 'unknown type: did you mean server_connected?');
    return true;
  });
  assert.equal(requests.length, 1);
});

test('a page that is no stream is an error, not silence', async (t) => {
  const { url } = await startScript(t, (request, response) => answer(response, 200, 'sign in'));
  await assert.rejects(new Hub(url).events().next(), { type: 'not-a-stream' });
});

test('break, close and an abort end the connection', async (t) => {
  const closed = [];
  const { url } = await startScript(t, (request, response, n) => {
    response.on('close', () => closed.push(n));
    stream(response, opened(), event(1), event(2));
  });
  const hub = new Hub(url);

  for await (const { sequence } of hub.events()) if (sequence === 1) break;
  await eventually(() => closed.includes(1));

  const waiting = hub.events();
  await take(waiting, 2);
  const next = waiting.next();
  waiting.close();
  assert.deepEqual(await next, { value: undefined, done: true });
  await eventually(() => closed.includes(2));

  const abort = new AbortController();
  for await (const { sequence } of hub.events({ signal: abort.signal })) if (sequence === 2) abort.abort();
  await eventually(() => closed.includes(3));

  assert.deepEqual(await hub.events({ signal: AbortSignal.abort() }).next(), { value: undefined, done: true });
});

test('listeners share one stream, by type or for all, and one that throws harms nobody', async (t) => {
  const closed = [];
  const { url, requests } = await startScript(t, (request, response, n) => {
    response.on('close', () => closed.push(n));
    stream(response, opened(), event(1), event(2, 'server_updated'), event(3, 'custom_x'));
  });
  const [all, updates, prefixed, errors] = [[], [], [], []];
  const hub = new Hub(url, { onError: (error) => errors.push(error.message) });
  const off = [
    hub.addEventListener((event) => {
      throw new Error(`on ${event.sequence}`);
    }),
    hub.addEventListener((event) => all.push(event.sequence)),
    hub.addEventListener('server_updated', (event) => updates.push(event.sequence)),
    hub.addEventListener(['grades.*', 'custom_x'], (event) => prefixed.push(event.sequence)),
  ];
  await eventually(() => all.length === 3);
  assert.deepEqual([updates, prefixed], [[2], [1, 3]]);
  assert.deepEqual(errors, ['on 1', 'on 2', 'on 3']);
  assert.equal(requests.length, 1);
  off.forEach((unsubscribe) => unsubscribe());
  await eventually(() => closed.length === 1);
});

test('asks for the token anew for every connection', async (t) => {
  let issued = 0;
  const { url, requests } = await startScript(t, (request, response, n) => {
    stream(response, opened(), event(n), 'retry: 1\nevent: stream_closing\ndata: {"reason":"credentials_expired"}\n\n');
    response.end();
  });
  const events = new Hub(url, { token: async () => `token-${++issued}` }).events();
  await take(events, 2);
  assert.deepEqual(requests.slice(0, 2).map(({ headers }) => headers.authorization), ['Bearer token-1', 'Bearer token-2']);
  events.close();
});
