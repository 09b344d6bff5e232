// The stream, the state it leads to and the latest events, for any number of listeners: in the SharedWorker these are
// the browser's tabs, in the fallback the one page.

import { parse } from './json';
import type { HubEvent } from './protocol';
import { snapshotOf } from './shapes';
import { apply, fromSnapshot, type State } from './state';
import { HubStream, type Gap, type Link, type World } from './stream';

export type Message =
  | { kind: 'welcome'; state?: State; recent: HubEvent[]; gaps: Gap[]; link: Link; listeners: number }
  | { kind: 'snapshot'; state: State }
  | { kind: 'events'; events: HubEvent[] }
  | { kind: 'gap'; gap: Gap }
  | { kind: 'link'; link: Link; listeners: number };

export type Request = 'hello' | 'bye' | 'reconnect';
export type Listener = (message: Message) => void;

export class Session {
  readonly #listeners = new Set<Listener>();
  readonly #stream: HubStream;
  readonly #base: string;
  readonly #world: World;
  #state?: State;
  #recent: HubEvent[] = [];
  #gaps: Gap[] = [];
  #waiting: HubEvent[] = [];
  #flushTimer?: number;
  #asksState = false;

  constructor(base: string, world: World) {
    this.#base = base;
    this.#world = world;
    this.#stream = new HubStream(
      base,
      {
        snapshot: (snapshot) => this.#adopt(fromSnapshot(snapshot)),
        event: (event) => this.#enqueue(event),
        gap: (gap) => this.#addGap(gap),
        link: (link) => this.#linkChanged(link),
      },
      world,
    );
    this.#stream.open();
  }

  add(listener: Listener) {
    this.#flush();
    this.#listeners.add(listener);
    listener({ kind: 'welcome', state: this.#state, recent: this.#recent, gaps: this.#gaps, link: this.#stream.link, listeners: this.#listeners.size });
    this.#linkChanged(this.#stream.link);
  }

  remove(listener: Listener) {
    if (this.#listeners.delete(listener)) this.#linkChanged(this.#stream.link);
  }

  reconnect() {
    this.#stream.open();
  }

  tick() {
    this.#stream.tick();
  }

  close() {
    this.#stream.close();
  }

  /** A tab is told at most twenty times a second, however many events there are. */
  #enqueue(event: HubEvent) {
    this.#waiting.push(event);
    this.#flushTimer ??= this.#world.setTimeout(() => this.#flush(), FLUSH_MS);
  }

  #flush() {
    if (this.#flushTimer !== undefined) this.#world.clearTimeout(this.#flushTimer);
    this.#flushTimer = undefined;
    const events = this.#waiting;
    if (events.length === 0) return;
    this.#waiting = [];
    const before = this.#state;
    if (before) this.#state = apply(before, events);
    this.#recent = this.#recent.concat(events).slice(-RECENT_EVENTS);
    this.#tell({ kind: 'events', events });
    const doubt = this.#state?.doubt;
    if (doubt !== undefined && before?.doubt === undefined) this.#stream.startOver(doubt);
  }

  #adopt(state: State) {
    this.#flush();
    this.#state = state;
    this.#tell({ kind: 'snapshot', state });
  }

  #addGap(gap: Gap) {
    this.#flush();
    const placed = { ...gap, after: this.#recent.at(-1)?.sequence };
    this.#gaps = [...this.#gaps, placed].slice(-KEPT_GAPS);
    this.#tell({ kind: 'gap', gap: placed });
  }

  #linkChanged(link: Link) {
    if (link.phase === 'signed_out') {
      this.#flush();
      this.#state = undefined;
      this.#recent = [];
    }
    this.#tell({ kind: 'link', link, listeners: this.#listeners.size });
    if (link.phase === 'closed' && link.reason === 'disabled' && !this.#state) void this.#readState();
  }

  /** A hub whose stream is switched off still shows its state once, so that the switch can be found and turned on. */
  async #readState() {
    if (this.#asksState) return;
    this.#asksState = true;
    try {
      const response = await this.#world.fetch(`${this.#base}snapshot`, { headers: { accept: 'application/json' } });
      const snapshot = response.ok && snapshotOf([parse(await response.text())]);
      if (snapshot && !this.#state) this.#adopt(fromSnapshot(snapshot));
    } catch {
      // The link says that the hub is away; the next refusal asks again.
    }
    this.#asksState = false;
  }

  #tell(message: Message) {
    for (const listener of this.#listeners) listener(message);
  }
}

export const RECENT_EVENTS = 2_000;
const KEPT_GAPS = 20;
const FLUSH_MS = 50;
