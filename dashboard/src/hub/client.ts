// How a page gets its messages: from the SharedWorker, or, where there is none or it doesn't answer, from a session of its own.

import type { Listener, Request } from './session';

export interface Client {
  /** Whether other tabs share this connection. */
  shared: boolean;
  reconnect(): void;
}

export function connect(listener: Listener, onChange: (client: Client) => void) {
  const direct = () => void import('./direct').then(({ connectDirectly }) => onChange(connectDirectly(listener)));
  if (typeof SharedWorker === 'undefined') return direct();
  let worker: SharedWorker;
  try {
    // The name carries the version of the messages: a tab must not talk to a worker of an older hub.
    worker = new SharedWorker(new URL('./worker.ts', import.meta.url), { type: 'module', name: 'timeback-events-1' });
  } catch {
    return direct();
  }
  const port = worker.port;
  const say = (request: Request) => port.postMessage(request);
  const fallBack = () => {
    clearTimeout(timer);
    worker.onerror = null;
    port.onmessage = null;
    say('bye');
    port.close();
    direct();
  };
  const timer = setTimeout(fallBack, WORKER_ANSWERS_WITHIN_MS);
  worker.onerror = fallBack;
  port.onmessage = ({ data }) => {
    clearTimeout(timer);
    listener(data);
  };
  say('hello');
  addEventListener('pagehide', () => say('bye'));
  addEventListener('pageshow', (event) => {
    if (event.persisted) say('hello');
  });
  onChange({ shared: true, reconnect: () => say('reconnect') });
}

const WORKER_ANSWERS_WITHIN_MS = 4_000;
