import { useLayoutEffect, useMemo, useRef, useState } from 'preact/hooks';
import { write } from '../hub/json';
import type { Server } from '../hub/protocol';
import type { HealthLog, Standing } from '../health-log';
import { link } from '../router';
import type { State } from '../hub/state';
import { useStore } from '../store';
import { Code, Empty, HealthMark, HealthWord, Search, Segments, STANDINGS, Strip, stripLabel, Tags, type Segment } from '../ui/bits';
import { DAY, HOUR, lastSeen, MINUTE, number, plural, troubleBefore, why } from '../ui/format';
import { Guard } from '../ui/guard';
import { usePhone, useWindow } from '../ui/virtual';
import { registerCurl } from './curl';
import { ServerDrawer } from './server';

type Column = 'name' | 'health' | 'transport' | 'tools' | 'resources' | 'seen';
type Show = 'all' | Standing;

export function Fleet({ state, selected }: { state: State; selected?: string }) {
  const { healthLog, logBegan } = useStore();
  const phone = usePhone();
  const [show, setShow] = useState<Show>('all');
  const [search, setSearch] = useState('');
  const [tag, setTag] = useState('');
  const [sort, setSort] = useState<{ column: Column; down: boolean }>({ column: 'health', down: false });
  const [chosenSpan, setSpan] = useState<number>();
  // A young hub's past would be a sliver of an hour.
  const span = chosenSpan ?? Math.min(HOUR, SPANS.find(([ms]) => Date.now() - (logBegan ?? 0) < ms)?.[0] ?? HOUR);


  const fleet = useMemo(() => [...state.servers.values()].filter(isRecent), [state.servers]);
  const tags = useMemo(() => [...new Set(fleet.flatMap((server) => Object.entries(server.tags).map(([key, value]) => `${key}:${value}`)))].sort(), [fleet]);
  const matching = useMemo(() => fleet.filter((server) => found(server, search) && (!tag || hasTag(server, tag))), [fleet, search, tag]);
  const rows = useMemo(
    () => matching.filter((server) => show === 'all' || standing(server) === show).sort(order(sort.column, sort.down)),
    [matching, show, sort],
  );

  if (fleet.length === 0) return <NoServers />;
  const counts = new Map<Show, number>([['all', matching.length]]);
  for (const server of matching) counts.set(standing(server), (counts.get(standing(server)) ?? 0) + 1);
  const segments: Segment<Show>[] = [
    { value: 'all', label: 'All', count: matching.length },
    ...(['healthy', 'degraded', 'unhealthy', 'lost', 'disconnected'] as const).map((value) => ({
      value,
      label: STANDINGS[value],
      count: counts.get(value) ?? 0,
      mark: <HealthMark standing={value} />,
    })),
  ];
  return (
    <section class="view" aria-labelledby="fleet-title">
      <h1 id="fleet-title" class="visually-hidden">
        Fleet
      </h1>
      <div class="toolbar">
        <Segments label="Filter by health" value={show} items={segments} onChange={setShow} />
        <div class="toolbar-fields fleet-fields">
          <Search label="Search servers" value={search} onInput={setSearch} hotkey />
          {tags.length > 0 && (
            <select class="field" aria-label="Filter by tag" value={tag} onChange={(event) => setTag(event.currentTarget.value)}>
              <option value="">Any tag</option>
              {tags.map((value) => (
                <option key={value}>{value}</option>
              ))}
            </select>
          )}
          <select class="field" aria-label="Time span of the health strips" value={span} onChange={(event) => setSpan(Number(event.currentTarget.value))}>
            {SPANS.map(([ms, name]) => (
              <option key={ms} value={ms}>
                Last {name}
              </option>
            ))}
          </select>
          {phone && (
            <select class="field" aria-label="Sort by" value={sort.column} onChange={(event) => setSort({ column: event.currentTarget.value as Column, down: false })}>
              {COLUMNS.filter(({ column }) => column).map(({ column, label }) => (
                <option key={column} value={column}>
                  By {label.toLowerCase()}
                </option>
              ))}
            </select>
          )}
        </div>
      </div>
      {rows.length === 0 ? (
        <Empty title="No server matches">
          <p>{plural(fleet.length, 'server')} in all.</p>
          <button type="button" class="button" onClick={() => (setSearch(''), setTag(''), setShow('all'))}>
            Clear the filters
          </button>
        </Empty>
      ) : (
        <Table rows={rows} phone={phone} span={span} sort={sort} onSort={setSort} healthLog={healthLog} selected={selected} />
      )}
      {selected !== undefined && (
        <Guard key={selected} what="This server">
          <ServerDrawer id={selected} server={state.servers.get(selected)} state={state} />
        </Guard>
      )}
    </section>
  );
}

interface TableProps {
  rows: Server[];
  phone: boolean;
  span: number;
  sort: { column: Column; down: boolean };
  onSort: (sort: { column: Column; down: boolean }) => void;
  healthLog: HealthLog;
  selected?: string;
}

function Table({ rows, phone, span, sort, onSort, healthLog, selected }: TableProps) {
  const scroller = useRef<HTMLDivElement>(null);
  const rowHeight = phone ? 84 : 40;
  const { first, last, before, after } = useWindow(scroller, rows.length, rowHeight);
  const [, draw] = useState({});
  const goal = useRef<number>(undefined);
  // The row to go to may have to be drawn first; whichever drawing brings it, it gets the focus.
  useLayoutEffect(() => {
    const row = goal.current !== undefined && scroller.current?.querySelector<HTMLElement>(`[data-row="${goal.current}"] a`);
    if (!row) return;
    goal.current = undefined;
    row.focus({ preventScroll: true });
  });

  /** Arrow keys go from server to server, also to those that aren't drawn yet. */
  const move = (event: KeyboardEvent) => {
    const step = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10 }[event.key];
    const at = (event.target as HTMLElement).closest<HTMLElement>('[data-row]')?.dataset.row;
    const element = scroller.current;
    if (step === undefined || at === undefined || !element) return;
    event.preventDefault();
    const next = Math.min(rows.length - 1, Math.max(0, (goal.current ?? Number(at)) + step));
    goal.current = next;
    const top = next * rowHeight;
    if (top < element.scrollTop) element.scrollTop = top;
    if (top + rowHeight * 2 > element.scrollTop + element.clientHeight) element.scrollTop = top + rowHeight * 2 - element.clientHeight;
    draw({});
  };

  const to = Date.now();
  const windowName = SPANS.find(([ms]) => ms === span)![1];
  return (
    <div class="scroller" ref={scroller} onKeyDown={move} tabIndex={-1}>
      <div class="table fleet-table" role="table" aria-label="Servers" aria-rowcount={rows.length + 1}>
        <div role="rowgroup" class="table-head">
          <div class="row" role="row" aria-rowindex={1}>
            {COLUMNS.map(({ column, label, cell }) => (
              <div key={label} role="columnheader" class={cell} aria-sort={column === sort.column ? (sort.down ? 'descending' : 'ascending') : undefined}>
                {column ? (
                  <button type="button" onClick={() => onSort({ column, down: column === sort.column && !sort.down })}>
                    {label}
                    <span class="arrow" aria-hidden="true">
                      {column === sort.column ? (sort.down ? '↓' : '↑') : ''}
                    </span>
                  </button>
                ) : (
                  label
                )}
              </div>
            ))}
          </div>
        </div>
        <div role="rowgroup" style={{ paddingTop: `${before}px`, paddingBottom: `${after}px` }}>
          {rows.slice(first, last).map((server, index) => {
            const stands = standing(server);
            const spans = healthLog.spans(server.id, to - span, to, stands, server.connectedAt);
            const seen = lastSeen(server, to);
            const trouble = healthLog.trouble(server.id, to - HOUR);
            // One short illness is for the strip to tell; more are a habit, and still one while the server is well.
            const reason = why(server) || (trouble && trouble.times > 1 ? troubleBefore(trouble, 'the last hour', to) : '');
            const { tools, resources } = server.connection.capabilities;
            return (
              <div
                class={`row ${stands}${server.id === selected ? ' selected' : ''}`}
                role="row"
                key={server.id}
                data-row={first + index}
                aria-rowindex={first + index + 2}
                onClick={(event) => {
                  if (!(event.target as HTMLElement).closest('a')) location.hash = link('servers', server.id);
                }}
              >
                <div role="cell" class="c-name">
                  <a href={link('servers', server.id)}>{server.name}</a>
                  {server.name !== server.id && <span class="id">{server.id}</span>}
                </div>
                <div role="cell" class="c-health">
                  <HealthWord standing={stands} />
                </div>
                <div role="cell" class="c-why" title={reason}>
                  {reason}
                </div>
                <div role="cell" class="c-strip">
                  <Strip spans={spans} label={stripLabel(spans, windowName)} />
                </div>
                <div role="cell" class="c-transport">
                  {server.connection.transport}
                </div>
                <div role="cell" class="c-tools num">
                  {number(tools.length)}
                </div>
                <div role="cell" class="c-resources num">
                  {number(resources.length)}
                </div>
                <div role="cell" class="c-tags">
                  <Tags tags={server.tags} />
                </div>
                <div role="cell" class="c-seen" title={seen.title}>
                  {seen.text}
                </div>
              </div>
            );
          })}
        </div>
      </div>
    </div>
  );
}

function NoServers() {
  return (
    <section class="view">
      <h1 class="visually-hidden">Fleet</h1>
      <Empty title="No server has registered yet">
        <p>Every MCP server that reports to this hub appears here by itself. Register a first one from a terminal:</p>
        <Code text={registerCurl()} />
        <p class="hint">
          Then send a heartbeat every 10 s to <code>/servers/lms-server-001/heartbeat</code>; without one the server turns degraded, and this page says why.
        </p>
      </Empty>
    </section>
  );
}

export function standing(server: Server): Standing {
  return server.status === 'connected' ? server.health : server.lost ? 'lost' : 'disconnected';
}

/** A server that left is shown for a day. */
function isRecent(server: Server) {
  return server.status === 'connected' || Date.now() - server.lastSeenAt < DAY;
}

function found(server: Server, search: string) {
  if (!search) return true;
  const { tools, resources } = server.connection.capabilities;
  const text = `${server.id} ${server.name} ${server.connection.transport} ${why(server)} ${write([tools, resources, server.tags])}`.toLowerCase();
  return search
    .toLowerCase()
    .split(/\s+/)
    .every((word) => text.includes(word));
}

function hasTag(server: Server, tag: string) {
  const colon = tag.indexOf(':');
  return server.tags[tag.slice(0, colon)] === tag.slice(colon + 1);
}

const SEVERITY: Record<Standing, number> = { lost: 0, unhealthy: 1, degraded: 2, healthy: 3, disconnected: 4 };

const byName = new Intl.Collator('en', { numeric: true });

function order(column: Column, down: boolean) {
  const compare = (a: Server, b: Server): number => {
    switch (column) {
      case 'name':
        return 0;
      case 'health':
        return SEVERITY[standing(a)] - SEVERITY[standing(b)];
      case 'transport':
        return byName.compare(a.connection.transport ?? '', b.connection.transport ?? '');
      case 'tools':
        return b.connection.capabilities.tools.length - a.connection.capabilities.tools.length;
      case 'resources':
        return b.connection.capabilities.resources.length - a.connection.capabilities.resources.length;
      case 'seen':
        return b.lastSeenAt - a.lastSeenAt;
    }
  };
  return (a: Server, b: Server) => (down ? -1 : 1) * (compare(a, b) || byName.compare(a.name, b.name) || byName.compare(a.id, b.id));
}

const COLUMNS: { column?: Column; label: string; cell: string }[] = [
  { column: 'name', label: 'Server', cell: 'c-name' },
  { column: 'health', label: 'Health', cell: 'c-health' },
  { label: 'Why', cell: 'c-why' },
  { label: 'Over time', cell: 'c-strip' },
  { column: 'transport', label: 'Transport', cell: 'c-transport' },
  { column: 'tools', label: 'Tools', cell: 'c-tools num' },
  { column: 'resources', label: 'Resources', cell: 'c-resources num' },
  { label: 'Tags', cell: 'c-tags' },
  { column: 'seen', label: 'Last heartbeat', cell: 'c-seen' },
];

const SPANS: readonly (readonly [number, string])[] = [
  [5 * MINUTE, '5 min'],
  [30 * MINUTE, '30 min'],
  [HOUR, 'hour'],
  [6 * HOUR, '6 hours'],
  [24 * HOUR, '24 hours'],
];
