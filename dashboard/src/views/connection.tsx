import { useEffect, useRef, useState } from 'preact/hooks';
import { store, useStore } from '../store';
import { Fact, Facts, Time } from '../ui/bits';
import { ago, clock, duration, exact, reason } from '../ui/format';
import type { Gap, Link } from '../hub/stream';

interface Words {
  tone: 'good' | 'wait' | 'warn' | 'bad';
  word: string;
  meaning: string;
}

/** The pill in the header: how the connection stands, and on request what that means. */
export function Connection() {
  const { link, client, listeners, openGaps } = useStore();
  const [open, setOpen] = useState(false);
  const root = useRef<HTMLDivElement>(null);
  useEffect(() => {
    if (!open) return;
    const close = (event: Event) => {
      const escaped = event instanceof KeyboardEvent && event.key === 'Escape';
      if (escaped || (event.type === 'pointerdown' && !root.current?.contains(event.target as Node))) setOpen(false);
    };
    addEventListener('pointerdown', close);
    addEventListener('keydown', close);
    return () => {
      removeEventListener('pointerdown', close);
      removeEventListener('keydown', close);
    };
  }, [open]);
  const words = describe(link, openGaps.length > 0);
  return (
    <div class="connection" ref={root}>
      <button type="button" class={`pill ${words.tone}`} aria-expanded={open} aria-controls="connection-details" onClick={() => setOpen(!open)}>
        <ConnectionMark tone={words.tone} />
        <span role="status">{words.word}</span>
      </button>
      {open && (
        <div class="popover" id="connection-details" role="group" aria-label="Connection to the hub">
          <p>{words.meaning}</p>
          <Facts>
            {link.openedAt !== undefined && (
              <Fact name="Opened">
                <Time at={link.openedAt} />
              </Fact>
            )}
            {link.lastFrameAt !== undefined && (
              <Fact name="Last frame">
                <Time at={link.lastFrameAt} />
              </Fact>
            )}
            {link.keepAliveMs > 0 && <Fact name="Keep-alive">every {duration(link.keepAliveMs)}</Fact>}
            <Fact name="Resumed">{link.resumes === 0 ? 'not needed yet' : link.resumes === 1 ? 'once, nothing missed' : `${link.resumes} times, nothing missed`}</Fact>
            <Fact name="Shared">{client?.shared ? (listeners === 1 ? 'one connection, this is its only tab' : `one connection for ${listeners} tabs`) : 'no: this tab has its own connection'}</Fact>
            {link.cursor && (
              <Fact name="Position">
                <code>{link.cursor}</code>
              </Fact>
            )}
          </Facts>
          <button type="button" class="button" onClick={() => client?.reconnect()}>
            Reconnect now
          </button>
        </div>
      )}
    </div>
  );
}

/** A gap stays on the page until somebody has read it. */
export function GapBanner() {
  const { openGaps } = useStore();
  const gap = openGaps.at(-1);
  if (!gap) return null;
  return (
    <div class="banner" role="alert">
      <p>
        <b>
          Gap at <span title={exact(gap.at)}>{clock(gap.at)}</span>:
        </b>{' '}
        {reason(gap.reason)}. {missing(gap)}
      </p>
      <button type="button" class="button small" onClick={() => store.acknowledgeGaps()}>
        Understood
      </button>
    </div>
  );
}

/** What a gap means for what the reader sees. */
function missing({ reason, eventId, afterId, nextId }: Gap) {
  const after = afterId && <code>{afterId}</code>;
  if (reason === 'unreadable') {
    return (
      <>
        The state shown is the hub's own, read afresh{eventId && <>; the event <code>{eventId}</code> is missing from the feed, not from the hub</>}.
      </>
    );
  }
  if (reason !== 'expired' && reason !== 'corrupt') {
    return <>The page has started over with what the hub holds now{after && <>; whatever came after {after} in the log it knew is not in it</>}.</>;
  }
  return (
    <>
      The state shown is the hub's own, read afresh, but events{after && <> after {after}</>}
      {nextId && (
        <>
          {' '}
          and before <code>{nextId}</code>
        </>
      )}{' '}
      are missing from the feed.
    </>
  );
}

/** What the page shows while there is no live stream, above the state that it last knew. */
export function StaleBanner() {
  const { link, state, client } = useStore();
  if (!state || link.phase === 'open' || link.phase === 'connecting') return null;
  if (link.phase === 'lost' && Date.now() - link.since < QUIET_MS) return null;
  return (
    <div class="banner" role="status">
      <p>
        <b>{describe(link, false).word}.</b> {describe(link, false).meaning} What you see is as of <Time at={link.lastFrameAt ?? link.since}>{clock(link.lastFrameAt ?? link.since)}</Time>.
      </p>
      <button type="button" class="button small" onClick={() => client?.reconnect()}>
        Reconnect now
      </button>
    </div>
  );
}

function ConnectionMark({ tone }: { tone: Words['tone'] }) {
  return (
    <svg class="mark" viewBox="0 0 12 12" aria-hidden="true">
      {tone === 'good' && <circle cx="6" cy="6" r="4" />}
      {tone === 'warn' && <path d="M6 1.2 11.4 10.8H.6Z" />}
      {tone === 'wait' && <path class="ring spin" d="M6 1.5A4.5 4.5 0 1 1 1.5 6" />}
      {tone === 'bad' && <path class="ring" d="M2.5 2.5l7 7M9.5 2.5l-7 7" />}
    </svg>
  );
}

export function describe(link: Link, gap: boolean): Words {
  const retry = link.retryAt === undefined ? '' : ` Next try in ${duration(Math.max(1000, Math.ceil((link.retryAt - Date.now()) / 1000) * 1000))}.`;
  switch (link.phase) {
    case 'connecting':
      return { tone: 'wait', word: 'Connecting', meaning: 'Waiting for the hub to answer.' };
    case 'open':
      if (gap) return { tone: 'warn', word: 'Live, after a gap', meaning: 'The stream is live and the state is fresh, but some events in between are missing here.' };
      if (link.verdict === 'resumed' && Date.now() - (link.openedAt ?? 0) < JUST_RESUMED_MS) {
        return { tone: 'good', word: 'Resumed', meaning: 'The connection had broken. The stream went on right after the last event this page had: nothing was missed.' };
      }
      return { tone: 'good', word: 'Live', meaning: 'Every change reaches this page as it is stored.' };
    case 'stale':
      return { tone: 'bad', word: 'Stale', meaning: `Nothing has come for ${duration(Date.now() - (link.lastFrameAt ?? link.since))}, though the hub promises a sign of life every ${duration(link.keepAliveMs)}.` };
    case 'closed':
      return { tone: 'wait', ...CLOSED[link.reason ?? ''] ?? { word: 'Closed', meaning: `The hub closed the stream: ${reason(link.reason)}. The page comes back by itself.` } };
    case 'lost':
      return { tone: 'bad', word: 'Reconnecting', meaning: `The connection broke ${ago(link.since)}.${retry} The page goes on from where it was.` };
    case 'signed_out':
      return { tone: 'bad', word: 'Signed out', meaning: 'The hub asks for credentials.' };
    case 'refused':
      return { tone: 'bad', word: 'Refused', meaning: `${link.reason ?? 'The hub refuses the stream.'}${retry}` };
  }
}

const CLOSED: Record<string, { word: string; meaning: string }> = {
  draining: { word: 'Hub restarting', meaning: 'The hub is shutting down in good order. The page goes on where it was as soon as it is back.' },
  busy: { word: 'Hub busy', meaning: 'The hub serves as many streams as it may. The page keeps trying.' },
  disabled: { word: 'Stream off', meaning: 'The stream is switched off in the patterns "event driven" or "sse integration", so nothing here is live.' },
  credentials_expired: { word: 'Session expired', meaning: 'The credentials of this session have expired.' },
};

const JUST_RESUMED_MS = 10_000;
const QUIET_MS = 1_500;
