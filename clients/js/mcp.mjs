/**
 * An MCP server that reports itself: `report(server)`, for a server built on the official TypeScript SDK.
 *
 * What the server has is asked from the server itself, by the protocol that it speaks, so no private
 * state of the SDK is touched and every way to declare a tool counts. The hub is never in the way:
 * where it can't be reached the server works as without it, and is registered once it can.
 */
import { Hub } from './index.mjs';

/** What a list is called by, in the protocol and to the hub. */
const LISTS = [
  { method: 'tools/list', items: 'tools', name: 'name', capability: 'tools' },
  { method: 'resources/list', items: 'resources', name: 'uri', capability: 'resources' },
  { method: 'resources/templates/list', items: 'resourceTemplates', name: 'uriTemplate', capability: 'resources' },
  { method: 'prompts/list', items: 'prompts', name: 'name', capability: 'prompts' },
];

/** Where servers of the protocol's stateless era say who they are, in every answer. */
const SERVER_INFO = 'io.modelcontextprotocol/serverInfo';

/** How long the end of a server waits for the hub; one that just vanishes is noticed by its silence. */
const FAREWELL_MS = 1_000;

/**
 * Reports `server` (an `McpServer` or `Server`) from its next `connect` to its end. With a `url` it is
 * a network server, which lives as long as the process rather than a session: then `server` is an
 * instance of its own, connected to nothing else, and is reported at once.
 */
export function report(server, options = {}) {
  const report = new Report(options);
  // McpServer hands its connect on to the Server inside, which some transports call directly.
  const target = server.server ?? server;
  if (options.url) {
    report.introduce(target);
  } else {
    const connect = target.connect.bind(target);
    target.connect = async (transport) => {
      report.listen(transport);
      await connect(transport);
    };
  }
  return report;
}

/** The life of one server at the hub. */
class Report {
  /** The server at the hub, once it is registered there. */
  registered;

  #hub;
  #description;
  #onError;
  #end = new AbortController();
  #resolve;
  #server;
  #tail = Promise.resolve();
  #stale = false;

  constructor({ hub = new Hub(), onError, ...description }) {
    this.#hub = hub;
    this.#onError = onError ?? ((error) => console.error(`timeback-events: ${error.message}`));
    this.#description = { transport: description.url ? 'http' : 'stdio', ...description };
    this.registered = new Promise((resolve) => (this.#resolve = resolve));
    this.#followProcess();
  }

  /** Deregisters. */
  async close(reason) {
    if (this.#end.signal.aborted) return;
    this.#end.abort();
    await this.#tail;
    await this.#server?.close(reason, { timeoutMs: FAREWELL_MS, retries: 0 }).catch((error) => this.#onError(error));
  }

  /** Listens in on a transport that the server is about to connect to. */
  listen(transport) {
    const { onclose } = transport;
    transport.onclose = () => {
      onclose?.();
      this.close();
    };
    // Where clients close by ending our standard input, the SDK's transport doesn't call that a close.
    if (this.#description.transport === 'stdio') globalThis.process?.stdin.once('end', () => this.close());
    return this.#follow(new Line(transport));
  }

  /** Gives a server a client of our own, which only asks what it has. */
  async introduce(server) {
    const transport = { start: async () => {}, send: async () => {}, close: async () => transport.onclose?.() };
    const line = this.#follow(new Line(transport));
    await server.connect(transport);
    await line.ask('initialize', { protocolVersion: '2025-06-18', capabilities: {}, clientInfo: { name: 'timeback-events', version: '0.1.0' } });
  }

  #follow(line) {
    line.onIdentity = ({ name, version }) => {
      this.#description = { id: toId(name), name, version, ...this.#description };
      this.#refresh(line);
    };
    // Before it has said who it is there is nothing to mend yet.
    line.onListChanged = () => this.#description.name && this.#refresh(line);
    return line;
  }

  /** Asks what the server has and tells the hub. Calls that come while one waits its turn are that one. */
  #refresh(line) {
    if (this.#stale) return;
    this.#stale = true;
    this.#tail = this.#tail
      .then(async () => {
        this.#stale = false;
        const capabilities = await describe(line);
        if (this.#end.signal.aborted) return;
        if (this.#server) return this.#server.update({ capabilities });
        const forever = { retries: Infinity, signal: this.#end.signal, onError: this.#onError };
        this.#server = await this.#hub.register({ ...this.#description, capabilities }, forever);
        this.#resolve(this.#server);
      })
      .catch((error) => {
        if (!this.#end.signal.aborted) this.#onError(error);
      });
  }

  /** A signal ends the process as it would have without us, a moment later. */
  #followProcess() {
    const { process } = globalThis;
    for (const signal of ['SIGINT', 'SIGTERM']) {
      const farewell = async () => {
        await Promise.race([this.close(), new Promise((resolve) => setTimeout(resolve, FAREWELL_MS))]);
        if (process.listenerCount(signal) === 0) process.kill(process.pid, signal);
      };
      process?.once(signal, farewell);
      this.#end.signal.addEventListener('abort', () => process?.off(signal, farewell));
    }
  }
}

/** One connection of a server, seen from the client's end: what it says, and questions in its own protocol. */
class Line {
  onIdentity;
  onListChanged;

  #transport;
  #identity;
  #envelope;
  #waiting = new Map();
  #asked = 0;

  constructor(transport) {
    this.#transport = transport;
    const send = transport.send.bind(transport);
    transport.send = async (message, options) => {
      if (!this.#answers(message)) await send(message, options);
    };
    const { onmessage } = transport;
    transport.onmessage = (message, extra) => {
      onmessage?.(message, extra);
      this.#remember(message);
    };
  }

  /** Answers the result, or nothing where the server doesn't know the method. */
  ask(method, params = {}) {
    const id = `timeback-events-${++this.#asked}`;
    return new Promise((resolve) => {
      this.#waiting.set(id, resolve);
      this.#transport.onmessage({ jsonrpc: '2.0', id, method, params: { ...params, ...this.#envelope } });
    });
  }

  /** Whether a message of the server is for us alone. */
  #answers({ id, method, result }) {
    const identity = result?.serverInfo ?? result?._meta?.[SERVER_INFO];
    if (identity && !this.#identity) {
      this.#identity = identity;
      // Only after this answer has left: the server's own client comes first.
      queueMicrotask(() => this.onIdentity?.(identity));
    }
    if (method?.endsWith('/list_changed')) this.onListChanged?.();
    const resolve = this.#waiting.get(id);
    this.#waiting.delete(id);
    resolve?.(result);
    return resolve !== undefined;
  }

  /** In the stateless era every request brings its protocol version along; ours bring the client's. */
  #remember({ id, method, params }) {
    if (!method || id === undefined || !params?._meta || this.#waiting.has(id)) return;
    const { progressToken, ...meta } = params._meta;
    this.#envelope = { _meta: meta };
  }
}

async function describe(line) {
  const capabilities = { tools: [], resources: [], prompts: [] };
  for (const { method, items, name, capability } of LISTS) {
    let cursor;
    do {
      const page = await line.ask(method, cursor && { cursor });
      capabilities[capability].push(...(page?.[items] ?? []).map((item) => item[name]));
      cursor = page?.nextCursor;
    } while (cursor);
  }
  return capabilities;
}

/** A server keeps its id from one start to the next, so it has to come from its name. */
function toId(name) {
  return name.replace(/[^A-Za-z0-9_.:-]+/g, '-').slice(0, 128) || undefined;
}

