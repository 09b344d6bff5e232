// The browser, as the stream sees it: the same in a page and in a worker.

import type { World } from './stream';

export const browser: World = {
  openSource: (url) => new EventSource(url),
  fetch: (url, init) => fetch(url, init),
  now: () => Date.now(),
  random: () => Math.random(),
  setTimeout: (run, ms) => setTimeout(run, ms) as unknown as number,
  clearTimeout: (timer) => clearTimeout(timer),
};
