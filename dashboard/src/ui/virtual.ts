// Draws only the rows that are in sight: a thousand servers cost what thirty do.

import { useLayoutEffect, useState } from 'preact/hooks';
import type { RefObject } from 'preact';

export interface Window {
  first: number;
  last: number;
  before: number;
  after: number;
}

export function useWindow(scroller: RefObject<HTMLElement | null>, count: number, rowHeight: number): Window {
  const [view, setView] = useState({ top: 0, height: 800 });
  useLayoutEffect(() => {
    const element = scroller.current;
    if (!element) return;
    const measure = () => setView({ top: element.scrollTop, height: element.clientHeight });
    measure();
    element.addEventListener('scroll', measure, { passive: true });
    const observer = new ResizeObserver(measure);
    observer.observe(element);
    return () => {
      element.removeEventListener('scroll', measure);
      observer.disconnect();
    };
  }, [scroller]);
  const fits = Math.ceil(view.height / rowHeight);
  const top = Math.min(view.top, Math.max(0, count * rowHeight - view.height));
  const first = Math.max(0, Math.floor(top / rowHeight) - OVERSCAN);
  const last = Math.min(count, first + fits + 2 * OVERSCAN);
  return { first, last, before: first * rowHeight, after: (count - last) * rowHeight };
}

/** Whether the viewport is as narrow as a phone's. */
export function usePhone() {
  const query = '(max-width: 720px)';
  const [phone, setPhone] = useState(() => matchMedia(query).matches);
  useLayoutEffect(() => {
    const media = matchMedia(query);
    const follow = () => setPhone(media.matches);
    media.addEventListener('change', follow);
    return () => media.removeEventListener('change', follow);
  }, []);
  return phone;
}

const OVERSCAN = 8;
