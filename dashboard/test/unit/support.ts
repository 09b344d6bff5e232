import type { HubEvent } from '../../src/hub/protocol';
import type { World } from '../../src/hub/stream';

/** Makes events in sequence, a second apart. */
export function log(epoch = 'e') {
  let sequence = 0;
  return (type: string, data: unknown = {}, serverId?: string): HubEvent => {
    sequence += 1;
    return { id: `${epoch}-${sequence}`, sequence, type, timestamp: 1_000_000 + sequence * 1_000, data, ...(serverId && { serverId }) };
  };
}

export class FakeSource {
  readyState = 0;
  closed = false;
  onmessage?: (message: MessageEvent) => void;
  onerror?: () => void;
  readonly url: string;
  readonly #listeners = new Map<string, (message: MessageEvent) => void>();

  constructor(url: string) {
    this.url = url;
  }

  addEventListener(name: string, listener: (message: MessageEvent) => void) {
    this.#listeners.set(name, listener);
  }

  close() {
    this.closed = true;
    this.readyState = 2;
  }

  frame(name: string, data: unknown, lastEventId = '') {
    this.readyState = 1;
    this.#listeners.get(name)!({ data: JSON.stringify(data), lastEventId } as MessageEvent);
  }

  event(event: HubEvent) {
    this.text(JSON.stringify(event), event.id);
  }

  text(data: string, lastEventId: string) {
    this.onmessage!({ data, lastEventId } as MessageEvent);
  }

  /** The connection broke; the browser tries again by itself, or gives up. */
  breaks(forGood = false) {
    this.readyState = forGood ? 2 : 0;
    this.onerror!();
  }
}

/** A world whose clock and network the test holds in its hands. */
export class FakeWorld implements World {
  time = 1_000_000;
  sources: FakeSource[] = [];
  timers = new Map<number, { at: number; run: () => void }>();
  answer: () => Promise<Response> = () => Promise.reject(new TypeError('no network'));
  fetched: string[] = [];
  #timer = 0;

  get source() {
    return this.sources.at(-1)!;
  }

  openSource(url: string) {
    const source = new FakeSource(url);
    this.sources.push(source);
    return source as unknown as EventSource;
  }

  fetch(url: string) {
    this.fetched.push(url);
    return this.answer();
  }

  now() {
    return this.time;
  }

  random() {
    return 0.5;
  }

  setTimeout(run: () => void, ms: number) {
    this.#timer += 1;
    this.timers.set(this.#timer, { at: this.time + ms, run });
    return this.#timer;
  }

  clearTimeout(timer: number) {
    this.timers.delete(timer);
  }

  pass(ms: number) {
    this.time += ms;
    for (const [timer, { at, run }] of [...this.timers]) {
      if (at > this.time) continue;
      this.timers.delete(timer);
      run();
    }
  }
}

/** Lets what was promised happen. */
export const settle = () => new Promise((resolve) => setTimeout(resolve, 0));
