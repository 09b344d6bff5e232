// What is known of each server's health over time, put together from history and from the stream in any order.

import type { Health, HubEvent } from './hub/protocol';

export type Standing = Health | 'disconnected';

export interface Span {
  from: number;
  to: number;
  /** Nothing is known of a time before the first event we have of a server. */
  standing?: Standing;
}

export const HEALTH_EVENTS = 'server_connected,server_disconnected,server_health_changed';

interface Entry {
  sequence: number;
  at: number;
  standing: Standing;
  /** How it stood before, where the event says so. */
  before?: Standing;
}

export class HealthLog {
  readonly #servers = new Map<string, Entry[]>();

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
    const entries = this.#servers.get(serverId) ?? [{ sequence: 0, at: connectedAt, standing: now }];
    const inside = entries.filter((entry) => entry.at > from && entry.at < to);
    let standing: Standing | undefined = entries.findLast((entry) => entry.at <= from)?.standing ?? inside[0]?.before;
    let start = from;
    const spans: Span[] = [];
    for (const entry of inside) {
      push(spans, { from: start, to: entry.at, standing });
      standing = entry.standing;
      start = entry.at;
    }
    push(spans, { from: start, to, standing });
    return spans;
  }
}

function entryOf(event: HubEvent): Entry | undefined {
  const { sequence, timestamp: at } = event;
  switch (event.type) {
    case 'server_connected':
      return { sequence, at, standing: 'healthy', before: event.data.reconnected ? 'disconnected' : undefined };
    case 'server_disconnected':
      return { sequence, at, standing: 'disconnected' };
    case 'server_health_changed':
      return { sequence, at, standing: event.data.health as Health, before: event.data.previousHealth as Health | undefined };
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
