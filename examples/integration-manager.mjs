// What happens in the fleet, live: a listener in one file without dependencies, for Node 20 and browsers.
//
//   node examples/integration-manager.mjs                          TIMEBACK_EVENTS_URL names another hub
//   import integrationManager from './integration-manager.mjs'     in a page, ?hub=… names another hub
//
// A lost connection goes on right after the last event: each is seen once. `clients/js` is this, grown up.

/** Hands every event of a hub to its listeners. Connects with the first of them. */
export class IntegrationManager {
  #url;
  #listeners = new Set();
  #running = false;
  #connection;
  #lastEventId = '';
  #retryMs = 3_000;
  #silenceMs = 60_000;

  constructor(url = hubUrl()) {
    this.#url = url.replace(/\/+$/, '');
  }

  addEventListener(listener) {
    this.#listeners.add(listener);
    if (!this.#running) this.#run();
  }

  removeEventListener(listener) {
    this.#listeners.delete(listener);
    if (this.#listeners.size === 0) this.#connection?.abort();
  }

  /** Reconnects for as long as anybody listens. */
  async #run() {
    this.#running = true;
    while (this.#listeners.size > 0) {
      try {
        await this.#connect();
      } catch (error) {
        if (this.#listeners.size === 0) break;
        console.warn(`No stream from ${this.#url}: ${error.cause?.message ?? error.message}`);
      }
      // Up to half as much again at random, so that a hub that was away isn't met by everybody at once.
      await new Promise((resolve) => setTimeout(resolve, this.#retryMs * (1 + Math.random() / 2)));
    }
    this.#running = false;
  }

  async #connect() {
    const connection = (this.#connection = new AbortController());
    let watchdog;
    try {
      const headers = this.#lastEventId ? { 'last-event-id': this.#lastEventId } : {};
      // In this format only frames about the stream itself have a name.
      const response = await fetch(`${this.#url}/events?format=message`, { headers, signal: connection.signal });
      if (!response.ok) throw new Error(await response.text());
      const reader = response.body.getReader();
      const decoder = new TextDecoder();
      let unfinished = '';
      for (;;) {
        // The hub is never silent for long: a line that stays dead is one that nobody hung up.
        watchdog = setTimeout(() => connection.abort(new Error('the hub fell silent')), this.#silenceMs);
        const { done, value } = await reader.read();
        clearTimeout(watchdog);
        if (done) return;
        const blocks = (unfinished + decoder.decode(value, { stream: true })).split('\n\n');
        unfinished = blocks.pop();
        for (const block of blocks) this.#receive(parse(block));
      }
    } finally {
      clearTimeout(watchdog);
      connection.abort();
    }
  }

  #receive({ id, event, data, retry }) {
    if (retry) this.#retryMs = Number(retry);
    if (id) this.#lastEventId = id;
    const content = data && JSON.parse(data);
    if (!event && content) return this.#dispatch(content);
    if (content?.keepAliveMs) this.#silenceMs = 2 * content.keepAliveMs + 1_000;
    if (content?.verdict === 'gap' || event === 'stream_gap') console.warn(`Events are missing here: ${content.reason}`);
  }

  #dispatch(event) {
    for (const listener of this.#listeners) {
      try {
        listener(event);
      } catch (error) {
        console.error(error);
      }
    }
  }
}

/** The fields of one block of the hub's stream, whose lines end in LF and whose data is one line. */
function parse(block) {
  return Object.fromEntries(block.split('\n').map((line) => line.match(/^(\w*): ?(.*)$/s)?.slice(1) ?? [line, '']));
}

function hubUrl() {
  const page = globalThis.location;
  const fromPage = page && (new URLSearchParams(page.search).get('hub') ?? (page.origin.startsWith('http') ? page.origin : undefined));
  return globalThis.process?.env?.TIMEBACK_EVENTS_URL ?? fromPage ?? 'http://127.0.0.1:3001';
}

export const integrationManager = new IntegrationManager();
export default integrationManager;

if (globalThis.process?.argv?.[1]?.endsWith('integration-manager.mjs')) {
  integrationManager.addEventListener((event) => {
    switch (event.type) {
      case 'server_connected':     console.log(`New server connected: ${event.data.connection.name}`); break;
      case 'workflow_completed':   console.log(`Workflow ${event.data.workflowId} completed successfully`); break;
      case 'server_disconnected':  console.log(`Server disconnected: ${event.serverId}`); break;
    }
  });
}
