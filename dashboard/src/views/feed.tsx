import { useEffect, useLayoutEffect, useMemo, useRef, useState } from 'preact/hooks';
import { api, HubError, type HistoryQuery } from '../hub/api';
import { pretty } from '../hub/json';
import type { HubEvent } from '../hub/protocol';
import { text } from '../hub/read';
import { dataOf, workflowIdOf } from '../hub/shapes';
import { EVERYTHING, matches, type Feed, type FeedFilter } from '../feed';
import { go, link } from '../router';
import { store, useStore } from '../store';
import { Code, CopyButton, Drawer, Empty, Fact, Facts, Json, Search } from '../ui/bits';
import { Guard } from '../ui/guard';
import { clock, exact, MINUTE, number, plural, reason, summary } from '../ui/format';
import { usePhone, useWindow } from '../ui/virtual';
import { eventCurl, getCurl, streamCurl } from './curl';
import { RateChart, typeClass } from './rate';

export function LiveFeed({ selected }: { selected?: string }) {
  const { feed } = useStore();
  const [filter, setFilter] = useState<FeedFilter>(EVERYTHING);
  const [since, setSince] = useState<number>();
  const query = historyQuery(feed, filter);
  const replay = useReplay(since, query);
  const paused = feed.pausedAt !== undefined;
  const shown = useMemo(() => {
    const until = feed.pausedAt ?? Infinity;
    return feed.events.filter((event) => event.sequence <= until && event.timestamp >= (since ?? 0) && matches(event, filter)).reverse();
  }, [feed, feed.version, feed.pausedAt, filter, since]);
  const filtered = filter.types.size > 0 || filter.server !== '' || filter.workflow !== '' || filter.text !== '';

  const togglePause = () => {
    if (paused) feed.resume();
    else feed.pause();
    store.changed();
  };
  const toggleType = (type: string) => {
    const types = new Set(filter.types);
    if (!types.delete(type)) types.add(type);
    setFilter({ ...filter, types });
  };
  return (
    <section class="view" aria-labelledby="feed-title">
      <h1 id="feed-title" class="visually-hidden">
        Live feed
      </h1>
      <RateChart feed={feed} chosen={filter.types} onToggle={toggleType} />
      <div class="toolbar feed-toolbar">
        <button type="button" class={paused ? 'button primary' : 'button'} aria-pressed={paused} onClick={togglePause}>
          {paused ? `Resume · ${number(feed.waiting)} waiting` : 'Pause'}
        </button>
        <div class="toolbar-fields">
          <TypeFilter feed={feed} chosen={filter.types} onToggle={toggleType} onClear={() => setFilter({ ...filter, types: new Set() })} />
          <Search label="Server" value={filter.server} onInput={(server) => setFilter({ ...filter, server })} />
          <Search label="Workflow" value={filter.workflow} onInput={(workflow) => setFilter({ ...filter, workflow })} />
          <Search label="Text" value={filter.text} onInput={(text) => setFilter({ ...filter, text })} hotkey />
          <ReplayPicker since={since} onChange={setSince} />
          <CopyButton text={() => streamCurl({ ...query, since })} label="Copy as curl" />
        </div>
      </div>
      {since !== undefined && replay && <ReplayNotice since={since} replay={replay} onStop={() => setSince(undefined)} />}
      {feed.overflowed && paused && (
        <p class="notice">More than 100,000 events came while paused. The oldest left this page, not the hub: replay from {clock(feed.events[0]!.timestamp)} or earlier brings them back.</p>
      )}
      {shown.length > 0 ? (
        <Rows events={shown} feed={feed} selected={selected} />
      ) : feed.events.length === 0 ? (
        <Empty title="No event yet">
          <p>Everything that servers and workflows do appears here the moment the hub has stored it. Send a first event:</p>
          <Code text={eventCurl()} />
        </Empty>
      ) : (
        <Empty title="No event matches">
          <p>{plural(feed.events.length, 'event')} held by this page{since === undefined ? '' : `, from ${clock(since)} on`}.</p>
          {filtered && (
            <button type="button" class="button" onClick={() => setFilter(EVERYTHING)}>
              Clear the filters
            </button>
          )}
        </Empty>
      )}
      {selected !== undefined && (
        <Guard key={selected} what="This event">
          <EventDrawer id={selected} known={feed.events.find(({ id }) => id === selected)} />
        </Guard>
      )}
    </section>
  );
}

function Rows({ events, feed, selected }: { events: HubEvent[]; feed: Feed; selected?: string }) {
  const scroller = useRef<HTMLDivElement>(null);
  const phone = usePhone();
  const rowHeight = phone ? 56 : 30;
  const { first, last, before, after } = useWindow(scroller, events.length, rowHeight);
  const newest = useRef(events[0]?.id);
  // Whoever has scrolled down is reading: new events must not push the lines away.
  useLayoutEffect(() => {
    const element = scroller.current;
    if (element && element.scrollTop > rowHeight && newest.current !== events[0]?.id) {
      const added = events.findIndex(({ id }) => id === newest.current);
      if (added > 0) element.scrollTop += added * rowHeight;
    }
    newest.current = events[0]?.id;
  }, [events, rowHeight]);
  return (
    <div class="scroller" ref={scroller} tabIndex={-1}>
      <ol class="feed" aria-label="Events, newest first" style={{ paddingTop: `${before}px`, paddingBottom: `${after}px` }}>
        {events.slice(first, last).map((event, index) => {
          const hole = feed.gapBetween(events[first + index + 1], event);
          return (
            <li key={event.id} class={`feed-row${event.id === selected ? ' selected' : ''}${hole ? ' after-hole' : ''}`} title={hole && `Events before this one are missing: ${reason(hole.reason)}`}>
              <a href={link('events', event.id)}>
                <time dateTime={new Date(event.timestamp).toISOString()} title={exact(event.timestamp)}>
                  {clock(event.timestamp)}
                  <span class="ms">.{String(event.timestamp % 1000).padStart(3, '0')}</span>
                </time>
                <span class={`type ${typeClass(event.type)}`}>
                  <i aria-hidden="true" />
                  {event.type}
                </span>
                <span class="subject">{event.serverId}</span>
                <span class="subject in-workflow">{workflowIdOf(event)}</span>
                <Guard what="This event" inline>
                  <Summary event={event} />
                </Guard>
              </a>
            </li>
          );
        })}
      </ol>
    </div>
  );
}

function Summary({ event }: { event: HubEvent }) {
  return <span class="summary">{shortened(summary(event))}</span>;
}

/** A line shows a few hundred characters; a browser that lays out all of a long one for each row is slow. */
function shortened(line: string) {
  return line.length > LINE ? `${line.slice(0, LINE)}…` : line;
}

interface TypeFilterProps {
  feed: Feed;
  chosen: ReadonlySet<string>;
  onToggle: (type: string) => void;
  onClear: () => void;
}

function TypeFilter({ feed, chosen, onToggle, onClear }: TypeFilterProps) {
  const menu = useRef<HTMLDetailsElement>(null);
  useEffect(() => {
    const close = (event: Event) => {
      const element = menu.current;
      if (!element?.open) return;
      const escaped = event instanceof KeyboardEvent && event.key === 'Escape';
      if (escaped || (event.type === 'pointerdown' && !element.contains(event.target as Node))) element.open = false;
    };
    addEventListener('pointerdown', close);
    addEventListener('keydown', close);
    return () => {
      removeEventListener('pointerdown', close);
      removeEventListener('keydown', close);
    };
  }, []);
  const types = [...new Set([...feed.types.keys(), ...chosen])].sort();
  return (
    <details class="menu" ref={menu}>
      <summary class="field">{chosen.size === 0 ? 'Any type' : chosen.size === 1 ? [...chosen][0] : `${chosen.size} types`}</summary>
      <fieldset class="menu-body">
        <legend class="visually-hidden">Event types</legend>
        {types.map((type) => (
          <label key={type}>
            <input type="checkbox" checked={chosen.has(type)} onChange={() => onToggle(type)} />
            <span class={`type ${typeClass(type)}`}>
              <i aria-hidden="true" />
              {type}
            </span>
            <span class="count">{number(feed.types.get(type) ?? 0)}</span>
          </label>
        ))}
        {chosen.size > 0 && (
          <button type="button" class="button small" onClick={onClear}>
            Any type
          </button>
        )}
      </fieldset>
    </details>
  );
}

function ReplayPicker({ since, onChange }: { since?: number; onChange: (since?: number) => void }) {
  const [picking, setPicking] = useState(false);
  if (picking) {
    return (
      <form
        class="inline"
        onSubmit={(event) => {
          event.preventDefault();
          const value = new FormData(event.currentTarget).get('since') as string;
          setPicking(false);
          onChange(new Date(value).getTime());
        }}
      >
        <input class="field" type="datetime-local" step="1" name="since" aria-label="Replay from" required />
        <button class="button">Replay</button>
        <button type="button" class="button" onClick={() => setPicking(false)}>
          Cancel
        </button>
      </form>
    );
  }
  return (
    <select
      class="field"
      aria-label="Replay from a time"
      value={since === undefined ? '' : 'on'}
      onChange={(event) => {
        const { value } = event.currentTarget;
        if (value === 'pick') setPicking(true);
        else if (value === '') onChange(undefined);
        else if (value !== 'on') onChange(Date.now() - Number(value) * MINUTE);
      }}
    >
      <option value="">Live</option>
      {since !== undefined && <option value="on">From {clock(since)}</option>}
      <option value="5">Replay 5 minutes</option>
      <option value="15">Replay 15 minutes</option>
      <option value="60">Replay an hour</option>
      <option value="360">Replay 6 hours</option>
      <option value="1440">Replay 24 hours</option>
      <option value="pick">Replay from …</option>
    </select>
  );
}

function ReplayNotice({ since, replay, onStop }: { since: number; replay: Replay; onStop: () => void }) {
  const { loading, more, loaded, truncated, problem } = replay.progress;
  return (
    <p class="notice" role="status">
      {loading ? 'Replaying' : more ? 'Replay stopped for now' : 'Replayed'} from <time title={exact(since)}>{clock(since)}</time>: {plural(loaded, 'event')} from history
      {!loading && !more && ', live since'}.{truncated && ' Older ones had been pruned.'} {problem}
      {!loading && more && (
        <button type="button" class="button small" onClick={replay.goOn}>
          Go on
        </button>
      )}
      <button type="button" class="button small" onClick={onStop}>
        Back to live
      </button>
    </p>
  );
}

interface Progress {
  loading: boolean;
  loaded: number;
  /** Where the next page begins. */
  more?: string;
  truncated: boolean;
  problem?: string;
}

interface Replay {
  progress: Progress;
  goOn: () => void;
}

/** Pages history from a time on into the feed, in the log's order, until it meets what the stream has brought. */
function useReplay(since: number | undefined, query: HistoryQuery): Replay | undefined {
  const [progress, setProgress] = useState<Progress>();
  const abort = useRef<AbortController>(undefined);
  const read = async (from: Progress) => {
    abort.current?.abort();
    const { signal } = (abort.current = new AbortController());
    let now: Progress = { ...from, loading: true, problem: undefined };
    setProgress(now);
    try {
      for (let page = 0; page < REPLAY_PAGES; page += 1) {
        const answer = await api.history({ ...query, since, limit: 1000, cursor: now.more }, signal);
        store.feed.prepend(answer.events);
        store.changed();
        now = { ...now, loaded: now.loaded + answer.events.length, more: answer.nextCursor, truncated: now.truncated || answer.truncated };
        setProgress(now);
        if (!now.more) {
          if (since !== undefined && !now.truncated && !query.type && !query.serverId && !query.workflowId) store.feed.reaches(since);
          break;
        }
      }
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof HubError)) throw error;
      now = { ...now, problem: error.message };
    }
    setProgress({ ...now, loading: false });
  };
  useEffect(() => {
    if (since === undefined) setProgress(undefined);
    else void read({ loading: true, loaded: 0, truncated: false });
    return () => abort.current?.abort();
  }, [since, JSON.stringify(query)]);
  return progress && { progress, goOn: () => void read(progress) };
}

/** The part of the filter that the hub can apply. It wants whole ids, while the page also finds parts of them. */
function historyQuery(feed: Feed, { types, server, workflow }: FeedFilter): HistoryQuery {
  return {
    type: [...types].join(',') || undefined,
    serverId: server && feed.events.some((event) => event.serverId === server) ? server : undefined,
    workflowId: workflow && feed.events.some((event) => workflowIdOf(event) === workflow) ? workflow : undefined,
  };
}

function EventDrawer({ id, known }: { id: string; known?: HubEvent }) {
  const [fetched, setFetched] = useState<HubEvent>();
  const [problem, setProblem] = useState<string>();
  useEffect(() => {
    if (known) return;
    api.event(id).then(setFetched, (error) => {
      if (!(error instanceof HubError)) throw error;
      setProblem(error.status === 410 ? 'This event was pruned: it is older than what the hub keeps.' : error.status === 404 ? 'The hub knows no event of this id.' : error.message);
    });
  }, [id, known !== undefined]);
  const event = known ?? fetched;
  const workflowId = event && workflowIdOf(event);
  const by = event && text(dataOf(event).by);
  return (
    <Drawer title={event ? <span class={`type ${typeClass(event.type)}`}><i aria-hidden="true" />{event.type}</span> : 'Event'} onClose={() => go('events')}>
      {problem && <p>{problem}</p>}
      {event && (
        <>
          <p class="lead summary">{shortened(summary(event))}</p>
          <Facts>
            <Fact name="Time">{exact(event.timestamp)}</Fact>
            <Fact name="Sequence">{number(event.sequence)}</Fact>
            <Fact name="Id">
              <code>{event.id}</code>
            </Fact>
            {event.serverId && (
              <Fact name="Server">
                <a href={link('servers', event.serverId)}>{event.serverId}</a>
              </Fact>
            )}
            {by && <Fact name="By">{by}</Fact>}
            {workflowId && (
              <Fact name="Workflow">
                <a href={link('workflows', workflowId)}>{workflowId}</a>
              </Fact>
            )}
          </Facts>
          <div class="actions">
            <CopyButton text={() => pretty(event)} label="Copy JSON" />
            <CopyButton text={() => getCurl(`/events/${event.id}`)} label="Copy as curl" />
            <CopyButton text={() => `${streamCurl({})} \\\n  -H 'Last-Event-ID: ${event.id}'`} label="Copy curl that resumes here" />
          </div>
          <Json value={event} />
        </>
      )}
    </Drawer>
  );
}

const REPLAY_PAGES = 20;
const LINE = 600;
