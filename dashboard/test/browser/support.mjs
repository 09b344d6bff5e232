// A real hub, a real browser, and what a person would say to both.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';

const BINARY = process.env.TIMEBACK_EVENTS_BIN ?? fileURLToPath(new URL('../../../target/debug/timeback-events', import.meta.url));
const CHROMIUM = process.env.CHROMIUM_BIN ?? '/usr/bin/chromium';

/** The hub under test, on a free port and in a folder of its own; `start` again after `stop` is the same hub. */
export class Hub {
  #child;
  #env;
  #folder;
  url;

  static async start(env = {}) {
    const hub = new Hub();
    hub.#env = env;
    hub.#folder = await mkdtemp(join(tmpdir(), 'hub-'));
    await hub.start();
    return hub;
  }

  async start() {
    const port = this.url ? new URL(this.url).port : '0';
    this.#child = spawn(BINARY, [], {
      // In its own folder no .env of the developer's is found.
      cwd: this.#folder,
      env: { PATH: process.env.PATH, INTEGRATION_DATA_DIR: join(this.#folder, 'data'), INTEGRATION_SSE_RETRY_MS: '200', LOG_LEVEL: 'error', ...this.#env, INTEGRATION_SSE_PORT: port },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    for await (const line of createInterface({ input: this.#child.stdout })) {
      const url = /^listening on (http:\S+)/.exec(line)?.[1];
      if (!url) continue;
      this.url = url;
      this.#child.stdout.resume();
      return;
    }
    throw new Error(`${BINARY} ended without listening`);
  }

  signal(name) {
    this.#child.kill(name);
  }

  async stop(signal = 'SIGTERM') {
    const child = this.#child;
    if (child.exitCode !== null || child.signalCode !== null) return;
    const gone = new Promise((resolve) => child.once('exit', resolve));
    child.kill(signal);
    await gone;
  }

  /** The next start begins with an empty log. */
  async wipe() {
    await rm(join(this.#folder, 'data'), { recursive: true });
  }

  async end() {
    await this.stop('SIGKILL');
    await rm(this.#folder, { recursive: true, force: true });
  }

  async call(method, path, body) {
    const response = await fetch(this.url + path, { method, headers: body ? { 'content-type': 'application/json' } : {}, body: body && JSON.stringify(body) });
    const text = await response.text();
    assert.ok(response.ok, `${method} ${path}: ${response.status} ${text}`);
    return text ? JSON.parse(text) : undefined;
  }

  register(id, more = {}) {
    return this.call('POST', '/servers', { id, name: id.toUpperCase(), transport: 'http', capabilities: { tools: ['grade', 'list'], resources: ['roster'] }, ...more });
  }

  heartbeat(id, body = {}) {
    return this.call('POST', `/servers/${id}/heartbeat`, body);
  }

  emit(type, data = {}, serverId) {
    return this.call('POST', '/events', { type, data, serverId });
  }

  step(workflow, step, report) {
    return this.call('POST', `/workflows/${workflow}/steps/${step}`, report);
  }
}

let browser;

export async function launch() {
  browser = await chromium.launch({
    executablePath: CHROMIUM,
    args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
  });
}

export async function quit() {
  await browser?.close();
}

/** A page in a browser profile of its own. What it must never do (an uncaught error, a request elsewhere) fails the test. */
export async function visit(hub, path = '/', options = {}) {
  const { prepare, ...settings } = options;
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...settings });
  if (prepare) await context.addInitScript(prepare);
  const faults = [];
  context.on('request', (request) => {
    if (!request.url().startsWith(hub.url) && !request.url().startsWith('data:')) faults.push(`request to ${request.url()}`);
  });
  context.on('weberror', (error) => faults.push(String(error.error())));
  context.on('console', (message) => {
    if (/Content Security Policy/.test(message.text())) faults.push(message.text());
  });
  const page = await context.newPage();
  page.setDefaultTimeout(10_000);
  await page.goto(hub.url + path);
  return {
    page,
    context,
    async close() {
      await context.close();
      assert.deepEqual(faults, []);
    },
  };
}

export const pill = (page) => page.locator('.pill');

/** Waits until the page says so. */
export async function says(locator, text) {
  await locator.filter({ hasText: text }).first().waitFor();
}

export async function until(what, check, ms = 10_000) {
  const deadline = Date.now() + ms;
  for (;;) {
    const value = await check();
    if (value) return value;
    assert.ok(Date.now() < deadline, `waited in vain: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
