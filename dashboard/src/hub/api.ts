// The hub's plain HTTP calls that the page makes: history, single things, switches, the session. Relative to the page,
// so that a reverse proxy may mount the hub under any path.

import type { HubEvent, Pattern, Server, Stats } from './protocol';

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
  expiresAt: number;
}

export interface HistoryPage {
  events: HubEvent[];
  nextCursor: string | null;
  truncated?: boolean;
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
  history: (query: HistoryQuery, signal?: AbortSignal) => call<HistoryPage>(`events/history${queryString(query)}`, { signal }),
  event: (id: string) => call<HubEvent>(`events/${encodeURIComponent(id)}`),
  server: (id: string) => call<Server>(`servers/${encodeURIComponent(id)}`),
  status: () => call<Stats>('status'),
  setPattern: (name: string, enabled: boolean) =>
    call<Pattern>(`patterns/${encodeURIComponent(name)}`, {
      method: 'PUT',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ enabled }),
    }),
  signIn: (token: string) => call<Session>('session', { method: 'POST', headers: { authorization: `Bearer ${token}` } }),
  signOut: () => call<void>('session', { method: 'DELETE' }),
};

export function queryString(query: object): string {
  const params = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined && value !== '') params.set(name, String(value));
  }
  const text = params.toString();
  return text && `?${text}`;
}

async function call<T>(path: string, init: RequestInit = {}): Promise<T> {
  let response: Response;
  try {
    response = await fetch(path, init);
  } catch (error) {
    if ((error as Error).name === 'AbortError') throw error;
    throw new HubError(0, 'The hub does not answer.');
  }
  if (!response.ok) {
    const problem = (await response.json().catch(() => ({}))) as { title?: string; detail?: string };
    throw new HubError(response.status, problem.detail ?? problem.title ?? `The hub answered ${response.status}.`);
  }
  const text = await response.text();
  return (text ? JSON.parse(text) : undefined) as T;
}
