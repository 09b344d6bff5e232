/**
 * This process at a hub, as one instance of one server, however many connections, sessions or server
 * objects it has. Registered in the background for as long as it takes; gone without a ghost, however
 * soon after it came.
 */
import { Hub } from '../index.mjs';

const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 30_000;

/** Of one call. A hub that hangs is no hub. */
const CALL_MS = 5_000;

/** How long the end of a server waits for a registration under way, and then for the hub to take its leave. */
const SETTLE_MS = 250;
const FAREWELL_MS = 500;

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'];

export class Presence {
  static #all = new Map();

  /** The server at the hub, once it is registered there. */
  registered;
  /** Whether the hub is to be told what it has. */
  described = false;

  #key;
  #hub;
  #options;
  #instance;
  #wanted;
  #told;
  #server;
  #lines = new Set();
  #stale = new Set();
  #describing = false;
  #syncing = false;
  #attempt;
  #maybeThere = false;
  #settled = new AbortController();
  #stop = new AbortController();
  #ending;
  #failing = false;
  #resolve;

  /** The presence of this process as that server; `line` is one more connection that it lives by. */
  static join(line, { id: given, ...description }, options) {
    const hub = options.hub ?? new Hub();
    const id = given ?? toId(description.name);
    const key = `${hub.url} ${id}`;
    let presence = Presence.#all.get(key);
    if (!presence) {
      presence = new Presence(key, hub, { id, ...description }, options);
      Presence.#all.set(key, presence);
      if (Presence.#all.size === 1) followProcess();
    }
    presence.#lines.add(line);
    return presence;
  }

  static async endAll() {
    await Promise.all([...Presence.#all.values()].map((presence) => presence.end()));
  }

  constructor(key, hub, description, options) {
    this.#key = key;
    this.#hub = hub;
    this.#options = options;
    this.#instance = Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');
    this.#wanted = { ...description, instances: 'many', instanceId: this.#instance, ...whereabouts() };
    this.registered = new Promise((resolve) => (this.#resolve = resolve));
  }

  /** Asks what the server has and tells the hub. Calls that come while one waits its turn are that one. */
  async describe(line) {
    this.described = true;
    this.#stale.add(line);
    if (this.#describing) return;
    this.#describing = true;
    try {
      for (const line of this.#stale) {
        this.#stale.delete(line);
        const capabilities = await line.describe().catch((error) => this.#options.onError(error));
        // The connection ended before it was told: the next one will be asked.
        if (!capabilities) this.described = this.#wanted.capabilities !== undefined;
        else this.#wanted = { ...this.#wanted, capabilities };
      }
    } finally {
      this.#describing = false;
    }
    if (this.#wanted.capabilities) this.#sync();
  }

  /** One of its connections is over: the presence ends with the last, unless it is one that lasts. */
  leave(line, lasting) {
    this.#lines.delete(line);
    if (this.#lines.size === 0 && !lasting) this.end();
  }

  /** Deregisters, within a moment. Safe to call at any time, and twice. */
  end(reason, options) {
    this.#ending ??= this.#farewell(reason, options);
    return this.#ending;
  }

  async #farewell(reason, { expected } = {}) {
    try {
      // Let a registration that is on its way arrive first.
      if (this.#attempt) await Promise.race([this.#attempt.catch(() => {}), pause(SETTLE_MS, { signal: this.#settled.signal })]);
      this.#stop.abort();
      this.#server?.forget();
      const until = AbortSignal.timeout(FAREWELL_MS);
      await this.#deregister(reason, expected, until).catch((error) => {
        // A kept connection may have been closed just now; there is no third try.
        if (error.status !== 0 || until.aborted) throw error;
        return this.#deregister(reason, expected, until);
      });
    } catch (error) {
      if (error.status !== 404) this.#fail(error);
    } finally {
      Presence.#all.delete(this.#key);
      if (Presence.#all.size === 0) unfollowProcess();
    }
  }

  async #deregister(reason, expected, signal) {
    // A registration without an answer may have arrived or may still do: the hub remembers that this instance is gone.
    if (!this.#server && !this.#maybeThere) return;
    const query = { reason, instanceId: this.#instance, expected: expected === false ? 'false' : undefined };
    await this.#hub.request('DELETE', `/servers/${encodeURIComponent(this.#wanted.id)}`, { query, signal, retries: 0 });
  }

  /** Tells the hub until it has heard the latest; one at a time. */
  async #sync() {
    if (this.#syncing || this.#ending) return;
    this.#syncing = true;
    for (let failures = 0; this.#told !== this.#wanted && !this.#ending; ) {
      const wanted = this.#wanted;
      try {
        this.#attempt = this.#tell(wanted);
        await this.#attempt;
        this.#told = wanted;
        failures = 0;
      } catch (error) {
        if (this.#ending) break;
        this.#fail(error);
        await pause(Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** failures++) * (1 + Math.random() / 2), { signal: this.#stop.signal, unref: true });
      } finally {
        this.#attempt = undefined;
      }
    }
    this.#settled.abort();
    this.#syncing = false;
  }

  async #tell(wanted) {
    if (this.#server) {
      await this.#server.update(wanted);
      this.#recover();
      return;
    }
    const { signal } = this.#stop;
    const callbacks = { onError: (error) => this.#fail(error), onRecovery: () => this.#recover() };
    this.#maybeThere = true;
    try {
      this.#server = await this.#hub.register(wanted, { ...callbacks, signal, timeoutMs: CALL_MS, retries: 0 });
    } catch (error) {
      // Unless it was refused nobody knows whether it arrived.
      this.#maybeThere = error.status === undefined || error.status === 0 || error.status >= 500;
      throw error;
    }
    this.#server.closed.then((how) => how === 'replaced' && this.end());
    this.#recover();
    this.#resolve(this.#server);
  }

  /** Said once per outage, and at its end. */
  #fail(error) {
    if (this.#failing) return;
    this.#failing = true;
    const { name } = this.#wanted;
    const what = error.status > 0 ? `answers: ${error.message}` : `can't be reached: ${error.detail ?? error.message}`;
    const consequence = this.#ending ? `it was not told that ${name} ends` : `${name} goes on without it`;
    this.#options.onError(new Error(`the hub at ${this.#hub.url} ${what}; ${consequence}`, { cause: error }));
  }

  #recover() {
    if (!this.#failing) return;
    this.#failing = false;
    this.#options.onRecovery?.(`the hub at ${this.#hub.url} is back; ${this.#wanted.name} is registered there`);
  }
}

export function complain({ message }) {
  // Standard error; standard output belongs to the protocol.
  console.error(`timeback-events: ${message}`);
}

/** A server keeps its id from one start to the next, so it has to come from its name. */
export function toId(name) {
  const id = name.replace(/[^A-Za-z0-9_.:-]+/g, '-').slice(0, 128);
  if (/[A-Za-z0-9]/.test(id)) return id;
  // Nothing of the name is left: its hash (FNV-1a) tells it from another such.
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(name)) hash = Math.imul(hash ^ byte, 0x01000193) >>> 0;
  return `server-${hash.toString(16).padStart(8, '0')}`;
}

/** A signal ends the process as it would have without us, a moment later; so does having nothing left to do. */
const farewells = Object.fromEntries(
  SIGNALS.map((signal) => [
    signal,
    async () => {
      await Presence.endAll();
      const { process } = globalThis;
      process.off(signal, farewells[signal]);
      if (process.listenerCount(signal) === 0) process.kill(process.pid, signal);
    },
  ]),
);

function followProcess() {
  const { process } = globalThis;
  if (typeof process?.on !== 'function') return;
  for (const signal of SIGNALS) process.on(signal, farewells[signal]);
  process.on('beforeExit', Presence.endAll);
}

function unfollowProcess() {
  const { process } = globalThis;
  if (typeof process?.off !== 'function') return;
  for (const signal of SIGNALS) process.off(signal, farewells[signal]);
  process.off('beforeExit', Presence.endAll);
}

function whereabouts() {
  const { process } = globalThis;
  return { host: os?.hostname?.(), pid: process?.pid };
}

const os = await import('node:os').catch(() => undefined);

function pause(ms, { signal, unref } = {}) {
  return new Promise((resolve) => {
    const timer = setTimeout(done, ms);
    if (unref) timer.unref?.();
    signal?.addEventListener('abort', done, { once: true });
    function done() {
      clearTimeout(timer);
      signal?.removeEventListener('abort', done);
      resolve();
    }
  });
}
