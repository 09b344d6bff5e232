// The hub's plain HTTP calls that the page makes: history, single things, switches, the session. Relative to the page,
// so that a reverse proxy may mount the hub under any path.

import { parse } from './json';
import type { HubEvent, Stats } from './protocol';
import { fields, list, text, texts, time } from './read';
import { eventOf, eventsOf, patternOf, problemText, serverOf, statsOf } from './shapes';

export class HubError extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/** What a token was good for. */
export interface Session {
  scopes: string[];
  expiresAt?: number;
}

export interface HistoryPage {
  events: HubEvent[];
  nextCursor?: string;
  /** Whether events are missing that the hub doesn't keep any more, or can't read. */
  truncated: boolean;
}

export interface HistoryQuery {
  type?: string;
  serverId?: string;
  workflowId?: string;
  since?: string | number;
  order?: 'asc' | 'desc';
  limit?: number;
  cursor?: string;
}

export const origin = () => new URL('.', location.href).href.replace(/\/$/, '');

export const api = {
  async history(query: HistoryQuery, signal?: AbortSignal): Promise<HistoryPage> {
    const page = fields(await call(`events/history${queryString(query)}`, { signal }));
    return { events: eventsOf(page.events), nextCursor: text(page.nextCursor), truncated: page.truncated === true || list(page.events).length !== eventsOf(page.events).length };
  },
  event: async (id: string) => eventOf(await call(`events/${encodeURIComponent(id)}`)),
  /** A server, and the answer as it came. */
  async server(id: string) {
    const answer = await call(`servers/${encodeURIComponent(id)}`);
    return { server: serverOf(answer), answer };
  },
  status: async (): Promise<Stats> => statsOf(await call('status')),
  setPattern: async (name: string, enabled: boolean) =>
    patternOf(
      await call(`patterns/${encodeURIComponent(name)}`, {
        method: 'PUT',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ enabled }),
      }),
    ),
  signIn: async (token: string) => sessionOf(await call('session', { method: 'POST', headers: { authorization: `Bearer ${token}` } })),
  signOut: () => call('session', { method: 'DELETE' }),
};

/** A session as the hub grants it, and as the browser has kept it. */
export function sessionOf(value: unknown): Session {
  const { scopes, expiresAt } = fields(value);
  return { scopes: texts(scopes), expiresAt: time(expiresAt) };
}

export function queryString(query: object): string {
  const params = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined && value !== '') params.set(name, String(value));
  }
  const text = params.toString();
  return text && `?${text}`;
}

async function call(path: string, init: RequestInit = {}): Promise<unknown> {
  let response: Response;
  let body: string;
  try {
    response = await fetch(path, init);
    body = await response.text();
  } catch (error) {
    if ((error as Error).name === 'AbortError') throw error;
    throw new HubError(0, 'The hub does not answer.');
  }
  const answer = read(body);
  if (!response.ok) throw new HubError(response.status, problemText(answer) ?? `The hub answered ${response.status}.`);
  if (answer === undefined && body) throw new HubError(response.status, 'The hub answered with something that this page can’t read.');
  return answer;
}

function read(body: string): unknown {
  try {
    return parse(body);
  } catch {
    return undefined;
  }
}
