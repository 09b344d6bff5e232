// The hub asks for credentials only where it is told to; here a stand-in does, so that the form is tested either way.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { after, before, test } from 'node:test';
import { launch, pill, quit, says, visit } from './support.mjs';

before(launch);
after(quit);

test('sign in, look, sign out', { timeout: 30_000 }, async () => {
  const hub = await standIn('sesame');
  try {
    const { page, close } = await visit(hub);
    await page.getByRole('heading', { name: 'Sign in' }).waitFor();
    await page.getByLabel('Token').fill('wrong');
    await page.keyboard.press('Enter');
    await says(page.getByRole('alert'), 'does not accept this token');
    await page.getByLabel('Token').fill('sesame');
    await page.keyboard.press('Enter');
    await says(pill(page), 'Live');
    assert.match(await page.locator('.code pre').textContent(), /Authorization: Bearer \$TOKEN/);
    await page.reload();
    await says(pill(page), 'Live');
    await page.getByRole('button', { name: 'Sign out' }).click();
    await page.getByRole('heading', { name: 'Sign in' }).waitFor();
    await close();
  } finally {
    await hub.end();
  }
});

async function standIn(token) {
  const dist = new URL('../../../src/dashboard/dist/', import.meta.url);
  const types = { html: 'text/html', js: 'text/javascript', css: 'text/css', svg: 'image/svg+xml' };
  const snapshot = { part: 1, parts: 1, id: 'e-0', sequence: 0, status: 'healthy', servers: [], workflows: [], patterns: [], stats: {} };
  const server = createServer(async (request, response) => {
    const { pathname } = new URL(request.url, 'http://hub');
    const answer = (status, body, headers = {}) => response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(body && JSON.stringify(body));
    if (pathname === '/' || pathname.startsWith('/assets/')) {
      const name = pathname === '/' ? 'index.html' : pathname.slice(1);
      return response.writeHead(200, { 'content-type': types[name.split('.').at(-1)] }).end(await readFile(new URL(name, dist)));
    }
    if (pathname === '/session' && request.method === 'DELETE') return answer(204, undefined, { 'set-cookie': 'session=; Max-Age=0; Path=/' });
    if (pathname === '/session') {
      const good = request.headers.authorization === `Bearer ${token}`;
      return good ? answer(204, undefined, { 'set-cookie': 'session=1; HttpOnly; SameSite=Strict; Path=/' }) : answer(401, { title: 'Unauthorized' });
    }
    if (!request.headers.cookie?.includes('session=1')) return answer(401, { title: 'Unauthorized', detail: 'This hub asks for a token.' });
    if (pathname !== '/events') return answer(200, { events: [], nextCursor: null });
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.write(`event: stream_opened\ndata: ${JSON.stringify({ verdict: 'live', keepAliveMs: 15_000 })}\n\n`);
    response.write(`id: e-0\nevent: snapshot\ndata: ${JSON.stringify(snapshot)}\n\n`);
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    end: () => new Promise((resolve) => (server.close(resolve), server.closeAllConnections())),
  };
}
