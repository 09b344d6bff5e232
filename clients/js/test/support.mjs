import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { existsSync } from 'node:fs';

const BINARY = process.env.TIMEBACK_EVENTS_BIN ?? fileURLToPath(new URL('../../../target/debug/timeback-events', import.meta.url));

/** For tests that need the real hub: says why they are skipped where it hasn't been built. */
export const withHub = { skip: existsSync(BINARY) ? false : `no hub at ${BINARY}` };

/** A real hub on a port of its own, with a log of its own. `t` is the test that it ends with. */
export async function startHub(t, env = {}) {
  const dir = await mkdtemp(join(tmpdir(), 'timeback-events-'));
  const hub = new HubProcess(dir, { INTEGRATION_DATA_DIR: dir, INTEGRATION_SSE_RETRY_MS: '50', ...env });
  t.after(async () => {
    await hub.kill('SIGKILL');
    await rm(dir, { recursive: true, force: true });
  });
  await hub.start();
  return hub;
}

class HubProcess {
  #dir;
  #env;
  #child;
  #port = '0';

  constructor(dir, env) {
    this.#dir = dir;
    this.#env = env;
  }

  get url() {
    return `http://127.0.0.1:${this.#port}`;
  }

  /** Starts, or starts again where it was. */
  async start() {
    const { PATH, RUST_BACKTRACE } = process.env;
    const env = { PATH, RUST_BACKTRACE, ...this.#env, INTEGRATION_SSE_PORT: this.#port };
    this.#child = spawn(BINARY, { cwd: this.#dir, env, stdio: ['ignore', 'pipe', 'inherit'] });
    for await (const line of createInterface({ input: this.#child.stdout })) {
      const port = /^listening on http:\/\/.*:(\d+)$/.exec(line)?.[1];
      if (!port) continue;
      this.#port = port;
      this.#child.stdout.resume();
      return;
    }
    throw new Error(`${BINARY} did not start`);
  }

  async kill(signal) {
    if (!this.#child || this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const gone = new Promise((resolve) => this.#child.once('exit', resolve));
    this.#child.kill(signal);
    await gone;
  }
}

/** A hub that follows a script, for what a real one does only on a bad day: `handle(request, response, body)`. */
export async function startScript(t, handle) {
  const requests = [];
  const server = createServer(async (request, response) => {
    let body = '';
    for await (const chunk of request) body += chunk;
    requests.push({ method: request.method, url: request.url, headers: request.headers, text: body, body: body && JSON.parse(body) });
    handle(request, response, requests.length);
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${server.address().port}`, requests };
}

export function answer(response, status, body, headers = {}) {
  response.writeHead(status, { 'content-type': 'application/json', ...headers });
  response.end(JSON.stringify(body));
}

export function stream(response, ...blocks) {
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  for (const block of blocks) response.write(block);
}

export const opened = (data = {}) => `retry: 10\nid: e-0\nevent: stream_opened\ndata: ${JSON.stringify({ verdict: 'live', keepAliveMs: 15_000, ...data })}\n\n`;

export const event = (sequence, type = 'grades.synced') =>
  `id: e-${sequence}\ndata: ${JSON.stringify({ id: `e-${sequence}`, sequence, type, timestamp: 0, data: {} })}\n\n`;

/** Takes `count` items and leaves the iterator open. */
export async function take(iterator, count) {
  const items = [];
  while (items.length < count) {
    const { value, done } = await iterator.next();
    if (done) throw new Error(`the stream ended after ${items.length} of ${count}`);
    items.push(value);
  }
  return items;
}

/** Resolves with the first truthy answer of `probe`. */
export async function eventually(probe, what = 'it') {
  const deadline = Date.now() + 30_000;
  for (;;) {
    const value = await probe();
    if (value) return value;
    if (Date.now() > deadline) throw new Error(`${what} did not come about within 30 s`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
