// Everything the page shows, in one place: the state and the link as the session tells them, and what the page itself
// reads from history (health strips, the status's past, the feed). Views read; only this file writes.

import { useEffect, useState } from 'preact/hooks';
import { api, HubError, type Session } from './hub/api';
import { connect, type Client } from './hub/client';
import type { HubEvent, Pattern } from './hub/protocol';
import type { Message } from './hub/session';
import { apply, type State } from './hub/state';
import type { Gap, Link } from './hub/stream';
import { Feed } from './feed';
import { HealthLog, HEALTH_EVENTS } from './health-log';

class Store {
  state?: State;
  link: Link = { phase: 'connecting', since: Date.now(), keepAliveMs: 0, resumes: 0 };
  listeners = 1;
  client?: Client;
  gaps: Gap[] = [];
  seenGaps = 0;
  feed = new Feed();
  healthLog = new HealthLog();
  statusLog: HubEvent[] = [];
  /** When the oldest event that the hub keeps happened. */
  logBegan?: number;
  /** Set where this browser has signed in. The cookie itself no script can read. */
  session?: Session = JSON.parse(localStorage.getItem(SESSION) ?? 'null') ?? undefined;
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
      patterns.set(name, { ...patterns.get(name), ...pattern });
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
        if (message.gap.reason === 'expired' || message.gap.reason === 'corrupt') this.feed.markGap(message.gap);
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
    this.healthLog = new HealthLog();
    this.statusLog = [];
  }

  #adopt(state: State) {
    this.state = state;
    void this.#readHistory();
  }

  /** What was before the snapshot. Read once per snapshot; from there on the stream tells the rest. */
  async #readHistory() {
    try {
      const [feed, status, oldest] = await Promise.all([
        api.history({ order: 'desc', limit: FEED_PREFILL }),
        api.history({ type: 'integration_status_changed', order: 'desc', limit: STATUS_HISTORY }),
        api.history({ limit: 1 }),
      ]);
      this.logBegan = oldest.events[0]?.timestamp;
      this.feed.prepend(feed.events.toReversed());
      this.statusLog = mergeStatus(this.statusLog, status.events);
      this.changed();
      let cursor: string | undefined;
      for (let page = 0; page < HEALTH_PAGES; page += 1) {
        const health = await api.history({ type: HEALTH_EVENTS, since: '24h', order: 'desc', limit: 1000, cursor });
        this.healthLog.append(health.events);
        this.changed();
        if (!health.nextCursor) break;
        cursor = health.nextCursor;
      }
    } catch (error) {
      // History may be switched off, or the hub be away; strips and feed then begin with what the stream brings.
      if (!(error instanceof HubError)) throw error;
    }
  }
}

function mergeStatus(known: HubEvent[], more: readonly HubEvent[]): HubEvent[] {
  const fresh = more.filter((event) => event.type === 'integration_status_changed' && event.serverId === undefined && !known.some(({ id }) => id === event.id));
  if (fresh.length === 0) return known;
  return [...known, ...fresh].sort((a, b) => a.sequence - b.sequence).slice(-STATUS_HISTORY);
}

const SESSION = 'timeback-events.session';
const FEED_PREFILL = 500;
const STATUS_HISTORY = 200;
const HEALTH_PAGES = 10;

export const store = new Store();

/** Draws the component again whenever the store changes. */
export function useStore() {
  const [, draw] = useState({});
  useEffect(() => store.subscribe(() => draw({})), []);
  return store;
}
