// Everything the page shows, in one place: the state and the link as the session tells them, and what the page itself
// reads from history (health strips, the status's past, the feed). Views read; only this file writes.

import { useEffect, useState } from 'preact/hooks';
import { api, HubError, sessionOf, type HistoryQuery, type Session } from './hub/api';
import { connect, type Client } from './hub/client';
import type { HubEvent, Pattern } from './hub/protocol';
import type { Message } from './hub/session';
import { apply, type State } from './hub/state';
import type { Gap, Link } from './hub/stream';
import { Feed } from './feed';
import { HealthLog, HEALTH_EVENTS } from './health-log';
import { DAY, MINUTE } from './ui/format';

const SESSION = 'timeback-events.session';

class Store {
  state?: State;
  link: Link = { phase: 'connecting', since: Date.now(), keepAliveMs: 0, resumes: 0 };
  listeners = 1;
  client?: Client;
  gaps: Gap[] = [];
  seenGaps = 0;
  feed = new Feed();
  healthLog = new HealthLog(Date.now());
  statusLog: HubEvent[] = [];
  /** From when on no change of the status is missing in there. */
  statusSince?: number;
  /** When the oldest event that the hub keeps happened. */
  logBegan?: number;
  /** Set where this browser has signed in. The cookie itself no script can read. */
  session?: Session = storedSession();
  readonly #views = new Set<() => void>();
  #scheduled = false;

  start() {
    connect(
      (message) => this.#receive(message),
      (client) => {
        this.client = client;
        this.changed();
      },
    );
  }

  subscribe(view: () => void) {
    this.#views.add(view);
    return () => {
      this.#views.delete(view);
    };
  }

  /** Views are told once per frame, however much has changed. */
  changed() {
    if (this.#scheduled) return;
    this.#scheduled = true;
    requestAnimationFrame(() => {
      this.#scheduled = false;
      for (const view of this.#views) view();
    });
  }

  get openGaps() {
    return this.gaps.slice(this.seenGaps);
  }

  acknowledgeGaps() {
    this.seenGaps = this.gaps.length;
    this.changed();
  }

  /** Whether the hub would let this reader switch patterns; one that asks nobody for a token lets everybody. */
  get mayAdminister() {
    return !this.session || this.session.scopes.includes('admin');
  }

  async switchPattern(name: string, enabled: boolean) {
    const pattern = await api.setPattern(name, enabled);
    // Where this very switch turns the stream off or on, no event will tell.
    if (this.state) {
      const patterns = new Map<string, Pattern>(this.state.patterns);
      patterns.set(name, { ...patterns.get(name), name, enabled, ...pattern });
      this.state = { ...this.state, patterns };
    }
    if (enabled && this.link.phase === 'closed') this.client?.reconnect();
    this.changed();
  }

  async signIn(token: string) {
    this.session = await api.signIn(token);
    localStorage.setItem(SESSION, JSON.stringify(this.session));
    this.client?.reconnect();
    this.changed();
  }

  async signOut() {
    await api.signOut();
    localStorage.removeItem(SESSION);
    this.session = undefined;
    this.client?.reconnect();
    this.changed();
  }

  #receive(message: Message) {
    switch (message.kind) {
      case 'welcome':
        this.link = message.link;
        this.listeners = message.listeners;
        this.gaps = message.gaps;
        this.seenGaps = message.gaps.length;
        this.feed.append(message.recent);
        this.feed.reaches(message.recent[0]?.timestamp ?? Date.now());
        for (const gap of message.gaps) if (isHole(gap)) this.feed.markGap(gap);
        if (message.state) this.#adopt(message.state);
        break;
      case 'snapshot':
        this.#adopt(message.state);
        break;
      case 'events':
        if (this.state) this.state = apply(this.state, message.events);
        this.feed.append(message.events);
        this.healthLog.append(message.events);
        this.statusLog = mergeStatus(this.statusLog, message.events);
        break;
      case 'gap':
        this.gaps = [...this.gaps, message.gap];
        if (isHole(message.gap)) this.feed.markGap(message.gap);
        else this.#forget();
        break;
      case 'link':
        this.link = message.link;
        this.listeners = message.listeners;
        if (message.link.phase === 'signed_out' && this.state) {
          this.state = undefined;
          this.#forget();
        }
        break;
    }
    this.changed();
  }

  /** Another log than the one we knew, whose sequences mean something else, or another reader. */
  #forget() {
    this.feed = new Feed();
    this.healthLog = new HealthLog(Date.now());
    this.statusLog = [];
  }

  #adopt(state: State) {
    this.state = state;
    this.feed.reaches(Date.now());
    void this.#readHistory().catch((error: unknown) => {
      // History may be switched off, or the hub be away; strips and feed then begin with what the stream brings.
      if (!(error instanceof HubError)) throw error;
    });
  }

  /** What was before the snapshot. Read once per snapshot; from there on the stream tells the rest. */
  async #readHistory() {
    const [cursor, status, oldest] = await Promise.all([
      this.#readFeed({ order: 'desc', limit: FEED_PREFILL }),
      api.history({ type: 'integration_status_changed', order: 'desc', limit: STATUS_HISTORY }),
      api.history({ limit: 1 }),
    ]);
    this.logBegan = oldest.events[0]?.timestamp;
    this.statusSince = status.nextCursor ? status.events.at(-1)?.timestamp : this.logBegan;
    this.statusLog = mergeStatus(this.statusLog, status.events);
    this.changed();
    await Promise.all([this.#readRates(cursor), this.#readHealth()]);
  }

  /** One page into the feed. All of the log's events from its oldest on are then here. */
  async #readFeed(query: HistoryQuery): Promise<string | undefined> {
    const { feed } = this;
    const page = await api.history(query);
    feed.prepend(page.events.toReversed());
    const oldest = page.events.at(-1)?.timestamp;
    if (page.nextCursor === undefined && !page.truncated) feed.reaches(0);
    else if (oldest !== undefined) feed.reaches(oldest + 1);
    this.changed();
    return page.nextCursor;
  }

  /** The time that the rate chart shows, as far back as a few pages go. */
  async #readRates(cursor: string | undefined) {
    const since = Date.now() - RATE_MS;
    for (let page = 0; page < RATE_PAGES && cursor && this.feed.completeSince > since; page += 1) {
      cursor = await this.#readFeed({ order: 'desc', limit: 1000, cursor });
    }
  }

  async #readHealth() {
    const { healthLog } = this;
    const since = Date.now() - DAY;
    let cursor: string | undefined;
    for (let page = 0; page < HEALTH_PAGES; page += 1) {
      const health = await api.history({ type: HEALTH_EVENTS, since, order: 'desc', limit: 1000, cursor });
      healthLog.append(health.events);
      cursor = health.nextCursor;
      healthLog.completeSince = Math.min(healthLog.completeSince, cursor ? (health.events.at(-1)?.timestamp ?? Infinity) : Math.max(since, (health.truncated && this.logBegan) || 0));
      this.changed();
      if (!cursor) return;
    }
  }
}

/** Whether the feed lacks events in its midst, rather than being another log's. */
const isHole = ({ reason }: Gap) => reason === 'expired' || reason === 'corrupt' || reason === 'unreadable';

function storedSession(): Session | undefined {
  const stored = localStorage.getItem(SESSION);
  try {
    return stored === null ? undefined : sessionOf(JSON.parse(stored));
  } catch {
    return undefined;
  }
}

function mergeStatus(known: HubEvent[], more: readonly HubEvent[]): HubEvent[] {
  const fresh = more.filter((event) => event.type === 'integration_status_changed' && event.serverId === undefined && !known.some(({ id }) => id === event.id));
  if (fresh.length === 0) return known;
  return [...known, ...fresh].sort((a, b) => a.sequence - b.sequence).slice(-STATUS_HISTORY);
}

const FEED_PREFILL = 500;
const STATUS_HISTORY = 200;
const HEALTH_PAGES = 10;
const RATE_PAGES = 9;
export const RATE_MS = 5 * MINUTE;

export const store = new Store();

/** Draws the component again whenever the store changes. */
export function useStore() {
  const [, draw] = useState({});
  useEffect(() => store.subscribe(() => draw({})), []);
  return store;
}
