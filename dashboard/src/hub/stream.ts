// One EventSource on /events, kept alive. It reads the control frames, asks for a snapshot where one is needed,
// and says at every moment how the connection really stands. Never decides what an event means.

import { parse } from './json';
import { CONTROL_FRAMES, type ControlFrame, type HubEvent, type Snapshot, type Verdict } from './protocol';
import { fields, number, text, word, type Fields } from './read';
import { eventOf, problemText, snapshotOf } from './shapes';

export type Phase =
  /** The first connection has not been answered yet. */
  | 'connecting'
  | 'open'
  /** Open by its own word, but nothing came for two and a half keep-alives. */
  | 'stale'
  /** The hub ended or refused the stream and said why; it is tried again. */
  | 'closed'
  /** The connection broke without a word; it is tried again. */
  | 'lost'
  | 'signed_out'
  /** The hub answers with an error that a new try alone won't change. */
  | 'refused';

export interface Link {
  phase: Phase;
  since: number;
  keepAliveMs: number;
  lastFrameAt?: number;
  verdict?: Verdict;
  openedAt?: number;
  /** How often the stream was picked up again without a loss. */
  resumes: number;
  /** Why the hub closed or refused. */
  reason?: string;
  retryAt?: number;
  cursor?: string;
}

/** Events that the page could not get or not read: the state is fresh again, the feed has a hole. */
export interface Gap {
  at: number;
  reason: string;
  /** The one event that is missing. */
  eventId?: string;
  /** The last event that the page then had, by its place in the log. */
  after?: number;
  afterId?: string;
  nextId?: string;
}

export interface StreamHandler {
  snapshot(snapshot: Snapshot): void;
  event(event: HubEvent): void;
  gap(gap: Gap): void;
  link(link: Link): void;
}

/** What the stream needs of the world, so that a test can be the world. */
export interface World {
  openSource(url: string): EventSource;
  fetch(url: string, init: RequestInit): Promise<Response>;
  now(): number;
  random(): number;
  setTimeout(run: () => void, ms: number): number;
  clearTimeout(timer: number): void;
}

export class HubStream {
  link: Link;
  #source?: EventSource;
  #retryTimer?: number;
  #failures = 0;
  #parts: Fields[] = [];
  #asksSnapshot = false;
  readonly #base: string;
  readonly #handler: StreamHandler;
  readonly #world: World;

  constructor(base: string, handler: StreamHandler, world: World) {
    this.#base = base;
    this.#handler = handler;
    this.#world = world;
    this.link = { phase: 'connecting', since: world.now(), keepAliveMs: DEFAULT_KEEPALIVE_MS, resumes: 0 };
  }

  /** Opens a new connection: after the last event we have, or, without one, from a snapshot. */
  open() {
    if (this.link.phase === 'signed_out') this.#enter('connecting');
    this.#open(this.link.cursor === undefined);
  }

  close() {
    this.#source?.close();
    this.#source = undefined;
    if (this.#retryTimer !== undefined) this.#world.clearTimeout(this.#retryTimer);
    this.#retryTimer = undefined;
  }

  /** Called about once a second: a dead connection makes no sound. */
  tick() {
    const { phase, lastFrameAt, keepAliveMs } = this.link;
    if (lastFrameAt === undefined || (phase !== 'open' && phase !== 'stale')) return;
    const silence = this.#world.now() - lastFrameAt;
    if (silence > REOPEN_AFTER_KEEPALIVES * keepAliveMs) this.open();
    else if (silence > STALE_AFTER_KEEPALIVES * keepAliveMs) this.#enter('stale');
  }

  #open(withSnapshot: boolean) {
    this.close();
    this.#parts = [];
    this.#asksSnapshot = withSnapshot;
    const start = withSnapshot ? 'snapshot=true' : `lastEventId=${encodeURIComponent(this.link.cursor ?? '')}`;
    const source = this.#world.openSource(`${this.#base}events?format=message&${start}`);
    this.#source = source;
    source.onmessage = (message) => this.#frame(source, message, 'event');
    for (const name of CONTROL_FRAMES) source.addEventListener(name, (message) => this.#frame(source, message as MessageEvent, name));
    source.onerror = () => this.#broken(source);
  }

  #frame(source: EventSource, message: MessageEvent<string>, name: ControlFrame | 'event') {
    if (source !== this.#source) return;
    const now = this.#world.now();
    this.link.lastFrameAt = now;
    if (this.link.phase === 'stale') this.#enter('open');
    const data = read(message.data);
    switch (name) {
      case 'event': {
        const event = eventOf(data);
        if (!event) return this.startOver(message.lastEventId);
        this.link.cursor = message.lastEventId || event.id;
        return this.#handler.event(event);
      }
      case 'bookmark':
        if (message.lastEventId && this.#parts.length === 0) this.link.cursor = message.lastEventId;
        return this.#report();
      case 'stream_opened':
        return this.#opened(data, message.lastEventId);
      case 'snapshot':
        return this.#snapshotPart(data, message.lastEventId);
      case 'stream_gap':
        this.#handler.gap({ at: now, reason: text(data.reason) ?? 'unknown', afterId: text(data.afterId), nextId: text(data.nextId) });
        // The events in between changed things that we now don't know of.
        return this.#open(true);
      case 'stream_closing':
        return this.#enter('closed', { reason: text(data.reason) });
    }
  }

  /** There is an event that the page can't make sense of: it says so, and asks the hub what has come of it. */
  startOver(eventId: string) {
    this.#handler.gap({ at: this.#world.now(), reason: 'unreadable', eventId });
    this.#open(true);
  }

  #opened(opened: Fields, id: string) {
    const now = this.#world.now();
    const verdict = word(opened.verdict, VERDICTS);
    this.#parts = [];
    this.link.keepAliveMs = number(opened.keepAliveMs) || DEFAULT_KEEPALIVE_MS;
    if (verdict === 'gap') {
      const afterId = text(opened.requestedId) ?? this.link.cursor;
      this.#handler.gap({ at: now, reason: text(opened.reason) ?? 'expired', afterId, nextId: text(opened.oldestId) });
      if (!this.#asksSnapshot) return this.#open(true);
    }
    if (verdict === 'resumed') this.link.resumes += 1;
    if (id) this.link.cursor = id;
    // With a snapshot the connection has proved itself only once that could be read.
    if (!this.#asksSnapshot) this.#failures = 0;
    return this.#enter('open', { verdict, openedAt: now });
  }

  #snapshotPart(part: Fields, id: string) {
    this.#parts.push(part);
    if (this.#parts.length < (number(part.parts) ?? 1)) return;
    const snapshot = snapshotOf(this.#parts);
    this.#parts = [];
    if (!snapshot) {
      this.close();
      return this.#retry('refused', REFUSED_RETRY_MS, 'This page can’t read the state that the hub sends: the two may be of different versions. Reloading the page may help.');
    }
    this.#failures = 0;
    this.link.cursor = id || snapshot.id;
    this.#handler.snapshot(snapshot);
    this.#report();
  }

  #broken(source: EventSource) {
    if (source !== this.#source) return;
    // After the hub's own word the end of the stream is no news.
    if (this.link.phase !== 'closed') this.#enter('lost');
    if (source.readyState !== CLOSED) return;
    // A browser gives up for good on any answer but 200, and hides which one it was.
    void this.#diagnose(source);
  }

  async #diagnose(source: EventSource) {
    const abort = new AbortController();
    let status = 0;
    let detail: string | undefined;
    try {
      const response = await this.#world.fetch(`${this.#base}events?format=message&snapshot=true`, {
        headers: { accept: 'text/event-stream' },
        signal: abort.signal,
      });
      status = response.status;
      if (!response.ok) detail = problemText(await response.json().catch(() => undefined)) ?? `The hub answered ${status}.`;
    } catch {
      // No answer at all: the hub or the network is away.
    }
    abort.abort();
    if (source !== this.#source) return;
    // Whoever signs in next may see something else: that begins with a snapshot.
    if (status === 401) return this.#enter('signed_out', { reason: detail, cursor: undefined });
    if (status >= 400) return this.#retry('refused', REFUSED_RETRY_MS, detail);
    const wait = Math.min(FIRST_RETRY_MS * 2 ** this.#failures, LONGEST_RETRY_MS);
    this.#failures += 1;
    // After the hub's own word the end of the stream is no news.
    this.#retry(this.link.phase === 'closed' ? undefined : 'lost', wait);
  }

  #retry(phase: Phase | undefined, wait: number, reason?: string) {
    const delay = wait * (0.75 + this.#world.random() / 2);
    if (phase) this.#enter(phase, { reason, retryAt: this.#world.now() + delay });
    this.#retryTimer = this.#world.setTimeout(() => this.open(), delay);
  }

  #enter(phase: Phase, extra: Partial<Link> = {}) {
    const { reason: _reason, retryAt: _retryAt, ...kept } = this.link;
    const since = phase === this.link.phase ? this.link.since : this.#world.now();
    this.link = { ...kept, since, phase, ...extra };
    this.#report();
  }

  #report() {
    this.#handler.link({ ...this.link });
  }
}

/** A frame's data, field by field; of what is no JSON none. */
function read(data: string): Fields {
  try {
    return fields(parse(data));
  } catch {
    return {};
  }
}

const VERDICTS = ['live', 'resumed', 'replay', 'gap'] as const;

const CLOSED = 2;
const DEFAULT_KEEPALIVE_MS = 15_000;
const STALE_AFTER_KEEPALIVES = 2.5;
const REOPEN_AFTER_KEEPALIVES = 4;
const FIRST_RETRY_MS = 1_000;
const LONGEST_RETRY_MS = 15_000;
const REFUSED_RETRY_MS = 30_000;
