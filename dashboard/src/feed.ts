// The events the page holds, in the log's order, how many of each type came when, and how far that knowledge reaches. A
// paused feed keeps taking events: only the view stands still.

import { write } from './hub/json';
import type { HubEvent } from './hub/protocol';
import { workflowIdOf } from './hub/shapes';
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
  /** Whether these are all that happened then, or only what the page has met. */
  complete: boolean;
}

interface Hole {
  after: number;
  since: number;
  gap: Gap;
}

export class Feed {
  events: HubEvent[] = [];
  /** Where the page lost events: right after the last sequence that it then had. */
  holes: Hole[] = [];
  /** Set while paused: the last sequence that the view shows. */
  pausedAt?: number;
  /** Set where even a paused feed had to let go of its oldest events. */
  overflowed = false;
  version = 0;
  /** How many of each type the page holds. */
  types = new Map<string, number>();
  /** From when on the page has met every event, but for those in holes. */
  completeSince = Infinity;
  readonly #seconds = new Map<number, Map<string, number>>();

  append(events: readonly HubEvent[]) {
    const last = this.events.at(-1);
    const fresh = last ? events.filter((event) => event.sequence > last.sequence) : events;
    if (fresh.length === 0) return;
    this.#count(fresh);
    const limit = this.pausedAt === undefined ? LIVE_LIMIT : PAUSED_LIMIT;
    // Cut in big bites, so that a busy stream doesn't copy the list for every batch.
    const excess = this.events.length + fresh.length - limit;
    if (excess > limit * 0.2) {
      for (const { type } of this.events.slice(0, excess)) this.types.set(type, this.types.get(type)! - 1);
      this.events = this.events.slice(excess);
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

  /** No event from this time on was left out, by whichever way it came here. */
  reaches(back: number) {
    this.completeSince = Math.min(this.completeSince, back);
    this.version += 1;
  }

  markGap(gap: Gap) {
    const last = gap.after === undefined ? this.events.at(-1) : this.events.findLast(({ sequence }) => sequence <= gap.after!);
    if (last) this.holes.push({ after: last.sequence, since: last.timestamp, gap });
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

  /** Counts by type for each of the last `bins` steps of `seconds`, oldest first; `live` is until when the stream has told all. */
  rate(now: number, bins: number, seconds: number, live = now): Bin[] {
    const end = Math.floor(now / 1000 / seconds) * seconds;
    const holes = this.holes.map(({ after, since }) => ({ from: since, to: this.events.find(({ sequence }) => sequence > after)?.timestamp ?? now }));
    return Array.from({ length: bins }, (_, index) => {
      const second = end - (bins - 1 - index) * seconds;
      const counts = new Map<string, number>();
      for (let at = second; at < second + seconds; at += 1) {
        for (const [type, count] of this.#seconds.get(at) ?? []) counts.set(type, (counts.get(type) ?? 0) + count);
      }
      const [from, to] = [second * 1000, (second + seconds) * 1000];
      const complete = this.completeSince <= from && from <= live && !holes.some((hole) => hole.from < to && hole.to > from);
      return { second, counts, complete };
    });
  }

  #count(events: readonly HubEvent[]) {
    for (const event of events) {
      this.types.set(event.type, (this.types.get(event.type) ?? 0) + 1);
      const second = Math.floor(event.timestamp / 1000);
      let counts = this.#seconds.get(second);
      if (!counts) this.#seconds.set(second, (counts = new Map()));
      counts.set(event.type, (counts.get(event.type) ?? 0) + 1);
    }
    if (this.#seconds.size <= RATE_SECONDS * 2) return;
    const oldest = Math.floor((this.events.at(-1) ?? events.at(-1)!).timestamp / 1000) - RATE_SECONDS;
    for (const second of this.#seconds.keys()) if (second < oldest) this.#seconds.delete(second);
  }
}

export function matches(event: HubEvent, filter: FeedFilter): boolean {
  if (filter.types.size > 0 && !filter.types.has(event.type)) return false;
  if (filter.server && !(event.serverId ?? '').includes(filter.server)) return false;
  if (filter.workflow && !(workflowIdOf(event) ?? '').includes(filter.workflow)) return false;
  return !filter.text || haystack(event).includes(filter.text.toLowerCase());
}

const haystacks = new WeakMap<HubEvent, string>();

function haystack(event: HubEvent): string {
  let text = haystacks.get(event);
  if (text === undefined) haystacks.set(event, (text = write(event).toLowerCase()));
  return text;
}

const LIVE_LIMIT = 10_000;
const PAUSED_LIMIT = 100_000;
const RATE_SECONDS = 900;
