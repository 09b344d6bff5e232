/** One connection of an MCP server, seen from the client's end: what it says, and questions in its own protocol. */

/** Who asks, if we do. */
const SELF = { name: 'timeback-events', version: '0.1.0' };

/** Under which names the stateless era of the protocol says, in every message, what the other says once. */
const META = 'io.modelcontextprotocol/';

/** What a list is called by, in the protocol and to the hub. */
const LISTS = [
  { method: 'tools/list', items: 'tools', name: 'name', capability: 'tools' },
  { method: 'resources/list', items: 'resources', name: 'uri', capability: 'resources' },
  { method: 'resources/templates/list', items: 'resourceTemplates', name: 'uriTemplate', capability: 'resources' },
  { method: 'prompts/list', items: 'prompts', name: 'name', capability: 'prompts' },
];

/** What of a name and of a description is told, in characters; a change beyond it shows in the hash. */
const LONGEST_NAME = 120;
const LONGEST_DESCRIPTION = 160;

/** What is told of all of them together, in characters: below what a hub takes. */
const LONGEST_TOLD = 128 * 1024;

/** A server that pages for ever is asked for no more pages than this. */
const MOST_PAGES = 1_000;

/** What a question is answered with when the connection ends. */
const CLOSED = Symbol('closed');

export class Line {
  /** The client at the other end, `{ name, version }`, once it has said so. */
  client;
  protocolVersion;
  /** Whether the server has answered anything. */
  served = false;

  #listeners;
  #transport;
  #identified = false;
  #closed = false;
  #envelope;
  #waiting = new Map();
  #discoveries = new Set();
  #asked = 0;

  constructor(listeners) {
    this.#listeners = listeners;
  }

  /** Hears what the server says, from before it is connected on. */
  tapSend(transport) {
    this.#transport = transport;
    const send = transport.send.bind(transport);
    transport.send = async (message, options) => {
      if (!this.#take(message)) await send(message, options);
    };
  }

  /** Hears what the client says, once connected: older SDKs put their own callbacks in place of any that are there. */
  tap() {
    const transport = this.#transport;
    const { onmessage, onclose } = transport;
    transport.onmessage = (message, extra) => {
      this.#remember(message);
      onmessage?.(message, extra);
    };
    transport.onclose = () => {
      onclose?.();
      this.#end();
    };
    // Clients of a stdio server close by ending its input, which the SDK's version 1 doesn't call a close.
    transport._stdin?.once?.('end', () => this.#end());
    transport._stdin?.once?.('close', () => this.#end());
  }

  /** A transport with nobody but us at the other end, who introduce ourselves once it is connected. */
  loopback() {
    const transport = {
      start: async () => void setTimeout(() => this.#initialize()),
      close: async () => {
        transport.onclose?.();
        this.#end();
      },
      // What the server asks of its client gets an answer, lest it wait for one.
      send: async ({ id, method }) => {
        if (method === undefined || id === undefined) return;
        const answer = method === 'ping' ? { result: {} } : { error: { code: -32601, message: 'not offered by this client' } };
        queueMicrotask(() => transport.onmessage?.({ jsonrpc: '2.0', id, ...answer }));
      },
    };
    this.tapSend(transport);
    return transport;
  }

  async #initialize() {
    await this.ask('initialize', { protocolVersion: '2025-06-18', capabilities: {}, clientInfo: SELF });
    if (!this.#closed) this.#transport.onmessage({ jsonrpc: '2.0', method: 'notifications/initialized' });
  }

  /** For a server that has said who it is before we could hear it. */
  identify(identity) {
    if (this.#identified || this.#closed) return;
    this.#identified = true;
    // Only after the message at hand has left: the server's own client comes first.
    queueMicrotask(() => this.#closed || this.#listeners.onIdentity(identity));
  }

  /** Answers the result, or nothing if the server doesn't know the method. */
  ask(method, params = {}) {
    if (this.#closed) return Promise.resolve(CLOSED);
    const id = `timeback-events-${++this.#asked}`;
    return new Promise((resolve) => {
      this.#waiting.set(id, resolve);
      this.#transport.onmessage({ jsonrpc: '2.0', id, method, params: { ...params, ...this.#envelope } });
    });
  }

  /** What the server has; nothing if the connection ended meanwhile. */
  async describe() {
    const capabilities = { tools: [], resources: [], prompts: [] };
    for (const { method, items, name, capability } of LISTS) {
      let cursor;
      for (let page = 0; page < MOST_PAGES; page++) {
        const answer = await this.ask(method, cursor && { cursor });
        if (answer === CLOSED) return undefined;
        capabilities[capability].push(...(await Promise.all((answer?.[items] ?? []).map((item) => offered(item, name)))));
        cursor = answer?.nextCursor;
        if (!cursor) break;
      }
    }
    return fitting(capabilities);
  }

  /** Whether a message of the server is for us alone. */
  #take({ id, method, result }) {
    const identity = result?.serverInfo ?? result?._meta?.[`${META}serverInfo`];
    if (result?.protocolVersion) this.protocolVersion = result.protocolVersion;
    // One that is only discovered may be a sibling that a client starts to look at, and lets go of.
    if (identity && !this.#discoveries.delete(id)) this.identify(identity);
    if (method?.endsWith('/list_changed')) this.#listeners.onListChanged();
    const resolve = this.#waiting.get(id);
    if (!resolve && result) this.served = true;
    this.#waiting.delete(id);
    resolve?.(result);
    return resolve !== undefined;
  }

  #remember({ id, method, params }) {
    if (!method || id === undefined || this.#waiting.has(id)) return;
    if (method === 'initialize') this.client = params?.clientInfo;
    if (method === 'server/discover') this.#discoveries.add(id);
    if (!params?._meta) return;
    // In the stateless era every request brings its protocol version along; ours bring the client's.
    const { progressToken, ...meta } = params._meta;
    this.#envelope = { _meta: meta };
    this.client = meta[`${META}clientInfo`] ?? this.client;
    this.protocolVersion = meta[`${META}protocolVersion`] ?? this.protocolVersion;
  }

  #end() {
    if (this.#closed) return;
    this.#closed = true;
    for (const resolve of this.#waiting.values()) resolve(CLOSED);
    this.#waiting.clear();
    this.#listeners.onClose();
  }
}

/** What the hub is told of one entry: its name, its description, and a hash of all that a client sees of it, by which a change of any of that is drift. */
async function offered(item, name) {
  const { _meta, ...surface } = item;
  const text = new TextEncoder().encode(JSON.stringify(surface, sorted));
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', text));
  const hash = Array.from(digest.subarray(0, 8), (byte) => byte.toString(16).padStart(2, '0')).join('');
  const description = typeof item.description === 'string' ? item.description.slice(0, LONGEST_DESCRIPTION) : undefined;
  return { name: String(item[name]).slice(0, LONGEST_NAME), description, hash };
}

/** The order of members says nothing. */
function sorted(_, value) {
  const isObject = typeof value === 'object' && value !== null && !Array.isArray(value);
  return isObject ? Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1))) : value;
}

/** As much as a hub takes: at first the descriptions go, then the hashes. */
function fitting(capabilities) {
  const each = (change) => Object.fromEntries(Object.entries(capabilities).map(([kind, list]) => [kind, list.map(change)]));
  const forms = [({ name, hash }) => ({ name, hash }), ({ name }) => name];
  let told = capabilities;
  for (const form of forms) {
    if (JSON.stringify(told).length <= LONGEST_TOLD) break;
    told = each(form);
  }
  return told;
}
