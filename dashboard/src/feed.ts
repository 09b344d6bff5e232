// The events the page holds, in the log's order, and how many of each type came when. A paused feed keeps taking events:
// only the view stands still.

import type { HubEvent } from './hub/protocol';
import type { Gap } from './hub/stream';

export interface FeedFilter {
  types: ReadonlySet<string>;
  server: string;
  workflow: string;
  text: string;
}

export const EVERYTHING: FeedFilter = { types: new Set(), server: '', workflow: '', text: '' };

export interface Bin {
  second: number;
  counts: Map<string, number>;
}

export class Feed {
  events: HubEvent[] = [];
  /** Where the log had lost events: right after the last sequence that the page then had. */
  holes: { after: number; gap: Gap }[] = [];
  /** Set while paused: the last sequence that the view shows. */
  pausedAt?: number;
  /** Set where even a paused feed had to let go of its oldest events. */
  overflowed = false;
  version = 0;
  types = new Map<string, number>();
  readonly #bins = new Map<number, Bin>();

  append(events: readonly HubEvent[]) {
    const last = this.events.at(-1);
    const fresh = last ? events.filter((event) => event.sequence > last.sequence) : events;
    if (fresh.length === 0) return;
    this.#count(fresh);
    const limit = this.pausedAt === undefined ? LIVE_LIMIT : PAUSED_LIMIT;
    // Cut in big bites, so that a busy stream doesn't copy the list for every batch.
    if (this.events.length + fresh.length > limit * 1.2) {
      this.events = this.events.slice(-limit);
      this.overflowed ||= this.pausedAt !== undefined;
    }
    for (const event of fresh) this.events.push(event);
    this.version += 1;
  }

  /** Older events, ascending; those that are known already are left out. */
  prepend(events: readonly HubEvent[]) {
    const known = new Set(this.events.map(({ id }) => id));
    const older = events.filter(({ id }) => !known.has(id));
    if (older.length === 0) return;
    this.#count(older);
    this.events = older.concat(this.events).sort((a, b) => a.sequence - b.sequence);
    this.version += 1;
  }

  markGap(gap: Gap) {
    const last = this.events.at(-1);
    if (last) this.holes.push({ after: last.sequence, gap });
    this.version += 1;
  }

  /** The gap between two events that the view shows next to each other. */
  gapBetween(older: HubEvent | undefined, newer: HubEvent): Gap | undefined {
    return this.holes.find(({ after }) => older && older.sequence <= after && newer.sequence > after)?.gap;
  }

  pause() {
    this.pausedAt = this.events.at(-1)?.sequence ?? 0;
    this.overflowed = false;
  }

  resume() {
    this.pausedAt = undefined;
  }

  get waiting() {
    if (this.pausedAt === undefined) return 0;
    const cut = this.events.findLastIndex((event) => event.sequence <= this.pausedAt!);
    return this.events.length - 1 - cut;
  }

  /** Counts by type for each of the last `bins` steps of `seconds`, oldest first. */
  rate(now: number, bins: number, seconds: number): Bin[] {
    const end = Math.floor(now / 1000 / seconds) * seconds;
    return Array.from({ length: bins }, (_, index) => {
      const second = end - (bins - 1 - index) * seconds;
      const counts = new Map<string, number>();
      for (let at = second; at < second + seconds; at += 1) {
        for (const [type, count] of this.#bins.get(at)?.counts ?? []) counts.set(type, (counts.get(type) ?? 0) + count);
      }
      return { second, counts };
    });
  }

  #count(events: readonly HubEvent[]) {
    for (const event of events) {
      this.types.set(event.type, (this.types.get(event.type) ?? 0) + 1);
      const second = Math.floor(event.timestamp / 1000);
      let bin = this.#bins.get(second);
      if (!bin) this.#bins.set(second, (bin = { second, counts: new Map() }));
      bin.counts.set(event.type, (bin.counts.get(event.type) ?? 0) + 1);
    }
    const oldest = Math.floor((events.at(-1)?.timestamp ?? 0) / 1000) - RATE_SECONDS;
    if (this.#bins.size > RATE_SECONDS * 2) {
      for (const second of this.#bins.keys()) if (second < oldest) this.#bins.delete(second);
    }
  }
}

export function matches(event: HubEvent, filter: FeedFilter): boolean {
  if (filter.types.size > 0 && !filter.types.has(event.type)) return false;
  if (filter.server && !(event.serverId ?? '').includes(filter.server)) return false;
  if (filter.workflow && !String(event.data.workflowId ?? '').includes(filter.workflow)) return false;
  return !filter.text || haystack(event).includes(filter.text.toLowerCase());
}

const haystacks = new WeakMap<HubEvent, string>();

function haystack(event: HubEvent): string {
  let text = haystacks.get(event);
  if (text === undefined) haystacks.set(event, (text = JSON.stringify(event).toLowerCase()));
  return text;
}

const LIVE_LIMIT = 10_000;
const PAUSED_LIMIT = 100_000;
export const RATE_SECONDS = 900;
