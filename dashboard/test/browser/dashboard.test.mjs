import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import { Hub, launch, pill, quit, says, until, visit } from './support.mjs';

before(launch);
after(quit);

/** Runs a test with a hub and a page of its own, and cleans up whatever happens. */
function journey(name, { env, path, ...options }, run) {
  test(name, { timeout: 60_000 }, async () => {
    const hub = await Hub.start(env);
    try {
      const visitor = await visit(hub, path, options);
      await run({ hub, ...visitor });
      await visitor.close();
    } finally {
      await hub.end();
    }
  });
}

journey('first start: the page says what to do, and doing it works', {}, async ({ hub, page }) => {
  await says(pill(page), 'Live');
  await page.getByRole('heading', { name: 'No server has registered yet' }).waitFor();
  const line = await page.locator('.code pre').textContent();
  assert.ok(line.includes(`${hub.url}/servers`), line);
  await promisify(execFile)('sh', ['-c', line]);
  await page.getByRole('link', { name: 'LMS' }).waitFor();
  await page.getByRole('link', { name: 'Live feed' }).click();
  await says(page.locator('.feed-row'), 'server_connected');
});

journey('a server goes ill and well, and the page says why', {}, async ({ hub, page }) => {
  await hub.register('lms', { heartbeatIntervalMs: 800, tags: { env: 'prod' } });
  const row = page.locator('.fleet-table [data-row]');
  await says(row, 'Healthy');
  await says(row, 'Degraded');
  await until('evidence in words', async () => /heartbeat/i.test(await row.locator('.c-why').textContent()));
  await says(row, 'Unhealthy');
  await page.getByRole('link', { name: /Integration/ }).click();
  await says(page.locator('.overall'), 'Unhealthy');
  await page.getByRole('link', { name: /^Fleet/ }).click();
  const beats = setInterval(() => void hub.heartbeat('lms').catch(() => {}), 250);
  try {
    await says(row, 'Healthy');
    assert.match(await row.locator('.strip').getAttribute('aria-label'), /unhealthy/);
    await hub.heartbeat('lms', { health: 'degraded', detail: 'The queue is full' });
    await says(row.locator('.c-why'), 'The queue is full');
  } finally {
    clearInterval(beats);
  }
  await hub.call('DELETE', '/servers/lms?reason=upgrade');
  await says(row, 'Disconnected');
  await says(row.locator('.c-why'), 'upgrade');
});

journey('a workflow runs to its end, attempts and all', { path: '/#/workflows' }, async ({ hub, page }) => {
  await says(page.locator('.empty'), 'No workflow has run yet');
  await hub.register('sis');
  await hub.register('lms');
  const steps = [{ id: 'fetch', retries: 1 }, { id: 'grade', dependsOn: ['fetch'] }, { id: 'publish', dependsOn: ['grade'] }];
  await hub.call('POST', '/workflows', { id: 'grades-1', name: 'Grade sync', steps });
  await page.getByRole('link', { name: /Grade sync running/ }).click();
  const node = (id) => page.locator('.node', { has: page.locator('.node-name', { hasText: id }) });
  assert.match(await node('grade').textContent(), /pending, after fetch/);
  const first = await hub.step('grades-1', 'fetch', { status: 'running', serverId: 'sis' });
  await says(page.locator('.node.running'), 'fetch');
  await hub.step('grades-1', 'fetch', { status: 'failed', serverId: 'sis', attempt: first.attempt, error: 'the roster is locked' });
  const second = await hub.step('grades-1', 'fetch', { status: 'running', serverId: 'lms' });
  await hub.step('grades-1', 'fetch', { status: 'completed', serverId: 'lms', attempt: second.attempt, result: { rows: 28 } });
  await says(page.locator('.node.ready'), 'grade');
  assert.deepEqual(await page.locator('.lane-name').allTextContents(), ['SIS', 'LMS']);
  assert.equal(await page.locator('.bar.failed').count(), 1);
  await node('fetch').click();
  await says(page.locator('.attempts'), 'the roster is locked');
  await says(page.locator('.side .json'), '28');
  for (const id of ['grade', 'publish']) await hub.step('grades-1', id, { status: 'completed', serverId: 'lms' });
  await says(page.locator('.page-head .status-word'), 'Completed');
  await says(page.locator('.progress-text'), '3/3');
});

journey('a failed step and its error are one click away', { path: '/#/workflows' }, async ({ hub, page }) => {
  await hub.call('POST', '/workflows', { id: 'w', name: 'Nightly import', steps: ['load', 'check'] });
  await hub.step('w', 'load', { status: 'failed', error: 'disk is full' });
  await says(page.locator('.workflow-row.failed'), 'disk is full');
  await page.getByRole('link', { name: /Nightly import failed/ }).click();
  await says(page.locator('.failure'), 'disk is full');
  await page.getByRole('button', { name: 'Show the step' }).click();
  await says(page.locator('.side .error-text'), 'disk is full');
});

journey('a thousand servers stay smooth', {}, async ({ hub, page }) => {
  const ids = Array.from({ length: 1000 }, (_, index) => `server-${String(index).padStart(4, '0')}`);
  for (let at = 0; at < ids.length; at += 50) {
    await Promise.all(ids.slice(at, at + 50).map((id, index) => hub.register(id, { tags: { zone: `z${index % 5}` } })));
  }
  await says(page.getByRole('button', { name: /^All/ }), '1,000');
  const rows = page.locator('.fleet-table [data-row]');
  assert.ok((await rows.count()) < 60, 'only what is in sight is drawn');
  assert.equal(await page.locator('.fleet-table').getAttribute('aria-rowcount'), '1001');

  // A busy hub while somebody scrolls and searches: no task may hold the page for long.
  await page.evaluate(() => {
    window.longest = 0;
    new PerformanceObserver((list) => list.getEntries().forEach((entry) => (window.longest = Math.max(window.longest, entry.duration)))).observe({ type: 'longtask' });
  });
  const busy = hub.call('POST', '/events', ids.map((serverId) => ({ type: 'grades.synced', serverId, data: {} })));
  await page.locator('.scroller').evaluate(async (element) => {
    for (let top = 0; top < element.scrollHeight; top += 2_000) {
      element.scrollTop = top;
      await new Promise(requestAnimationFrame);
    }
    element.scrollTop = element.scrollHeight;
  });
  await page.getByRole('link', { name: 'SERVER-0999' }).waitFor();
  await page.getByRole('searchbox', { name: 'Search servers' }).fill('server-0500');
  await until('one row is left', async () => (await rows.count()) === 1);
  await busy;
  const longest = await page.evaluate(() => window.longest);
  assert.ok(longest < 500, `the longest task took ${longest} ms`);
});

journey('arrow keys walk the fleet, Enter opens, Escape goes back', {}, async ({ hub, page }) => {
  for (const id of ['a', 'b', 'c']) await hub.register(id);
  await page.getByRole('link', { name: 'A', exact: true }).focus();
  await page.keyboard.press('ArrowDown');
  await page.keyboard.press('ArrowDown');
  await until('the third is focused', () => page.evaluate(() => document.activeElement.textContent === 'C'));
  await page.keyboard.press('Enter');
  await page.getByRole('dialog', { name: 'C' }).waitFor();
  assert.match(page.url(), /#\/servers\/c$/);
  await page.keyboard.press('Escape');
  await until('the focus is back', () => page.evaluate(() => document.activeElement.textContent === 'C'));
});

journey('a hub restart while the page is open loses nothing', { path: '/#/events' }, async ({ hub, page }) => {
  await hub.register('lms');
  await hub.emit('test.mark', { mark: 'before' });
  await says(page.locator('.feed-row'), 'before');
  await hub.stop();
  await until('the page knows', async () => /restarting|Reconnecting/.test(await pill(page).textContent()));
  await hub.start();
  for (let mark = 1; mark <= 20; mark += 1) await hub.emit('test.mark', { mark: `after-${mark}` });
  await says(pill(page), 'Resumed');
  await says(page.locator('.feed-row'), 'after-20');
  const shown = await page.locator('.feed-row .summary').allTextContents();
  const marks = shown.flatMap((text) => /^mark=(.*)$/.exec(text)?.[1] ?? []).reverse();
  assert.deepEqual(marks, ['before', ...Array.from({ length: 20 }, (_, index) => `after-${index + 1}`)]);
  assert.equal(await page.locator('.banner').count(), 0);
  await page.getByRole('link', { name: /^Fleet/ }).click();
  await says(page.locator('.fleet-table [data-row]'), 'LMS');
});

journey('a gap is told, and the state is fresh after it', {}, async ({ hub, page }) => {
  await hub.register('old');
  await page.getByRole('link', { name: 'OLD' }).waitFor();
  await hub.stop();
  await hub.wipe();
  await hub.start();
  await hub.register('new');
  await says(page.locator('.banner'), 'the hub now serves another log');
  await says(pill(page), 'Live, after a gap');
  await page.getByRole('link', { name: 'NEW' }).waitFor();
  assert.equal(await page.getByRole('link', { name: 'OLD' }).count(), 0);
  await page.getByRole('button', { name: 'Understood' }).click();
  await until('the banner is gone', async () => (await page.locator('.banner').count()) === 0);
  await says(pill(page), 'Live');
});

journey('a silent connection is called stale, and live again when it speaks', { env: { INTEGRATION_SSE_KEEPALIVE_MS: '1500' } }, async ({ hub, page }) => {
  await says(pill(page), 'Live');
  hub.signal('SIGSTOP');
  await says(pill(page), 'Stale');
  hub.signal('SIGCONT');
  await says(pill(page), 'Live');
});

journey('pausing loses nothing', { path: '/#/events' }, async ({ hub, page }) => {
  await hub.emit('test.mark', { mark: 'first' });
  await says(page.locator('.feed-row'), 'first');
  await page.getByRole('button', { name: 'Pause' }).click();
  await hub.call('POST', '/events', Array.from({ length: 300 }, (_, mark) => ({ type: 'test.mark', data: { mark } })));
  await page.getByRole('button', { name: 'Resume · 300 waiting' }).waitFor();
  assert.equal(await page.locator('.feed-row').filter({ hasText: 'mark=299' }).count(), 0);
  await page.getByRole('button', { name: /^Resume/ }).click();
  await says(page.locator('.feed-row'), 'mark=299');
  await page.getByRole('searchbox', { name: 'Text' }).fill('"mark":7}');
  await until('the text filter found it', async () => (await page.locator('.feed-row').count()) === 1);
  await page.locator('.feed-row a').click();
  await says(page.locator('.drawer .json'), 'test.mark');
});

journey('a deep link to an event that the page does not hold asks the hub', { path: '/#/integration' }, async ({ hub, page }) => {
  const { ids } = await hub.emit('test.mark', { mark: 'deep' });
  await page.goto(`${hub.url}/#/events/${ids[0]}`);
  await says(page.locator('.drawer .json'), 'deep');
});

journey('history is replayed from a time on', { path: '/#/events' }, async ({ hub, page }) => {
  await hub.call('POST', '/events', Array.from({ length: 1000 }, (_, mark) => ({ type: 'test.mark', data: { mark } })));
  await hub.call('POST', '/events', Array.from({ length: 500 }, (_, mark) => ({ type: 'test.later', data: { mark } })));
  await page.reload();
  await page.getByRole('combobox', { name: 'Replay from a time' }).selectOption('5');
  await says(page.locator('.notice'), /Replayed from .* 1,5\d\d events from history, live since/);
});

journey('patterns switch, even the one that carries the stream', { path: '/#/integration' }, async ({ page }) => {
  const chaining = page.getByRole('switch', { name: /Server chaining/ });
  assert.equal(await chaining.isChecked(), false);
  await chaining.click();
  await until('it is on', () => chaining.isChecked());
  const stream = page.getByRole('switch', { name: /SSE integration/ });
  await stream.click();
  await says(pill(page), 'Stream off');
  await page.reload();
  await says(pill(page), 'Stream off');
  await until('the switch is off', async () => !(await stream.isChecked()));
  await stream.click();
  await says(pill(page), 'Live');
});

journey('all tabs share one connection', {}, async ({ hub, page, context }) => {
  await says(pill(page), 'Live');
  const second = await context.newPage();
  await second.goto(hub.url);
  await says(pill(second), 'Live');
  assert.equal((await hub.call('GET', '/status')).sseClients, 1);
  await pill(page).click();
  await says(page.locator('.popover'), 'one connection for 2 tabs');
  await hub.register('lms');
  await page.getByRole('link', { name: 'LMS' }).waitFor();
  await second.getByRole('link', { name: 'LMS' }).waitFor();
});

journey('without shared workers the page connects by itself', { prepare: 'delete globalThis.SharedWorker' }, async ({ hub, page }) => {
  await says(pill(page), 'Live');
  await pill(page).click();
  await says(page.locator('.popover'), 'this tab has its own connection');
  await hub.register('lms');
  await page.getByRole('link', { name: 'LMS' }).waitFor();
});

/** A hub with something of everything. */
async function furnish(hub) {
  await hub.register('lms', { tags: { env: 'prod' }, metadata: { owner: 'platform' } });
  await hub.register('sis', { name: 'Student records', transport: 'stdio' });
  await hub.heartbeat('sis', { health: 'degraded', detail: 'Replica lag is 40 s' });
  await hub.call('POST', '/workflows', { id: 'ok', name: 'Grade sync', steps: [{ id: 'fetch' }, { id: 'grade', dependsOn: ['fetch'] }] });
  await hub.step('ok', 'fetch', { status: 'running', serverId: 'lms' });
  await hub.call('POST', '/workflows', { id: 'bad', name: 'Import', steps: ['load'] });
  await hub.step('bad', 'load', { status: 'failed', serverId: 'sis', error: 'disk is full' });
  for (const instanceId of ['a1', 'b2']) {
    await hub.call('POST', '/servers', { id: 'fs', name: 'Filesystem', transport: 'stdio', instances: 'many', instanceId, host: 'mac.local', pid: 71, client: { name: 'Claude Desktop', version: '1.2' } });
  }
  await hub.call('DELETE', '/servers/fs?instanceId=b2&reason=crashed&expected=false');
  await hub.register('mail');
  await hub.call('DELETE', '/servers/mail?reason=killed%20by%20signal%209&expected=false');
  const { ids } = await hub.emit('grades.synced', { course: 'algebra-1', grades: 28 }, 'lms');
  return ['#/servers', '#/servers/sis', '#/servers/fs', '#/servers/mail', '#/workflows', '#/workflows/ok', '#/workflows/bad', '#/events', `#/events/${ids[0]}`, '#/integration'];
}

journey('what the page made of the events is what a fresh page reads', {}, async ({ hub, page }) => {
  await says(pill(page), 'Live');
  await furnish(hub);
  await hub.register('lms', { name: 'LMS 2', tags: { env: 'staging' } });
  await hub.call('DELETE', '/servers/sis?reason=moved');
  await hub.call('POST', '/workflows', { id: 'mixed', name: 'Mixed', steps: [{ id: 'a', retries: 1 }, { id: 'b', required: false }, { id: 'c', dependsOn: ['a', 'b'] }, { id: 'd' }] });
  await hub.step('mixed', 'a', { status: 'failed', serverId: 'lms', error: 'once' });
  await hub.step('mixed', 'a', { status: 'running', serverId: 'lms' });
  await hub.step('mixed', 'b', { status: 'failed', serverId: 'lms', error: 'never mind' });
  await hub.call('POST', '/workflows', { id: 'stopped', name: 'Stopped', steps: ['x', 'y'] });
  await hub.step('stopped', 'x', { status: 'running', serverId: 'lms' });
  await hub.call('POST', '/workflows/stopped/cancel', { reason: 'not today' });
  await hub.call('PUT', '/patterns/server_chaining', { enabled: true });

  const texts = (on, selector) => on.locator(selector).allTextContents();
  const read = async (on) => {
    const seen = {};
    const visitPath = (path) => on.evaluate((hash) => (location.hash = hash), path);
    await visitPath('#/servers');
    await says(on.locator('.c-name'), 'LMS 2');
    for (const column of ['name', 'health', 'why', 'transport', 'tools', 'resources', 'tags']) seen[column] = await texts(on, `[data-row] .c-${column}`);
    await visitPath('#/workflows');
    await says(on.locator('.workflow-row.cancelled'), 'Stopped');
    seen.workflows = (await texts(on, '.w-name, .progress-text, .w-now')).sort();
    for (const id of ['ok', 'bad', 'mixed', 'stopped']) {
      await visitPath(`#/workflows/${id}`);
      await says(on.locator('.crumbs'), id);
      seen[id] = await texts(on, '.status-word, .node, .failure p');
    }
    await visitPath('#/integration');
    seen.counters = (await texts(on, '.counters > div')).filter((text) => !/^(Stream clients|Hub up)/.test(text));
    seen.patterns = await on.getByRole('switch').evaluateAll((all) => all.map(({ checked }) => checked));
    return seen;
  };
  const lived = await read(page);
  const fresh = await visit(hub);
  assert.deepEqual(lived, await read(fresh.page));
  await fresh.close();
});

journey('fits a phone', { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true }, async ({ hub, page }) => {
  for (const path of ['#/servers', '#/workflows', '#/events', ...(await furnish(hub))]) {
    await page.goto(`${hub.url}/${path}`);
    await says(pill(page), 'Live');
    const { scroll, client } = await page.evaluate(() => ({ scroll: document.documentElement.scrollWidth, client: document.documentElement.clientWidth }));
    assert.ok(scroll <= client, `${path} is ${scroll} wide on ${client}`);
  }
});

for (const colorScheme of ['light', 'dark']) {
  journey(`axe finds no serious violation, ${colorScheme}`, { colorScheme }, async ({ hub, page }) => {
    const axe = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
    const found = [];
    const check = async (path) => {
      await page.goto(`${hub.url}/${path}`);
      await says(pill(page), 'Live');
      // A page that still slides in is measured half transparent.
      await page.evaluate(() => Promise.all(document.getAnimations().map((animation) => (animation.effect.getTiming().iterations === Infinity ? null : animation.finished))));
      await page.evaluate(axe);
      const { violations } = await page.evaluate(() => window.axe.run());
      for (const { id, impact, nodes } of violations) if (impact === 'serious' || impact === 'critical') found.push(`${path} ${id}: ${nodes.map(({ html }) => html).join(' ')}`);
    };
    for (const path of ['#/servers', '#/workflows', '#/events', '#/integration']) await check(path);
    for (const path of await furnish(hub)) await check(path);
    assert.deepEqual(found, []);
  });
}
