// Every page over events that are odd but legal: none may be blank, stand still, or be wrong about a digit.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import { Hub, launch, pill, quit, says, until, visit } from './support.mjs';

before(launch);
after(quit);

const read = async (name) => (await readFile(new URL(`../../../tests/${name}`, import.meta.url), 'utf8')).trim().split('\n');

/** Posts a body as it stands; whether the hub took it is the hub's affair. */
async function post(hub, body, headers = { 'content-type': 'application/json' }) {
  const response = await fetch(`${hub.url}/events`, { method: 'POST', headers, body });
  await response.arrayBuffer();
  return response.ok;
}

/** All of both corpora: the odd events, and the fuzzers' requests (headers, an empty line, a body of bytes). */
async function postAll(hub) {
  let taken = 0;
  for (const line of await read('odd-events.jsonl')) if (await post(hub, line)) taken += 1;
  await post(hub, JSON.stringify({ type: 'odd.huge', data: 'x'.repeat(200_000) }));
  for (const line of await read('corpus/events.jsonl')) {
    const [head, ...rest] = JSON.parse(line).split('\n\n');
    const [type, ...more] = head.split('\n');
    const headers = Object.fromEntries([['content-type', type], ...more.map((header) => header.split(': ', 2))].filter(([name, value]) => value && /^[\w-]+$/.test(name) && /^[\x20-\x7e]+$/.test(value)));
    if (await post(hub, Buffer.from(rest.join('\n\n'), 'latin1'), headers).catch(() => false)) taken += 1;
  }
  return taken;
}

const unshown = (page) => page.locator('.unshown, .empty[role="alert"]').allTextContents();

test('every page goes on over every event', { timeout: 180_000 }, async () => {
  const hub = await Hub.start();
  try {
    for (const id of ['lms', 'sis', 's']) await hub.register(id, { tags: { 'a‮b': 'c' }, metadata: 'no object', capabilities: { tools: ['t', { name: 'u', description: '‮' }], resources: [], prompts: [] } });
    await hub.call('POST', '/workflows', { id: 'w', name: 'W', steps: ['a', { id: 'b', dependsOn: ['a'] }] });
    const { page, close } = await visit(hub, '/#/events');
    await says(pill(page), 'Live');
    const taken = await postAll(hub);
    assert.ok(taken > 150, `${taken} were taken`);
    await hub.emit('odd.last', { seen: true });
    await says(page.locator('.feed-row'), 'odd.last');
    assert.deepEqual(await unshown(page), []);

    // The whole feed, row by row, and again as a page that reads it from history.
    for (const fresh of [false, true]) {
      if (fresh) await page.reload();
      await says(page.locator('.feed-row'), 'odd.last');
      await page.locator('.scroller').evaluate(async (element) => {
        for (let top = 0; top < element.scrollHeight; top += 400) {
          element.scrollTop = top;
          await new Promise(requestAnimationFrame);
          await new Promise(requestAnimationFrame);
        }
      });
      assert.deepEqual(await unshown(page), []);
    }
    await page.getByRole('searchbox', { name: 'Text' }).fill('Words');
    await says(page.locator('.feed-row'), 'odd.text');
    await page.getByRole('searchbox', { name: 'Workflow' }).fill('no such');
    await says(page.locator('.empty'), 'No event matches');

    // Every event's own drawer.
    const events = [];
    // A page ends early where its events are large.
    for (let next = ''; next !== null; ) {
      const page = await hub.call('GET', `/events/history?limit=1000${next && `&cursor=${encodeURIComponent(next)}`}`);
      events.push(...page.events);
      next = page.nextCursor;
    }
    // A CloudEvent that comes again is taken, and not appended.
    assert.ok(events.length > 150, `${events.length} were appended`);
    for (const { id, type } of events) {
      await page.evaluate((hash) => (location.hash = hash), `#/events/${id}`);
      await until(`${id} ${type} is shown`, () => page.evaluate((wanted) => [...document.querySelectorAll('.drawer .facts code')].some(({ textContent }) => textContent === wanted), id));
      assert.deepEqual(await unshown(page), [], `${id} ${type}`);
    }
    const { servers } = await hub.call('GET', '/servers');
    const { workflows } = await hub.call('GET', '/workflows');
    const paths = ['#/servers', '#/workflows', '#/integration', ...servers.map(({ id }) => `#/servers/${id}`), ...workflows.map(({ id }) => `#/workflows/${id}`), '#/servers/constructor', '#/workflows/__proto__', '#/events/%00'];
    for (const path of paths) {
      await page.goto(`${hub.url}/${path}`);
      await says(pill(page), 'Live');
      await page.locator('main h1, main .drawer').first().waitFor({ state: 'attached' });
      assert.deepEqual(await unshown(page), [], path);
    }
    await close();
  } finally {
    await hub.end();
  }
});

test('an id of 64 bits is the same in the row, in the drawer, in what is copied and in the state', { timeout: 60_000 }, async () => {
  const big = '4634343214213523454';
  const hub = await Hub.start();
  try {
    await post(hub, `{"type":"order.paid","data":{"orderId":${big}}}`);
    const put = (path, body) => fetch(hub.url + path, { method: 'POST', headers: { 'content-type': 'application/json' }, body });
    await put('/servers', `{"id":"lms","name":"LMS","transport":"http","metadata":{"row":${big}}}`);
    await put('/workflows', '{"id":"w","name":"W","steps":["a"]}');
    await put('/workflows/w/steps/a', `{"status":"completed","result":{"row":${big}}}`);
    const { page, context, close } = await visit(hub, '/#/events');
    await context.grantPermissions(['clipboard-read', 'clipboard-write']);
    await says(page.locator('.feed-row .summary'), `orderId=${big}`);
    await page.getByRole('searchbox', { name: 'Text' }).fill(big);
    await page.locator('.feed-row a').filter({ hasText: 'order.paid' }).click();
    await says(page.locator('.drawer .json'), big);
    await page.getByRole('button', { name: 'Copy JSON' }).click();
    await page.getByRole('button', { name: 'Copied' }).waitFor();
    assert.match(await page.evaluate(() => navigator.clipboard.readText()), new RegExp(`"orderId": ${big}`));
    await page.goto(`${hub.url}/#/servers/lms`);
    await says(page.locator('.drawer .json'), big);
    await page.goto(`${hub.url}/#/workflows/w`);
    await page.locator('.node').click();
    await says(page.locator('.side .json'), big);
    await close();
  } finally {
    await hub.end();
  }
});

test('a view that breaks names itself, and the others go on', { timeout: 60_000 }, async () => {
  const hub = await Hub.start();
  try {
    await hub.register('lms');
    await hub.heartbeat('lms', { health: 'degraded' });
    await hub.call('POST', '/workflows', { id: 'w', name: 'W', steps: ['a'] });
    // The page's own code is made to fail: whatever it may be wrong about some day.
    const broken = { prepare: 'const { toISOString } = Date.prototype; Date.prototype.toISOString = function () { if (location.hash.startsWith("#/integration")) throw new Error("made to fail"); return toISOString.call(this); };' };
    const { page, close } = await visit(hub, '/#/integration', broken);
    await says(page.locator('.empty[role="alert"]'), 'The integration can’t be shown');
    await says(page.locator('.empty[role="alert"]'), 'made to fail');
    await page.getByRole('link', { name: 'Workflows' }).click();
    await says(page.locator('.workflow-row'), 'W');
    await page.getByRole('link', { name: /^Fleet/ }).click();
    await says(page.locator('.fleet-table [data-row]'), 'LMS');
    await close();
  } finally {
    await hub.end();
  }
});
