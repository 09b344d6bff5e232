// What is known of each server's health over time, put together from history and from the stream in any order.

import { HEALTHS, type Health, type HubEvent } from './hub/protocol';
import { flag, text, word } from './hub/read';
import { dataOf, leftUnexpectedly } from './hub/shapes';

/** How a server stands: its health while it is connected; `lost` where it fell silent or crashed, `disconnected` where it left in order. */
export type Standing = Health | 'lost' | 'disconnected';

export interface Span {
  from: number;
  to: number;
  /** Nothing is known of a time before the first event we have of a server. */
  standing?: Standing;
}

/** How often a server was ill within a time, and the last of it. */
export interface Trouble {
  times: number;
  at: number;
  standing: Standing;
  why?: string;
}

export const HEALTH_EVENTS = 'server_connected,server_disconnected,server_health_changed';

interface Entry {
  sequence: number;
  at: number;
  standing: Standing;
  /** How it stood before, where the event says so. */
  before?: Standing;
  why?: string;
}

export class HealthLog {
  /** From when on no event about health is missing here. */
  completeSince: number;
  readonly #servers = new Map<string, Entry[]>();

  constructor(completeSince = 0) {
    this.completeSince = completeSince;
  }

  append(events: readonly HubEvent[]) {
    for (const event of events) {
      const entry = entryOf(event);
      if (!entry || !event.serverId) continue;
      const entries = this.#servers.get(event.serverId);
      if (!entries) this.#servers.set(event.serverId, [entry]);
      else insert(entries, entry);
    }
  }

  /** The server's spans between two times, oldest first. Without any event about it, it stands as it does now since it connected. */
  spans(serverId: string, from: number, to: number, now: Standing, connectedAt = from): Span[] {
    const entries = this.#servers.get(serverId) ?? [{ sequence: 0, at: Math.max(connectedAt, this.completeSince), standing: now }];
    const inside = entries.filter((entry) => entry.at > from && entry.at < to);
    let standing: Standing | undefined = entries.findLast((entry) => entry.at <= from)?.standing ?? inside[0]?.before;
    const spans: Span[] = [];
    let start = Math.min(to, Math.max(from, this.completeSince));
    push(spans, { from, to: start });
    for (const entry of inside) {
      push(spans, { from: start, to: entry.at, standing });
      standing = entry.standing;
      start = Math.max(start, entry.at);
    }
    push(spans, { from: start, to, standing });
    return spans;
  }

  /** The last turn of its health, if that is known. */
  turn(serverId: string): { at: number; why?: string } | undefined {
    return this.#servers.get(serverId)?.at(-1);
  }

  /** What was wrong with a server since then. */
  trouble(serverId: string, since: number): Trouble | undefined {
    const entries = this.#servers.get(serverId) ?? [];
    const turns = entries.filter((entry, index) => entry.at >= since && isIll(entry.standing) && !isIll(entries[index - 1]?.standing ?? entry.before));
    const last = entries.findLast((entry) => entry.at >= since && isIll(entry.standing));
    return last && { times: Math.max(1, turns.length), at: last.at, standing: last.standing, why: last.why };
  }
}

const isIll = (standing?: Standing) => standing !== undefined && standing !== 'healthy' && standing !== 'disconnected';

function entryOf(event: HubEvent): Entry | undefined {
  const { sequence, timestamp: at } = event;
  const data = dataOf(event);
  const why = text(data.detail) ?? text(data.reason);
  switch (event.type) {
    case 'server_connected':
      return { sequence, at, standing: 'healthy', before: data.reconnected === true ? 'disconnected' : undefined };
    case 'server_disconnected':
      return { sequence, at, why, standing: leftUnexpectedly(text(data.reason), flag(data.expected)) ? 'lost' : 'disconnected' };
    case 'server_health_changed': {
      const standing = word(data.health, HEALTHS);
      return standing && { sequence, at, why, standing, before: word(data.previousHealth, HEALTHS) };
    }
    default:
      return undefined;
  }
}

function insert(entries: Entry[], entry: Entry) {
  let index = entries.length;
  while (index > 0 && entries[index - 1]!.sequence > entry.sequence) index -= 1;
  if (entries[index - 1]?.sequence !== entry.sequence) entries.splice(index, 0, entry);
}

function push(spans: Span[], span: Span) {
  if (span.to <= span.from) return;
  const last = spans.at(-1);
  if (last && last.standing === span.standing) last.to = span.to;
  else spans.push(span);
}
