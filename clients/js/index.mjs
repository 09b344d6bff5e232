/**
 * The client of the timeback-events hub, for browsers, Node 20 and Deno.
 *
 * Listen:  `for await (const event of new Hub(url).events({ type: 'workflow_*' })) …`
 * Report:  `const server = await hub.register({ id: 'lms', name: 'LMS', transport: 'stdio' })`
 *
 * A stream never ends by itself: it resumes after the last event it handed over, so that each event
 * is seen once, across lost connections and restarts of the hub. Where the hub no longer has what
 * lies between, `onGap` says so; nothing is lost in silence.
 */
import { ExactNumber, parseExact, stringifyExact } from './json.mjs';

export { ExactNumber, parseExact, stringifyExact };

const DEFAULT_URL = 'http://127.0.0.1:3001';

/** Frames that are about the stream itself. Asked for `format=message`, the hub names no others. */
const EVENT = 'message';

/** The hub holds a long poll no longer than this. */
const LONGEST_WAIT_MS = 60_000;

/** Statuses after which the same call may go through later. */
const TEMPORARY = new Set([408, 429, 500, 502, 503, 504]);

/** 503s that no waiting mends: an operator switched this off. */
const SWITCHED_OFF = new Set(['integration-disabled', 'pattern-disabled']);

/** A hub, to listen to and to report to. Opens no connection before something asks for one. */
export class Hub {
  #url;
  #options;
  #login;
  #shared;
  #parse;
  #stringify;

  constructor(url = defaultUrl(), options = {}) {
    // A login in the address would be printed with it, and `fetch` refuses such an address.
    const [, scheme, login, address] = /^(\w+:\/\/)(?:([^/@]*)@)?(.*?)\/*$/s.exec(url) ?? [undefined, '', undefined, String(url).replace(/\/+$/, '')];
    this.#url = scheme + address;
    this.#login = login && `Basic ${btoa(decodeURIComponent(login))}`;
    this.#options = { timeoutMs: 10_000, retries: 6, retryMs: 250, maxRetryMs: 30_000, onError: complain, ...options };
    [this.#parse, this.#stringify] = this.#options.exact ? [parseExact, stringifyExact] : [JSON.parse, JSON.stringify];
    /** What several servers do together, step by step. */
    this.workflow = new Workflows(this);
  }

  get url() {
    return this.#url;
  }

  // Listening

  /** A resumable stream of the events that match `filter`: iterate it, or give it listeners. */
  events(filter = {}) {
    return new EventStream((connection) => this.#open(connection), { ...this.#options, ...filter, parse: this.#parse });
  }

  /**
   * Calls `listener(event)` for every event, or for those of one type (`workflow_*` is a prefix).
   * All listeners share one stream, open while there are any. Returns the function that unsubscribes.
   */
  addEventListener(...args) {
    if (!this.#shared || this.#shared.closed) this.#shared = this.events();
    return this.#shared.addEventListener(...args);
  }

  // Reading

  /** One page of history: `{ events, nextCursor, truncated? }`; pass `cursor: nextCursor` for the next. */
  getEventHistory(filter = {}) {
    const { signal, ...query } = filter;
    return this.request('GET', '/events/history', { query, signal });
  }

  /** All of history that matches, page by page as the iteration proceeds. */
  async *history(filter = {}) {
    for (let cursor = filter.cursor; ; ) {
      const page = await this.getEventHistory({ ...filter, cursor });
      yield* page.events;
      cursor = page.nextCursor;
      if (!cursor) return;
    }
  }

  getEvent(id) {
    return this.request('GET', `/events/${segment(id)}`);
  }

  getSnapshot() {
    return this.request('GET', '/snapshot');
  }

  getStatus() {
    return this.request('GET', '/status');
  }

  /** One page: `{ servers, nextCursor }`. */
  listServers(filter = {}) {
    return this.request('GET', '/servers', { query: filter });
  }

  getServer(id) {
    return this.request('GET', `/servers/${segment(id)}`);
  }

  async listPatterns() {
    return (await this.request('GET', '/patterns')).patterns;
  }

  setPattern(name, pattern) {
    return this.request('PUT', `/patterns/${segment(name)}`, { body: pattern });
  }

  // Reporting

  /** Appends one event, or several all or nothing. Returns the id of the last event each one caused. */
  async emit(events, options = {}) {
    return (await this.request('POST', '/events', { body: events, ...options })).ids;
  }

  /**
   * Registers a server and keeps it registered: heartbeats at the hub's pace, and again from scratch
   * if the hub forgot it. Neither keeps the process alive. `retries`, `timeoutMs` and `signal` concern
   * the registration itself. `onError` is called once per outage of the heartbeats, `onRecovery` at its end.
   */
  async register(description, options = {}) {
    const server = new RegisteredServer(this, description, { onError: this.#options.onError, ...options });
    await server.update();
    return server;
  }

  /** Work for a server: steps by `serverId` and `status`; with `wait` (`'30s'`) held until there is some. */
  async steps({ signal, ...query } = {}) {
    return (await this.request('GET', '/steps', { query, signal, timeoutMs: this.#options.timeoutMs + (query.wait ? LONGEST_WAIT_MS : 0) })).steps;
  }

  /**
   * One call, retried if that is safe and may help: after a network failure, a time-out, or a status
   * that may pass (408, 429, 500, 502, 503, 504), never after another one. Every try of a POST bears the same `Idempotency-Key`, so a
   * call whose answer got lost is not carried out twice.
   */
  async request(method, path, { query, body, signal, idempotencyKey, timeoutMs = this.#options.timeoutMs, retries = this.#options.retries } = {}) {
    const headers = { accept: 'application/json' };
    if (body !== undefined) headers['content-type'] = 'application/json';
    if (method === 'POST' && idempotencyKey !== null) headers['idempotency-key'] = idempotencyKey ?? randomId();
    const init = { method, headers, body: body === undefined ? undefined : this.#stringify(body) };
    for (let attempt = 0; ; attempt++) {
      try {
        return await this.#once(path + toQuery(query), init, timeoutMs, signal);
      } catch (error) {
        signal?.throwIfAborted();
        if (!(error instanceof HubError) || !error.retryable || attempt >= retries) throw error;
        await sleep(error.retryAfterMs ?? backoff(this.#options.retryMs, attempt, 5_000), signal);
      }
    }
  }

  async #once(path, init, timeoutMs, signal) {
    const deadline = new Deadline(signal);
    deadline.set(timeoutMs);
    try {
      const response = await this.#fetch(path, { ...init, signal: deadline.signal });
      const text = await response.text().catch((error) => {
        throw HubError.unreachable(this.#url + path, error);
      });
      if (!text) return null;
      try {
        return this.#parse(text);
      } catch {
        throw new HubError({ status: response.status, type: 'not-a-hub', title: `${this.#url + path} answered what is no JSON` });
      }
    } finally {
      deadline.end();
    }
  }

  /** Opens a stream; an answer that is no stream is an error that says so. */
  async #open({ query, lastEventId, signal }) {
    const headers = { accept: 'text/event-stream' };
    if (lastEventId) headers['last-event-id'] = lastEventId;
    const response = await this.#fetch('/events' + toQuery(query), { headers, signal, cache: 'no-store' });
    if (!response.headers.get('content-type')?.startsWith('text/event-stream')) {
      throw new HubError({ status: response.status, type: 'not-a-stream', title: `${this.#url}/events answered no event stream` });
    }
    return response.body;
  }

  /** An answer of 2xx; anything else is a `HubError`. */
  async #fetch(path, init) {
    const { token, fetch = globalThis.fetch } = this.#options;
    const bearer = typeof token === 'function' ? await token() : token;
    const authorization = bearer ? `Bearer ${bearer}` : this.#login;
    const headers = authorization ? { ...init.headers, authorization } : init.headers;
    const response = await fetch(this.#url + path, { ...init, headers }).catch((error) => {
      throw HubError.unreachable(this.#url + path, error);
    });
    if (!response.ok) throw await HubError.from(response);
    return response;
  }
}

/** Events as they happen, in order, each once. Made by `hub.events()`; connects on first use. */
export class EventStream {
  /** The id of the last event (or bookmark) handed over: keep it to go on from there after a restart. */
  lastEventId;

  #open;
  #options;
  #query;
  #stop = new AbortController();
  #release = () => {};
  #iterator;
  #listeners = new Set();
  #pumping = false;
  #retryMs;
  #keepAliveMs;
  #closing;
  #snapshot = [];
  #opened = false;

  constructor(open, options) {
    const { lastEventId, signal, type, serverId, workflowId, tag, since, replay, snapshot } = options;
    this.lastEventId = lastEventId;
    this.#open = open;
    this.#options = options;
    this.#query = { type, serverId, workflowId, tag, since, replay, snapshot, format: 'message' };
    this.#retryMs = options.retryMs;
    this.#release = onAbort(signal, () => this.close());
    this.#iterator = this.#run();
  }

  get closed() {
    return this.#stop.signal.aborted;
  }

  /** Ends the stream and whatever waits for it. Safe to call at any time, and twice. */
  close() {
    this.#stop.abort();
    this.#release();
  }

  /**
   * `addEventListener(listener)` or `addEventListener(type, listener)`: returns the function that
   * unsubscribes. A stream with listeners is not iterated besides, and closes with the last of them.
   */
  addEventListener(...args) {
    const [type, callback] = args.length > 1 ? args : [undefined, args[0]];
    if (typeof callback !== 'function') throw new TypeError('addEventListener takes a function');
    const listener = { matches: typeMatcher(type), callback };
    this.#listeners.add(listener);
    this.#pump();
    return () => {
      if (this.#listeners.delete(listener) && this.#listeners.size === 0) this.close();
    };
  }

  [Symbol.asyncIterator]() {
    return this;
  }

  next() {
    return this.#iterator.next();
  }

  /** What `break` calls. */
  return(value) {
    this.close();
    return this.#iterator.return(value);
  }

  async #pump() {
    if (this.#pumping) return;
    this.#pumping = true;
    try {
      for await (const event of this) {
        for (const { matches, callback } of [...this.#listeners]) {
          if (matches(event.type)) this.#guard(callback, event);
        }
      }
    } catch (error) {
      this.#options.onError?.(error);
    }
  }

  /** One listener's mistake must not cost the others their events. */
  #guard(callback, event) {
    try {
      Promise.resolve(callback(event)).catch((error) => this.#options.onError?.(error));
    } catch (error) {
      this.#options.onError?.(error);
    }
  }

  /** Connects, and again after every end; only an answer that won't change ends it. */
  async *#run() {
    let attempt = 0;
    try {
      while (!this.closed) {
        let failure;
        this.#closing = undefined;
        this.#snapshot = [];
        try {
          for await (const frame of this.#frames()) {
            attempt = 0;
            const event = this.#receive(frame);
            if (event) yield event;
            if (this.closed) return;
          }
        } catch (error) {
          if (this.closed) return;
          if (!(error instanceof HubError) || !this.#mayPass(error)) throw error;
          failure = error;
        }
        if (this.closed) return;
        // A hub that ends a stream on purpose has already spread its clients out; otherwise we do.
        const delayMs = this.#closing ? this.#retryMs : Math.max(failure?.retryAfterMs ?? 0, backoff(this.#retryMs, attempt, this.#options.maxRetryMs));
        attempt++;
        this.#options.onRetry?.({ error: failure, attempt, delayMs });
        await sleep(delayMs, this.#stop.signal).catch(() => {});
      }
    } finally {
      this.close();
    }
  }

  /** A page in the hub's place is a mistake at first; in mid-life it is a proxy that the hub will be back behind. */
  #mayPass(error) {
    return error.retryable || (error.type === 'not-a-stream' && this.#opened);
  }

  /** The frames of one connection. Whatever breaks it is a retryable `HubError`. */
  async *#frames() {
    const deadline = new Deadline(this.#stop.signal);
    let reader;
    try {
      deadline.set(this.#options.timeoutMs);
      // The query stays the same, as an EventSource's does: a last event id overrides the place it names.
      const body = await this.#open({ query: this.#query, lastEventId: this.lastEventId, signal: deadline.signal });
      reader = body.getReader();
      const parser = new SseParser(this.lastEventId);
      for (;;) {
        // Armed only while we wait for the hub: a consumer that takes its time is no dead stream.
        deadline.set(this.#silenceMs());
        const { done, value } = await reader.read().catch((error) => {
          throw HubError.unreachable('the stream', error);
        });
        deadline.clear();
        if (done) return;
        for (const frame of parser.push(value)) {
          this.lastEventId = frame.id || undefined;
          yield frame;
        }
        if (parser.retryMs !== undefined) this.#retryMs = parser.retryMs;
        this.lastEventId = parser.lastEventId || undefined;
      }
    } finally {
      deadline.end();
      reader?.cancel().catch(() => {});
    }
  }

  /** The hub writes a bookmark when nothing else happens, so a longer silence means that nobody is there. */
  #silenceMs() {
    return this.#keepAliveMs ? this.#keepAliveMs * 2 + 1_000 : Math.max(this.#options.timeoutMs, 45_000);
  }

  /** The event in a frame, or nothing if the frame is about the stream. */
  #receive({ event: name, data, id }) {
    const { onVerdict, onGap, onClosing, onSnapshot, onError } = this.#options;
    const content = this.#read(data);
    if (content === undefined) {
      // Skipped, but not in silence.
      onError?.(new HubError({ type: 'unreadable-frame', title: `a frame ${JSON.stringify(name)} that is no JSON object was skipped`, detail: id && `its id is ${id}` }));
      return;
    }
    switch (name) {
      case EVENT:
        return content;
      case 'stream_opened':
        this.#opened = true;
        this.#keepAliveMs = content.keepAliveMs;
        onVerdict?.(content);
        if (content.verdict === 'gap') onGap?.({ reason: content.reason, afterId: content.requestedId, nextId: content.oldestId });
        return;
      case 'stream_gap':
        onGap?.(content);
        return;
      case 'stream_closing':
        this.#closing = content;
        onClosing?.(content);
        return;
      case 'snapshot':
        this.#snapshot.push(content);
        if (this.#snapshot.length < (content.parts ?? 1)) return;
        onSnapshot?.(joinParts(this.#snapshot));
        this.#snapshot = [];
        return;
    }
  }

  #read(data) {
    try {
      const content = this.#options.parse(data);
      return typeof content === 'object' && !Array.isArray(content) ? (content ?? undefined) : undefined;
    } catch {
      return undefined;
    }
  }
}

/** A server of ours as the hub knows it. Made by `hub.register()`. */
export class RegisteredServer {
  /** What the hub last answered: id, health, lease. */
  state;

  /** Resolves when this registration is over: `'deregistered'`, or `'replaced'` by a newer instance. */
  closed;

  #hub;
  #description;
  #onError;
  #onRecovery;
  #call;
  #vitals;
  #timer;
  #beating;
  #resolve;
  #over = false;
  #failing = false;

  constructor(hub, description, { onError, onRecovery, ...call }) {
    this.#hub = hub;
    this.#call = call;
    this.#description = { instanceId: randomId(), ...description };
    this.#onError = onError;
    this.#onRecovery = onRecovery;
    this.closed = new Promise((resolve) => (this.#resolve = resolve));
  }

  get id() {
    return this.state.id;
  }

  /** Who we are, for claims and reports: `hub.workflow.claim(workflowId, stepId, server.identity)`. */
  get identity() {
    return { serverId: this.id, instanceId: this.#description.instanceId };
  }

  /** Registers again with these changes: listeners see `server_updated`. */
  async update(changes = {}) {
    if (this.#over) throw new Error(`the registration of ${this.id} is over`);
    this.#description = { ...this.#description, ...changes };
    this.state = await this.#hub.request('POST', '/servers', { body: this.#description, ...this.#call });
    // An id that the hub chose is ours from here on, also when we have to register again.
    this.#description.id = this.id;
    this.#schedule(this.state.heartbeatIntervalMs);
    return this.state;
  }

  /**
   * Sends a heartbeat now. What it says (`{ health, detail, metrics }`) is said again by every
   * automatic one until something else is.
   */
  async heartbeat(vitals) {
    if (this.#over) throw new Error(`the registration of ${this.id} is over`);
    if (vitals) this.#vitals = vitals;
    clearTimeout(this.#timer);
    const intervalMs = this.state.heartbeatIntervalMs;
    try {
      const answer = await this.#beatOrRegister(intervalMs);
      this.state = { ...this.state, ...answer };
      if (this.#failing) this.#onRecovery?.();
      this.#failing = false;
      this.#schedule(this.state.heartbeatIntervalMs);
      return this.state;
    } catch (error) {
      if (error.type === 'instance-replaced') this.#finish('replaced');
      // It was deregistered, by whoever knew its instance id.
      if (error.type === 'instance-gone') this.#finish('deregistered');
      // Tried again before the hub calls it missed, which is half an interval after it was due.
      this.#schedule(intervalMs / 4);
      throw error;
    }
  }

  /**
   * Deregisters. No heartbeat follows. With `expected: false` the server counts as lost until it is
   * back. The other options are the call's: `retries`, `timeoutMs`, `signal`.
   */
  async close(reason, { expected, ...options } = {}) {
    if (this.#over) return;
    this.#over = true;
    clearTimeout(this.#timer);
    // One under way may be about to register us again.
    await this.#beating;
    try {
      // Naming the instance keeps us from disconnecting one that took our place.
      const query = { reason, instanceId: this.#description.instanceId, expected: expected === false ? 'false' : undefined };
      await this.#hub.request('DELETE', `/servers/${segment(this.id)}`, { query, ...options });
    } catch (error) {
      if (error.status !== 404) throw error;
    } finally {
      this.#finish('deregistered');
    }
  }

  /** Sends no more heartbeats, and tells the hub nothing: whoever holds the instance id deregisters it. */
  forget() {
    this.#finish('deregistered');
  }

  async #beatOrRegister(intervalMs) {
    try {
      return await this.#beat(intervalMs);
    } catch (error) {
      if (error.type !== 'server-not-registered' || this.#over) throw error;
      const state = await this.update();
      return this.#vitals ? this.#beat(intervalMs) : state;
    }
  }

  /** Not retried: a beat that takes longer than an interval says nothing that the next one doesn't. */
  #beat(intervalMs) {
    return this.#hub.request('POST', `/servers/${segment(this.id)}/heartbeat`, {
      body: { ...this.#vitals, instanceId: this.#description.instanceId },
      idempotencyKey: null,
      timeoutMs: Math.max(intervalMs, 1_000),
      retries: 0,
    });
  }

  #schedule(delayMs) {
    clearTimeout(this.#timer);
    if (this.#over) return;
    this.#timer = setTimeout(() => (this.#beating = this.heartbeat().catch((error) => this.#fail(error))), delayMs);
    this.#timer.unref?.();
  }

  /** Told once per outage; after the end only why it came. */
  #fail(error) {
    if (this.#over && error.type !== 'instance-replaced') return;
    if (!this.#failing) this.#onError?.(error);
    this.#failing = true;
  }

  #finish(end) {
    this.#over = true;
    clearTimeout(this.#timer);
    this.#resolve(end);
  }
}

/** The calls on workflows, as `hub.workflow`. Their shapes are the hub's own. */
class Workflows {
  #hub;

  constructor(hub) {
    this.#hub = hub;
  }

  start(definition, options = {}) {
    return this.#hub.request('POST', '/workflows', { body: definition, ...options });
  }

  get(id) {
    return this.#hub.request('GET', workflowPath(id));
  }

  /** One page: `{ workflows, nextCursor }`. */
  list(filter = {}) {
    return this.#hub.request('GET', '/workflows', { query: filter });
  }

  /** Takes a ready step. The answer's `attempt` goes into the report that ends it. */
  claim(id, step, identity, options = {}) {
    return this.step(id, step, { ...identity, status: 'running' }, options);
  }

  step(id, step, report, options = {}) {
    return this.#post(id, `/steps/${segment(step)}`, report, options);
  }

  complete(id, results, options = {}) {
    return this.#post(id, '/complete', { results }, options);
  }

  fail(id, failure, options = {}) {
    return this.#post(id, '/fail', failure, options);
  }

  cancel(id, reason, options = {}) {
    return this.#post(id, '/cancel', { reason }, options);
  }

  #post(id, path, body, options) {
    return this.#hub.request('POST', workflowPath(id) + path, { body, ...options });
  }
}

/** What the hub answered (its problem+json), or, with status 0, that it didn't. */
export class HubError extends Error {
  constructor({ status = 0, type = 'about:blank', title = 'hub error', detail, ...extensions }, { cause, retryAfterMs } = {}) {
    super(detail ? `${title}: ${detail}` : title, { cause });
    this.name = 'HubError';
    Object.assign(this, { status, type, title, detail });
    /** The whole problem, with what else the hub put in: `errors`, the state of a step, … */
    this.problem = { type, title, status, detail, ...extensions };
    this.retryAfterMs = retryAfterMs;
  }

  /** Whether the same call may go through later. */
  get retryable() {
    return this.status === 0 || (TEMPORARY.has(this.status) && !SWITCHED_OFF.has(this.type));
  }

  static async from(response) {
    const seconds = response.headers.get('retry-after');
    const retryAfterMs = /^\d+$/.test(seconds ?? '') ? Number(seconds) * 1_000 : undefined;
    const problem = await response.json().catch(() => ({}));
    return new HubError({ title: response.statusText, ...problem, status: response.status }, { retryAfterMs });
  }

  static unreachable(what, cause) {
    return new HubError({ type: 'unreachable', title: `no answer from ${what}`, detail: cause?.cause?.message ?? cause?.message }, { cause });
  }
}

/**
 * The parser of `text/event-stream`, by the letter of the HTML standard: bytes in, frames
 * `{ event, data, id }` out, wherever the bytes are cut. A frame that is never finished is never seen.
 */
export class SseParser {
  /** As of the last finished block, also one without data. */
  lastEventId;
  /** The last `retry:`, if any. */
  retryMs;

  #decoder = new TextDecoder();
  #line = '';
  #skipLf = false;
  #event = '';
  #data = [];
  #id;

  constructor(lastEventId = '') {
    this.lastEventId = this.#id = lastEventId;
  }

  push(bytes) {
    let text = this.#decoder.decode(bytes, { stream: true });
    if (text === '') return [];
    // A CR ends its line at once, so that no frame waits for what follows; an LF after it is its other half.
    if (this.#skipLf && text[0] === '\n') text = text.slice(1);
    this.#skipLf = text.endsWith('\r');
    const lines = text.split(/\r\n|\n|\r/);
    lines[0] = this.#line + lines[0];
    this.#line = lines.pop();
    return lines.map((line) => this.#take(line)).filter(Boolean);
  }

  /** The frame that this line finishes, if it does. */
  #take(line) {
    if (line === '') return this.#dispatch();
    const colon = line.indexOf(':');
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? '' : line.slice(colon + (line[colon + 1] === ' ' ? 2 : 1));
    if (field === 'data') this.#data.push(value);
    else if (field === 'event') this.#event = value;
    else if (field === 'id' && !value.includes('\0')) this.#id = value;
    else if (field === 'retry' && /^\d+$/.test(value)) this.retryMs = Number(value);
  }

  #dispatch() {
    this.lastEventId = this.#id;
    const frame = this.#data.length > 0 && { event: this.#event || EVENT, data: this.#data.join('\n'), id: this.#id };
    this.#event = '';
    this.#data = [];
    return frame;
  }
}

/** A signal that aborts when its parent does, or after a time that can be set anew. */
class Deadline {
  #controller = new AbortController();
  #timer;
  #release;

  constructor(parent) {
    this.#release = onAbort(parent, () => this.#controller.abort(parent.reason));
  }

  get signal() {
    return this.#controller.signal;
  }

  set(ms) {
    this.clear();
    this.#timer = setTimeout(() => this.#controller.abort(new Error(`nothing for ${ms} ms`)), ms);
  }

  clear() {
    clearTimeout(this.#timer);
  }

  end() {
    this.clear();
    this.#release();
    this.#controller.abort();
  }
}

/** Calls back once `signal` aborts; returns the function that forgets it. */
function onAbort(signal, callback) {
  if (signal?.aborted) callback();
  signal?.addEventListener('abort', callback, { once: true });
  return () => signal?.removeEventListener('abort', callback);
}

function sleep(ms, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(done, ms);
    const release = onAbort(signal, () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
    function done() {
      release();
      resolve();
    }
  });
}

/** Doubles from `baseMs` up to `capMs`, and up to half as much again at random, so that clients don't return as one. */
function backoff(baseMs, attempt, capMs) {
  return Math.max(baseMs, Math.min(capMs, baseMs * 2 ** attempt)) * (1 + Math.random() / 2);
}

/** `crypto.randomUUID` would do, but browsers keep it from pages served over plain HTTP. */
function randomId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');
}

function toQuery(query = {}) {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    for (const one of [value].flat()) {
      if (one === undefined || one === null || one === false) continue;
      parameters.append(name, one instanceof Date ? one.getTime() : one);
    }
  }
  const text = parameters.toString();
  return text && `?${text}`;
}

function typeMatcher(type) {
  if (type === undefined) return () => true;
  const patterns = [type].flat();
  return (actual) => patterns.some((pattern) => (pattern.endsWith('*') ? String(actual).startsWith(pattern.slice(0, -1)) : actual === pattern));
}

/** A snapshot comes in parts whose lists are to be joined; what is no list is the same in each. */
function joinParts([first, ...rest]) {
  const { part, parts, ...whole } = first;
  for (const { part, parts, ...content } of rest) {
    for (const [key, value] of Object.entries(content)) {
      if (Array.isArray(whole[key]) && Array.isArray(value)) whole[key].push(...value);
      else whole[key] = value;
    }
  }
  return whole;
}

/** A part of a path. */
function segment(id) {
  // A URL takes these two, in any spelling, as "here" and "one up"; the hub gives no such id out.
  if (id === '.' || id === '..') throw new TypeError(`no id is ${JSON.stringify(id)}`);
  return encodeURIComponent(id);
}

function workflowPath(id) {
  return `/workflows/${segment(id)}`;
}

/** Where nobody listens for errors: a hub's in a line, a listener's with its stack. */
function complain(error) {
  console.error(error instanceof HubError ? `timeback-events: ${error.message}` : error);
}

function defaultUrl() {
  const origin = globalThis.location?.origin;
  return globalThis.process?.env?.TIMEBACK_EVENTS_URL ?? (origin?.startsWith('http') ? origin : DEFAULT_URL);
}
