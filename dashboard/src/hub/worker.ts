// The SharedWorker: one connection to the hub for all tabs of the browser.

import { Session, type Listener, type Request } from './session';
import { browser } from './world';

const session = new Session(new URL('..', location.href).href, browser);
setInterval(() => session.tick(), 1_000);

addEventListener('connect', (event) => {
  const port = (event as MessageEvent).ports[0]!;
  const listener: Listener = (message) => port.postMessage(message);
  port.onmessage = ({ data }: MessageEvent<Request>) => {
    if (data === 'hello') session.add(listener);
    if (data === 'bye') session.remove(listener);
    if (data === 'reconnect') session.reconnect();
  };
});
