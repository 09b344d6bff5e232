// What the page says of a time, a number or a cause is so, or is called unknown.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Hub, launch, pill, quit, says, until, visit } from './support.mjs';

before(launch);
after(quit);

function journey(name, env, run) {
  test(name, { timeout: 60_000 }, async () => {
    const hub = await Hub.start(env);
    try {
      const visitor = await visit(hub);
      await run({ hub, ...visitor });
      await visitor.close();
    } finally {
      await hub.end();
    }
  });
}

const open = (hub, page, path) => page.goto(`${hub.url}/${path}`);
const drawer = (page) => page.locator('.drawer');

journey('the rate chart counts all of its five minutes, not what a page of history holds', {}, async ({ hub, page }) => {
  const many = (count) => hub.call('POST', '/events', Array.from({ length: count }, (_, mark) => ({ type: 'test.mark', data: { mark } })));
  await many(1000);
  await many(900);
  await open(hub, page, '#/events');
  await page.reload();
  await until('all are counted', async () => /^1,900 events/.test(await page.locator('.rate svg').getAttribute('aria-label')));
  assert.equal(await page.locator('.rate .unknown').count(), 0);
});

journey('what the stream did not tell is shaded, not zero', {}, async ({ hub, page }) => {
  await open(hub, page, '#/events');
  await hub.emit('test.mark');
  await says(page.locator('.feed-row'), 'test.mark');
  await until('all is known', async () => (await page.locator('.rate .unknown').count()) === 0);
  await hub.call('PUT', '/patterns/sse_integration', { enabled: false });
  await says(pill(page), 'Stream off');
  await says(page.locator('.rate-reach'), 'not all events');
  await page.getByRole('link', { name: /Integration/ }).click();
  await says(page.locator('.hint'), 'the stream is not live');
  assert.doesNotMatch(await page.locator('main').textContent(), /all else is live/);
});

journey('an open drawer follows the metrics, and says of when they are', {}, async ({ hub, page }) => {
  await hub.register('lms', { heartbeatIntervalMs: 1000 });
  const beat = (queue) => hub.heartbeat('lms', { metrics: { queue, ratio: 0.123456789 } });
  await beat(3);
  await open(hub, page, '#/servers/lms');
  await says(drawer(page).locator('h3'), /Metrics as of \d\d:\d\d:\d\d/);
  await says(drawer(page).locator('dd'), '0.123456789');
  const beats = setInterval(() => void beat(9007).catch(() => {}), 300);
  try {
    await says(drawer(page).locator('dd'), '9,007');
  } finally {
    clearInterval(beats);
  }
  await says(drawer(page).locator('.hint'), 'all else is live');
  await hub.call('PUT', '/patterns/sse_integration', { enabled: false });
  await says(drawer(page).locator('.hint'), 'the stream is not live');
});

journey('a server that flaps has a past while it is well', { INTEGRATION_HEARTBEAT_RECOVER_AFTER: '1' }, async ({ hub, page }) => {
  await hub.register('lms', { heartbeatIntervalMs: 60_000 });
  await open(hub, page, '#/servers/lms');
  await says(drawer(page).locator('.verdict'), 'nothing was wrong since it connected');
  for (const detail of ['the queue is full', 'the disk is slow']) {
    await hub.heartbeat('lms', { health: 'degraded', detail });
    await says(drawer(page).locator('.verdict'), /degraded/i);
    await until('it is well', async () => (await hub.heartbeat('lms', { health: 'healthy' })).health === 'healthy');
    await says(drawer(page).locator('.verdict'), 'Healthy');
  }
  await says(drawer(page).locator('.verdict'), /Ill 2 times in the last hour, last .*: the disk is slow/);
  await says(page.locator('[data-row] .c-why'), 'Ill 2 times');
});

journey('one that registers again while it is ill says since when and why', { INTEGRATION_HEARTBEAT_DISCONNECT_AFTER: '300' }, async ({ hub, page }) => {
  const register = () => hub.register('lms', { heartbeatIntervalMs: 300 });
  await register();
  await open(hub, page, '#/servers/lms');
  await says(drawer(page).locator('.verdict'), 'Unhealthy');
  await register();
  await says(drawer(page).locator('.verdict'), /Unhealthy since .*; then: .*missed/);
});

journey('of one that is gone no missed heartbeats are counted', { INTEGRATION_HEARTBEAT_DISCONNECT_AFTER: '5' }, async ({ hub, page }) => {
  await hub.register('lms', { heartbeatIntervalMs: 200 });
  await open(hub, page, '#/servers/lms');
  await says(drawer(page).locator('.verdict'), 'Lost');
  assert.doesNotMatch(await drawer(page).locator('.facts').first().textContent(), /missed/);
  await says(page.getByRole('button', { name: /^Lost/ }), '1');
});

journey('a step that was cut short, and a workflow that was cancelled, have not failed', {}, async ({ hub, page }) => {
  await hub.call('POST', '/workflows', { id: 'bad', name: 'Bad', steps: ['load', 'check', { id: 'end', dependsOn: ['check'] }] });
  await hub.step('bad', 'check', { status: 'running', serverId: 'lms' });
  await hub.step('bad', 'load', { status: 'failed', error: 'disk is full' });
  await hub.call('POST', '/workflows', { id: 'stopped', name: 'Stopped', steps: ['x'] });
  await hub.step('stopped', 'x', { status: 'running', serverId: 'lms' });
  await hub.call('POST', '/workflows/stopped/cancel', { reason: 'not today' });
  for (const fresh of [false, true]) {
    await open(hub, page, '#/workflows/bad');
    if (fresh) await page.reload();
    await says(page.locator('.node.failed'), 'load');
    await says(page.locator('.node.aborted'), 'check');
    await says(page.locator('.node.skipped'), 'not run');
    assert.deepEqual([await page.locator('.bar.failed').count(), await page.locator('.bar.aborted').count()], [1, 1]);
    assert.match(await page.locator('.page-head .progress').getAttribute('aria-label'), /1 failed, 1 cut short, 1 not run/);
    await open(hub, page, '#/workflows');
    await says(page.locator('.workflow-row.cancelled'), 'not today');
    await says(page.getByRole('button', { name: /^Failed/ }), '1');
    await says(page.getByRole('button', { name: /^Cancelled/ }), '1');
  }
});

journey("a server's instances are listed with whom they serve, and one that crashed stays in sight", {}, async ({ hub, page }) => {
  const register = (instanceId, pid) =>
    hub.call('POST', '/servers', { id: 'fs', name: 'Filesystem', transport: 'stdio', instances: 'many', instanceId, host: 'mac.local', pid, client: { name: 'Claude Desktop', version: '1.2' } });
  const leaves = (instanceId, why) => hub.call('DELETE', `/servers/fs?instanceId=${instanceId}&reason=${why}&expected=false`);
  await register('a1', 71);
  await register('b2', 72);
  await open(hub, page, '#/servers/fs');
  await says(drawer(page).locator('h3'), '2 instances');
  await says(drawer(page).locator('.instances li'), /a1.*for Claude Desktop 1.2 · on mac.local · process 71/s);
  await says(drawer(page).locator('.event-list'), 'Instance b2 connected (process 72 on mac.local for Claude Desktop 1.2), 2 instances now');
  await leaves('b2', 'crashed');
  await says(drawer(page).locator('.event-list'), 'Instance b2 was lost: crashed, 1 instance now');
  await says(drawer(page).locator('.instances li'), /b2.*lost.*Crashed/s);
  await says(drawer(page).locator('.verdict'), 'Healthy');
  await leaves('a1', 'killed');
  for (const fresh of [false, true]) {
    if (fresh) await page.reload();
    await says(drawer(page).locator('.verdict'), /Lost.*killed/is);
  }
});
