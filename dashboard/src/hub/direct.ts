// A page's own session, for browsers without shared workers. A file of its own, which the others don't load.

import type { Client } from './client';
import { Session, type Listener } from './session';
import { browser } from './world';

export function connectDirectly(listener: Listener): Client {
  const session = new Session(new URL('.', location.href).href, browser);
  session.add(listener);
  setInterval(() => session.tick(), 1_000);
  return { shared: false, reconnect: () => session.reconnect() };
}
