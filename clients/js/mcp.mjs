/**
 * An MCP server that reports itself: `report(server)`, for a server built on the official TypeScript SDK.
 *
 * What the server has is asked from the server itself, by the protocol that it speaks, so no private
 * state of the SDK is needed and every way to declare a tool counts. The hub is never in the way: if
 * it can't be reached the server works as without it, and is registered once it can. Nothing is ever
 * written to standard output, which may be the server's own line to its client.
 */
import { Line } from './mcp/line.mjs';
import { Presence, complain } from './mcp/presence.mjs';

/** Said once, not for each request. */
const PER_REQUEST = 'this server is made anew for each request, so it is not registered; hand the function that makes it over, as report(makeServer, { url })';
let saidPerRequest = false;

/**
 * Reports this process as an instance of an MCP server. `target` is one of
 *
 * - an `McpServer` or `Server`: reported from its next `connect` on. Over stdio until that connection
 *   ends; over the network as long as the process lives, for there a connection is only a session.
 *   With a `url` it must be one of its own, connected to nothing else, and is reported at once;
 * - a function that makes such servers, one for each request, session or connection. It is handed back
 *   to be used in its place, and reported once however often it is called;
 * - a `FastMCP` of the npm package `fastmcp`, before its `start`.
 */
export function report(target, options = {}) {
  const report = new Report(options);
  if (typeof target === 'function') return Object.defineProperties(report.factory(target), Object.getOwnPropertyDescriptors(report.handle));
  if (typeof target.start === 'function' && Array.isArray(target.sessions)) report.fastMcp(target);
  else if (options.url) report.introduce(() => target);
  else report.watch(target);
  return report.handle;
}

class Report {
  /** What `report` answers. */
  handle;

  #options;
  #description;
  #onError;
  #make;
  #presence;
  #registered;
  #resolve;
  #closed = false;
  #introduced = false;

  constructor({ hub, onError = complain, onRecovery = onError === complain ? (message) => complain({ message }) : undefined, ...description }) {
    this.#options = { hub, onError, onRecovery };
    this.#description = description;
    this.#onError = onError;
    const report = this;
    this.handle = {
      get registered() {
        return report.#whenRegistered();
      },
      close: (reason, options) => report.close(reason, options),
    };
  }

  /** Made when it is asked for: one per session would otherwise wait for a hub that isn't there. */
  #whenRegistered() {
    this.#registered ??= new Promise((resolve) => {
      this.#resolve = resolve;
      this.#presence?.registered.then(resolve);
    });
    return this.#registered;
  }

  async close(reason, options) {
    this.#closed = true;
    await this.#presence?.end(reason, options);
  }

  /** From the next time that the server connects. */
  watch(server) {
    const target = unwrap(server);
    const connect = target.connect.bind(target);
    target.connect = async (transport) => {
      const attach = this.#listen(transport);
      await connect(transport);
      attach?.();
    };
  }

  /** A network server is asked once, as an instance of its own; otherwise each that is made is watched. */
  factory(make) {
    const { url } = this.#description;
    this.#make = make;
    if (url) this.introduce(make);
    const watched = (server) => {
      this.watch(server);
      return server;
    };
    return (...args) => {
      const server = make(...args);
      if (url) return server;
      return typeof server?.then === 'function' ? server.then(watched) : watched(server);
    };
  }

  /** Gives a server a client of our own, which only asks what it has. */
  async introduce(make, kind = this.#description.transport ?? 'http') {
    if (this.#introduced) return;
    this.#introduced = true;
    try {
      const line = this.#follow(kind);
      await unwrap(await make({ era: 'legacy' })).connect(line.loopback());
    } catch (error) {
      this.#onError(new Error(`this server can't be asked what it has, so it is not registered: ${error.message}`, { cause: error }));
    }
  }

  fastMcp(server) {
    const { name, version } = server.options ?? {};
    const attach = (session) => this.#listen(session.server.transport)?.({ identity: { name, version }, client: session.server.getClientVersion?.() });
    const start = server.start.bind(server);
    const asks = typeof server.connect === 'function';
    if (!asks) server.on('connect', ({ session }) => attach(session));
    server.start = async (options) => {
      await start(options);
      const overStdio = server.sessions.length > 0;
      if (asks && !overStdio) await this.introduce(() => ({ connect: (transport) => server.connect(transport) }));
      else if (asks) server.sessions.filter((session) => session.server.transport).forEach(attach);
      else if (options?.httpStream?.stateless) this.#onError(new Error('this version of fastmcp can\'t be asked what it has without a session, so it is not registered; a newer one can (4.20)'));
    };
  }

  /** Listens in on a transport that is about to be connected. Answers what to do once it is. */
  #listen(transport) {
    const kind = this.#description.transport ?? (this.#description.url ? 'http' : kindOf(transport));
    const lasting = kind !== 'stdio';
    if (lasting && this.#make) {
      this.introduce(this.#make, kind);
      return undefined;
    }
    // A session of a network server that is known adds nothing.
    if (this.#closed || (lasting && this.#presence?.described)) return undefined;
    const line = this.#follow(kind);
    line.tapSend(transport);
    return ({ identity, client } = {}) => {
      line.tap();
      if (client) line.client = client;
      if (identity) line.identify(identity);
    };
  }

  #follow(kind) {
    const lasting = kind !== 'stdio';
    let presence;
    const line = new Line({
      onIdentity: ({ name, version }) => {
        if (this.#closed) return;
        const { client, protocolVersion } = line;
        const description = { name, version: version || undefined, transport: kind, client: lasting ? undefined : client, protocolVersion, ...this.#description };
        presence = this.#presence = Presence.join(line, description, this.#options);
        if (this.#resolve) presence.registered.then(this.#resolve);
        // One that another session has described needs no second description.
        if (!presence.described) presence.describe(line);
      },
      onListChanged: () => presence?.describe(line),
      onClose: () => {
        if (!presence && lasting && line.served && !saidPerRequest) {
          saidPerRequest = true;
          this.#onError(new Error(PER_REQUEST));
        }
        presence?.leave(line, lasting);
      },
    });
    return line;
  }
}

/** `McpServer` hands its connect on to the `Server` inside, which some transports call directly. */
function unwrap(server) {
  return server.server ?? server;
}

/** How clients reach the other end of a transport. */
function kindOf(transport) {
  const name = transport.constructor?.name ?? '';
  if (typeof transport.handlePostMessage === 'function') return 'sse';
  if (typeof transport.handleRequest === 'function' || typeof transport.handleMessage === 'function' || /http/i.test(name)) return 'http';
  return /websocket/i.test(name) ? 'websocket' : 'stdio';
}
