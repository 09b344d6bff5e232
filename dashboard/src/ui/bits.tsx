// The small parts that every view is made of.

import type { ComponentChildren } from 'preact';
import { useEffect, useId, useRef, useState } from 'preact/hooks';
import { pretty } from '../hub/json';
import type { StepStatus, WorkflowStatus } from '../hub/protocol';
import type { Span, Standing } from '../health-log';
import { ago, duration, exact } from './format';

/** Health is told by shape and word as well as by colour. */
export function HealthMark({ standing }: { standing: Standing }) {
  return (
    <svg class={`mark ${standing}`} viewBox="0 0 12 12" aria-hidden="true">
      {standing === 'healthy' && <circle cx="6" cy="6" r="4.5" />}
      {standing === 'degraded' && <path d="M6 1.2 11.4 10.8H.6Z" />}
      {standing === 'unhealthy' && <path d="M3.6 1h4.8L11 3.6v4.8L8.4 11H3.6L1 8.4V3.6Z" />}
      {standing === 'unhealthy' && <path class="hole" d="M4.1 4.1l3.8 3.8M7.9 4.1 4.1 7.9" />}
      {standing === 'lost' && <path class="ring" d="M2.2 2.2l7.6 7.6M9.8 2.2 2.2 9.8" />}
      {standing === 'disconnected' && <circle class="ring" cx="6" cy="6" r="4" />}
    </svg>
  );
}

export function HealthWord({ standing }: { standing: Standing }) {
  return (
    <span class={`health ${standing}`}>
      <HealthMark standing={standing} />
      {STANDINGS[standing]}
    </span>
  );
}

export const STANDINGS: Record<Standing, string> = {
  lost: 'Lost',
  unhealthy: 'Unhealthy',
  degraded: 'Degraded',
  healthy: 'Healthy',
  disconnected: 'Disconnected',
};

/** A step's status in words; those of one whose workflow ended say so. */
export const STEP_WORDS: Record<StepStatus, string> = {
  pending: 'pending',
  ready: 'ready',
  running: 'running',
  completed: 'completed',
  failed: 'failed',
  aborted: 'cut short',
  skipped: 'not run',
};

export function StepMark({ status }: { status: StepStatus | WorkflowStatus }) {
  return (
    <svg class={`mark step-${status}`} viewBox="0 0 12 12" aria-hidden="true">
      {status === 'pending' && <circle class="ring dotted" cx="6" cy="6" r="4.5" />}
      {status === 'ready' && <circle class="ring" cx="6" cy="6" r="4.5" />}
      {status === 'running' && <circle class="ring faint" cx="6" cy="6" r="4.5" />}
      {status === 'running' && <path class="ring spin" d="M6 1.5A4.5 4.5 0 0 1 10.5 6" />}
      {status === 'completed' && <path class="ring" d="M1.8 6.4 4.8 9.4 10.4 2.8" />}
      {status === 'failed' && <path class="ring" d="M2.2 2.2l7.6 7.6M9.8 2.2 2.2 9.8" />}
      {(status === 'cancelled' || status === 'aborted') && <path class="ring" d="M6 1.5a4.5 4.5 0 1 1 0 9 4.5 4.5 0 0 1 0-9ZM2.8 9.2l6.4-6.4" />}
      {status === 'skipped' && <path class="ring" d="M2 6h8" />}
    </svg>
  );
}

export function Time({ at, children }: { at: number; children?: ComponentChildren }) {
  return (
    <time dateTime={new Date(at).toISOString()} title={exact(at)}>
      {children ?? ago(at)}
    </time>
  );
}

export function Tags({ tags }: { tags: Record<string, string> }) {
  return (
    <>
      {Object.entries(tags).map(([key, value]) => (
        <span class="tag" key={key} title={`${key}: ${value}`}>
          <span class="tag-key">{key}</span> {value}
        </span>
      ))}
    </>
  );
}

/** Levels as well as colours: all is well on the ground, trouble stands up, and nothing is there of who left. */
export function Strip({ spans, label }: { spans: Span[]; label: string }) {
  const from = spans[0]?.from ?? 0;
  const length = (spans.at(-1)?.to ?? 1) - from || 1;
  return (
    <svg class="strip" viewBox="0 0 1000 20" preserveAspectRatio="none" role="img" aria-label={label}>
      <title>{label}</title>
      <rect class="strip-ground" x="0" y="19" width="1000" height="1" />
      {spans.map((span) => {
        if (!span.standing) return null;
        const height = LEVELS[span.standing];
        const x = ((span.from - from) / length) * 1000;
        // A bad minute in a day must still be seen.
        const width = Math.max(((span.to - span.from) / length) * 1000, 6);
        return <rect key={span.from} class={span.standing} x={Math.min(x, 994)} y={20 - height} width={width} height={height} />;
      })}
    </svg>
  );
}

const LEVELS: Record<Standing, number> = { healthy: 6, degraded: 13, unhealthy: 20, lost: 20, disconnected: 1.5 };

export function stripLabel(spans: Span[], windowLabel: string): string {
  const total = spans.reduce((sum, span) => sum + (span.standing ? span.to - span.from : 0), 0);
  if (total === 0) return `No health known in the last ${windowLabel}`;
  const parts = (['healthy', 'degraded', 'unhealthy', 'lost', 'disconnected'] as const).flatMap((standing) => {
    const time = spans.reduce((sum, span) => sum + (span.standing === standing ? span.to - span.from : 0), 0);
    if (time === 0) return [];
    return `${STANDINGS[standing].toLowerCase()} ${time === total ? `throughout ${duration(time)}` : duration(time)}`;
  });
  return `Last ${windowLabel}: ${parts.join(', ')}`;
}

export function CopyButton({ text, label, small }: { text: string | (() => string); label: string; small?: boolean }) {
  const [copied, setCopied] = useState(false);
  const copy = async () => {
    await copyText(typeof text === 'string' ? text : text());
    setCopied(true);
    setTimeout(() => setCopied(false), 1600);
  };
  return (
    <button type="button" class={small ? 'button small' : 'button'} onClick={copy}>
      <span aria-live="polite">{copied ? 'Copied' : label}</span>
    </button>
  );
}

/** The clipboard API wants a secure context; a hub on plain HTTP in a LAN is none. */
async function copyText(text: string) {
  if (navigator.clipboard && isSecureContext) return navigator.clipboard.writeText(text);
  const area = document.createElement('textarea');
  area.value = text;
  area.className = 'offscreen';
  document.body.append(area);
  area.select();
  document.execCommand('copy');
  area.remove();
}

export function Code({ text, label = 'Copy' }: { text: string; label?: string }) {
  return (
    <div class="code">
      <pre tabIndex={0}>{text}</pre>
      <CopyButton text={text} label={label} small />
    </div>
  );
}

export function Empty({ title, children }: { title: string; children?: ComponentChildren }) {
  return (
    <div class="empty">
      <h2>{title}</h2>
      {children}
    </div>
  );
}

export interface Segment<T extends string> {
  value: T;
  label: string;
  count?: number;
  mark?: ComponentChildren;
}

export function Segments<T extends string>({ label, value, items, onChange }: { label: string; value: T; items: Segment<T>[]; onChange: (value: T) => void }) {
  return (
    <div class="segments" role="group" aria-label={label}>
      {items.map((item) => (
        <button type="button" key={item.value} aria-pressed={item.value === value} onClick={() => onChange(item.value)}>
          {item.mark}
          <span>{item.label}</span>
          {item.count !== undefined && <span class="count">{item.count.toLocaleString('en')}</span>}
        </button>
      ))}
    </div>
  );
}

export function Search({ label, value, onInput, hotkey }: { label: string; value: string; onInput: (value: string) => void; hotkey?: boolean }) {
  const input = useRef<HTMLInputElement>(null);
  useEffect(() => {
    if (!hotkey) return;
    const focus = (event: KeyboardEvent) => {
      if (event.key !== '/' || event.ctrlKey || event.metaKey || isTyping(event.target)) return;
      event.preventDefault();
      input.current?.focus();
    };
    addEventListener('keydown', focus);
    return () => removeEventListener('keydown', focus);
  }, [hotkey]);
  return (
    <input
      ref={input}
      type="search"
      class="field"
      aria-label={label}
      placeholder={label}
      value={value}
      aria-keyshortcuts={hotkey ? '/' : undefined}
      onInput={(event) => onInput(event.currentTarget.value)}
    />
  );
}

function isTyping(target: EventTarget | null) {
  return target instanceof HTMLElement && /^(input|textarea|select)$/i.test(target.tagName);
}

/** A panel at the side. It takes the focus, gives it back, and closes on Escape. */
export function Drawer({ title, onClose, children }: { title: ComponentChildren; onClose: () => void; children: ComponentChildren }) {
  const panel = useRef<HTMLDivElement>(null);
  const heading = useId();
  useEffect(() => {
    const before = document.activeElement as HTMLElement | null;
    panel.current?.focus();
    return () => {
      if (before?.isConnected) before.focus();
    };
  }, []);
  useEffect(() => {
    const close = (event: KeyboardEvent) => {
      if (event.key === 'Escape') onClose();
    };
    addEventListener('keydown', close);
    return () => removeEventListener('keydown', close);
  }, [onClose]);
  return (
    <div class="drawer" role="dialog" aria-labelledby={heading} ref={panel} tabIndex={-1}>
      <header class="drawer-head">
        <h2 id={heading}>{title}</h2>
        <button type="button" class="icon-button" aria-label="Close" onClick={onClose}>
          <svg viewBox="0 0 16 16" aria-hidden="true">
            <path d="M3.5 3.5l9 9M12.5 3.5l-9 9" />
          </svg>
        </button>
      </header>
      <div class="drawer-body">{children}</div>
    </div>
  );
}

export function Facts({ children }: { children: ComponentChildren }) {
  return <dl class="facts">{children}</dl>;
}

export function Fact({ name, children }: { name: string; children: ComponentChildren }) {
  return (
    <>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </>
  );
}

/** JSON with its parts told apart. Built as elements: text never becomes markup. */
export function Json({ value }: { value: unknown }) {
  const text = pretty(value);
  // Half a megabyte in colours would be tens of thousands of elements.
  const parts = text.length > COLOURED ? [text] : text.split(/("[^"\\]*(?:\\.[^"\\]*)*"(?:\s*:)?|\b(?:true|false|null)\b|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)/);
  return (
    <pre class="json" tabIndex={0}>
      {parts.map((part, index) => (index % 2 === 0 ? part : <span class={kindOf(part)}>{part}</span>))}
    </pre>
  );
}

const COLOURED = 200_000;

function kindOf(part: string) {
  if (part.startsWith('"')) return part.endsWith(':') ? 'j-key' : 'j-text';
  return /^[tfn]/.test(part) ? 'j-word' : 'j-number';
}
