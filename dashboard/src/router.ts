// Deep links live in the fragment: #/servers, #/servers/ID, #/workflows/ID, #/events/ID, #/integration.

import { useEffect, useState } from 'preact/hooks';

export type View = 'servers' | 'workflows' | 'events' | 'integration';

export interface Route {
  view: View;
  id?: string;
}

export const VIEWS: readonly { view: View; label: string; title: string }[] = [
  { view: 'servers', label: 'Fleet', title: 'The fleet' },
  { view: 'workflows', label: 'Workflows', title: 'The workflows' },
  { view: 'events', label: 'Live feed', title: 'The live feed' },
  { view: 'integration', label: 'Integration', title: 'The integration' },
];

export function parseRoute(hash: string): Route {
  const [, name, ...rest] = hash.replace(/^#/, '').split('/');
  const view = VIEWS.find((known) => known.view === name)?.view ?? 'servers';
  const id = rest.join('/');
  return id ? { view, id: decode(id) } : { view };
}

export function link(view: View, id?: string) {
  return id === undefined ? `#/${view}` : `#/${view}/${encodeURIComponent(id)}`;
}

export function go(view: View, id?: string) {
  location.hash = link(view, id);
}

export function useRoute(): Route {
  const [route, setRoute] = useState(() => parseRoute(location.hash));
  useEffect(() => {
    const follow = () => setRoute(parseRoute(location.hash));
    addEventListener('hashchange', follow);
    // The address may have changed between the first look at it and now.
    follow();
    return () => removeEventListener('hashchange', follow);
  }, []);
  return route;
}

function decode(text: string) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
