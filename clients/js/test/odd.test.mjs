// Events that are odd but legal, frames that are neither, and numbers that a double rounds.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { ExactNumber, Hub, parseExact, stringifyExact } from '../index.mjs';
import { answer, event, opened, startHub, startScript, stream, take, withHub } from './support.mjs';

const lines = async (name) => (await readFile(new URL(`../../../tests/${name}`, import.meta.url), 'utf8')).trim().split('\n');

async function post(url, body, headers = { 'content-type': 'application/json' }) {
  const response = await fetch(`${url}/events`, { method: 'POST', headers, body });
  await response.arrayBuffer();
  return response.ok;
}

/** All of both corpora: the odd events, and the fuzzers' requests (headers, an empty line, a body of bytes). */
async function postAll(url) {
  let taken = 0;
  for (const line of await lines('odd-events.jsonl')) taken += await post(url, line);
  for (const line of await lines('corpus/events.jsonl')) {
    const [head, ...rest] = JSON.parse(line).split('\n\n');
    const [type, ...more] = head.split('\n');
    const named = [['content-type', type], ...more.map((header) => header.split(': ', 2))];
    const headers = Object.fromEntries(named.filter(([name, value]) => value && /^[\w-]+$/.test(name) && /^[\x20-\x7e]+$/.test(value)));
    taken += await post(url, Buffer.from(rest.join('\n\n'), 'latin1'), headers).catch(() => false);
  }
  return taken;
}

test('hands every event over as it came', { ...withHub, timeout: 120_000 }, async (t) => {
  const { url } = await startHub(t);
  assert.ok((await postAll(url)) > 100);
  const response = await fetch(`${url}/events/history?limit=1000`, { headers: { accept: 'application/x-ndjson' } });
  const stored = (await response.text()).trim().split('\n');
  for (const [exact, parse] of [[false, JSON.parse], [true, parseExact]]) {
    const hub = new Hub(url, { exact });
    const events = hub.events({ lastEventId: 'earliest', onError: assert.fail });
    assert.deepEqual(await take(events, stored.length), stored.map((line) => parse(line)));
    events.close();
    const paged = [];
    for await (const event of hub.history()) paged.push(event);
    assert.deepEqual(paged, stored.map((line) => parse(line)));
  }
});

test('a listener by type gets past any event', async (t) => {
  const { url } = await startScript(t, (request, response) =>
    stream(response, opened(), 'id: e-1\ndata: {}\n\n', 'id: e-2\ndata: {"type":5,"data":null}\n\n', event(3, 'server_instance_connected'), event(4)),
  );
  const hub = new Hub(url, { onError: assert.fail });
  let unsubscribe;
  const seen = await new Promise((resolve) => (unsubscribe = hub.addEventListener('grades.*', resolve)));
  unsubscribe();
  assert.equal(seen.sequence, 4);
});

test('a frame that is nothing of the hub\'s is skipped, but not in silence', async (t) => {
  const { url, requests } = await startScript(t, (request, response) =>
    stream(response, opened(), 'id: e-1\ndata: <html>\n\n', 'id: e-2\ndata: 5\n\n', 'data: null\n\n', 'event: stream_gap\ndata: [\n\n', 'event: news\ndata: {"a":1}\n\n', 'event: bookmark\nid: e-3\n\n', event(4)),
  );
  const errors = [];
  const events = new Hub(url).events({ onError: ({ type, detail }) => errors.push([type, detail]) });
  assert.equal((await take(events, 1))[0].sequence, 4);
  assert.deepEqual(errors.map(([type]) => type), Array(4).fill('unreadable-frame'));
  assert.equal(errors[0][1], 'its id is e-1');
  assert.equal(requests.length, 1);
  events.close();
});

test('a refusal that may pass is waited out, also by a proxy in the hub\'s place', async (t) => {
  const { url, requests } = await startScript(t, (request, response, n) => {
    if (n === 1) answer(response, 429, { type: 'rate-limited' });
    else if (n === 2 || n === 5) stream(response, opened(), event(n));
    else if (n === 3) answer(response, 500, { type: 'oops' });
    else answer(response, 200, 'maintenance');
    if (n === 2) response.end();
  });
  const events = new Hub(url, { retryMs: 5, maxRetryMs: 10 }).events();
  assert.deepEqual((await take(events, 2)).map(({ sequence }) => sequence), [2, 5]);
  assert.equal(requests.length, 5);
  events.close();
});

test('numbers keep all their digits where asked to, there and back', async (t) => {
  const data = '{"id":9007199254740993,"least":-9223372036854775808,"most":18446744073709551616,"fine":0.10000000000000000001,"huge":1e400,"plain":[1,2.5,1e3,-0],"text":"9007199254740993"}';
  const { url, requests } = await startScript(t, (request, response) => {
    if (request.method === 'POST') return answer(response, 202, { ids: ['e-1'] });
    stream(response, opened(), `id: e-1\ndata: {"id":"e-1","sequence":1,"type":"a.b","timestamp":0,"data":${data}}\n\n`);
  });
  const hub = new Hub(url, { exact: true });
  const events = hub.events();
  const [event] = await take(events, 1);
  events.close();
  assert.equal(event.sequence, 1);
  assert.equal(event.data.id, 9007199254740993n);
  assert.equal(event.data.least, -(2n ** 63n));
  assert.equal(event.data.most, 2n ** 64n);
  assert.ok(event.data.fine instanceof ExactNumber && event.data.huge instanceof ExactNumber);
  assert.equal(String(event.data.fine), '0.10000000000000000001');
  assert.deepEqual(event.data.plain, [1, 2.5, 1000, -0]);
  assert.equal(event.data.text, '9007199254740993');
  assert.equal(stringifyExact(event.data), data.replace('1e3,-0', '1000,0'));
  await hub.emit({ type: 'a.b', data: event.data });
  assert.equal(requests.at(-1).text, stringifyExact({ type: 'a.b', data: event.data }));
});

test('exact JSON takes no text for a number', () => {
  for (const text of ['{"exact number 0:1":"exact number 0:9007199254740993","b":9007199254740993}', '"\\"9007199254740993"', '["a\\\\",9007199254740993]', '{"9007199254740993":1}', '[]', '0', '123456789012345678901234567890']) {
    assert.equal(stringifyExact(parseExact(text)), text);
  }
  assert.equal(stringifyExact({ a: [1n, undefined], b: undefined, c: new Date(0) }), '{"a":[1,null],"c":"1970-01-01T00:00:00.000Z"}');
  assert.throws(() => parseExact('{"a":}'), SyntaxError);
  assert.throws(() => new ExactNumber('1e'), TypeError);
});

test('ids that a path can\'t hold are refused before they become another path', async (t) => {
  const { url, requests } = await startScript(t, (request, response) => answer(response, 200, {}));
  const hub = new Hub(url);
  for (const call of [() => hub.getServer('..'), () => hub.workflow.get('.'), () => hub.getEvent('..')]) await assert.rejects(async () => call(), TypeError);
  await hub.getServer('a/b?c#d');
  assert.deepEqual(requests.map(({ url }) => url), ['/servers/a%2Fb%3Fc%23d']);
});
