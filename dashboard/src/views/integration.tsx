import { useEffect, useState } from 'preact/hooks';
import { api, HubError, origin } from '../hub/api';
import { HEALTHS, type Health, type HubEvent, type Stats } from '../hub/protocol';
import { number as numberOf, text, word } from '../hub/read';
import { dataOf } from '../hub/shapes';
import type { State } from '../hub/state';
import type { Span } from '../health-log';
import { link } from '../router';
import { store, useStore } from '../store';
import { HealthMark, STANDINGS, Strip, stripLabel, Time } from '../ui/bits';
import { because, clock, duration, exact, HOUR, number, plural, sentence, stamp } from '../ui/format';

export function Integration({ state }: { state: State }) {
  const { statusLog, statusSince, link: stream } = useStore();
  const { status, asOf, problem, refresh } = useStatus();
  const servers = [...state.servers.values()];
  const connected = servers.filter((server) => server.status === 'connected');
  const healthy = connected.filter((server) => server.health === 'healthy');
  const lost = servers.filter((server) => server.lost);
  const sum = (kind: 'tools' | 'resources') => connected.reduce((total, server) => total + server.connection.capabilities[kind].length, 0);
  const running = [...state.workflows.values()].filter((workflow) => workflow.status === 'running');
  const now = Date.now();
  const changes = statusLog.toReversed();
  const live = stream.phase === 'open' ? 'is live' : `is as of ${clock(stream.lastFrameAt ?? stream.since)}, for the stream is not live`;
  return (
    <section class="view scrolling integration" aria-labelledby="integration-title">
      <h1 id="integration-title" class="visually-hidden">
        Integration
      </h1>
      <div class={`overall ${state.status}`}>
        <HealthMark standing={state.status} />
        <div>
          <p class="overall-word">
            {STANDINGS[state.status]}
            {changes[0] && (
              <span class="overall-since">
                for <Time at={changes[0].timestamp}>{duration(now - changes[0].timestamp)}</Time>
              </span>
            )}
          </p>
          <p class="muted">{inWords(state.status, connected.length, healthy.length, lost.length)}</p>
        </div>
      </div>
      {status?.selfSuspect && (
        <p class="notice">
          {plural(status.selfSuspect.silent, 'server')} went silent at once, <Time at={status.selfSuspect.since} />. The hub suspects its own network rather than them and disconnects nobody for now.
        </p>
      )}
      {status?.starvedSince !== undefined && (
        <p class="notice">
          The hub gets too little CPU time since <Time at={status.starvedSince} />: its timers are late, and its verdicts with them.
        </p>
      )}
      {status?.unsaved && <p class="notice">The hub can’t write its log: what it sees changing is in no event yet, and not on this page.</p>}
      {status?.clockJumped && <p class="notice">The hub’s clock jumped forward, so nothing is pruned by age for now.</p>}
      <StatusStrip changes={statusLog} now={now} status={state.status} began={statusSince} />
      <div class="columns">
        <div>
          <h2>Counters</h2>
          <dl class="counters">
            <Counter name="Connected servers" value={connected.length} />
            <Counter name="Healthy servers" value={healthy.length} />
            <Counter name="Lost servers" value={lost.length} />
            <Counter name="Tools" value={sum('tools')} />
            <Counter name="Resources" value={sum('resources')} />
            <Counter name="Workflows running" value={running.length} />
            <Counter name="Workflows completed" value={state.stats.completedWorkflows} />
            <Counter name="Workflows failed or cancelled" value={state.stats.failedWorkflows} />
            <Counter name="Patterns on" value={[...state.patterns.values()].filter(({ enabled }) => enabled).length} />
            <Counter name="Last sequence" value={state.sequence} />
            {status && <Counter name="Stream clients" value={status.sseClients} />}
            {status && asOf !== undefined && <Counter name="Hub up for" value={duration(status.uptimeMs + (now - asOf))} />}
          </dl>
          <p class="hint">
            {problem ?? (asOf === undefined ? '' : `Stream clients as of ${clock(asOf)}; all else ${live}.`)}{' '}
            <button type="button" class="button small" onClick={refresh}>
              Ask again
            </button>
          </p>
        </div>
        <div>
          <h2>Patterns</h2>
          <Patterns state={state} />
          <h2>Status changes</h2>
          {changes.length === 0 ? (
            <p class="muted">None yet. The status changes when the first server turns ill or well.</p>
          ) : (
            <ol class="event-list">
              {changes.slice(0, 30).map((event) => (
                <li key={event.id}>
                  <time dateTime={new Date(event.timestamp).toISOString()} title={exact(event.timestamp)}>
                    {stamp(event.timestamp)}
                  </time>
                  <a href={link('events', event.id)}>
                    <HealthMark standing={statusOf(event)} /> {changeInWords(event)}
                  </a>
                </li>
              ))}
            </ol>
          )}
        </div>
      </div>
      <h2>For programs</h2>
      <ul class="plain">
        <li>
          <a href={`${origin()}/openapi.json`}>openapi.json</a> <span class="muted">the HTTP interface</span>
        </li>
        <li>
          <a href={`${origin()}/metrics`}>metrics</a> <span class="muted">for Prometheus</span>
        </li>
        <li>
          <a href={`${origin()}/snapshot`}>snapshot</a> <span class="muted">this page's state as JSON</span>
        </li>
      </ul>
    </section>
  );
}

function Counter({ name, value }: { name: string; value: number | string }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{typeof value === 'number' ? number(value) : value}</dd>
    </div>
  );
}

interface StatusStripProps {
  changes: HubEvent[];
  now: number;
  status: Health;
  /** From when on the changes are all of them: of a time before nothing is known. */
  began?: number;
}

function StatusStrip({ changes, now, status, began = now }: StatusStripProps) {
  const { length, name, marks } = STRIPS.find((strip) => now - began < strip.length) ?? STRIPS.at(-1)!;
  const from = now - length;
  const inside = changes.filter((event) => event.timestamp > from);
  const before = changes.findLast((event) => event.timestamp <= from);
  const known = before ? from : Math.max(from, Math.min(began, now));
  const spans: Span[] = [{ from, to: known }];
  let standing = (before && statusOf(before)) ?? (inside[0] && word(dataOf(inside[0]).previousStatus, HEALTHS)) ?? status;
  let start = known;
  for (const event of inside) {
    spans.push({ from: start, to: event.timestamp, standing });
    standing = statusOf(event);
    start = event.timestamp;
  }
  spans.push({ from: start, to: now, standing });
  return (
    <>
      <h2>Last {name}</h2>
      <Strip spans={spans} label={stripLabel(spans, name)} />
      <div class="strip-axis" aria-hidden="true">
        {marks.map((mark) => (
          <span key={mark}>{mark}</span>
        ))}
      </div>
    </>
  );
}

/** A young hub's past would be a sliver of a day: the shortest strip that holds all of it is shown. */
const STRIPS = [
  { length: HOUR, name: 'hour', marks: ['1 h ago', '30 m ago', 'now'] },
  { length: 6 * HOUR, name: '6 hours', marks: ['6 h ago', '3 h ago', 'now'] },
  { length: 24 * HOUR, name: '24 hours', marks: ['24 h ago', '12 h ago', 'now'] },
];

function Patterns({ state }: { state: State }) {
  const [problem, setProblem] = useState<string>();
  const [forbidden, setForbidden] = useState(false);
  const [asking, setAsking] = useState<string>();
  const patterns = [...state.patterns.values()];
  const flip = async (name: string, enabled: boolean) => {
    setAsking(name);
    setProblem(undefined);
    try {
      await store.switchPattern(name, enabled);
    } catch (error) {
      if (!(error instanceof HubError)) throw error;
      setForbidden(error.status === 401 || error.status === 403);
      setProblem(error.message);
    }
    setAsking(undefined);
  };
  return (
    <>
      <ul class="patterns">
        {patterns.map((pattern) => (
          <li key={pattern.name}>
            <label>
              <span class="pattern-text">
                <b>{patternName(pattern.name)}</b>
                <span class="muted">{pattern.description}</span>
              </span>
              <input
                type="checkbox"
                role="switch"
                class="switch"
                checked={pattern.enabled}
                disabled={forbidden || !store.mayAdminister || asking === pattern.name}
                onClick={(event) => {
                  event.preventDefault();
                  void flip(pattern.name, !pattern.enabled);
                }}
              />
            </label>
          </li>
        ))}
      </ul>
      {!store.mayAdminister && <p class="hint">Your token may look, but not switch.</p>}
      {problem && (
        <p class="problem" role="alert">
          {forbidden ? 'You may look, but not switch: ' : 'Not switched: '}
          {problem}
        </p>
      )}
    </>
  );
}

/** `sse_integration` → `SSE integration`. */
function patternName(name: string) {
  return sentence(name.replaceAll('_', ' ').replace(/\bsse\b/, 'SSE'));
}

function inWords(status: Health, connected: number, healthy: number, lost: number): string {
  if (connected === 0 && lost === 0) return 'No server is connected, so nothing is ill.';
  const parts = [`${number(healthy)} of ${plural(connected, 'connected server')} ${healthy === 1 ? 'is' : 'are'} healthy`];
  if (lost > 0) parts.push(`${plural(lost, 'server')} ${lost === 1 ? 'is lost and counts' : 'are lost and count'} as unhealthy`);
  if (status === 'healthy' && healthy === connected && lost === 0) return `All ${plural(connected, 'connected server')} ${connected === 1 ? 'is' : 'are'} healthy.`.replace('All 1', 'The 1');
  return `${parts.join('; ')}.`;
}

function changeInWords(event: HubEvent): string {
  const data = dataOf(event);
  const count = (name: string) => number(numberOf(data[name]) ?? 0);
  const before = text(data.previousStatus);
  const lost = numberOf(data.lostServers) ? `, ${count('lostServers')} lost` : '';
  return `${STANDINGS[statusOf(event)]}${before ? `, was ${before}` : ''} (${count('healthyServers')} of ${count('connectedServers')} healthy${lost})${because(data)}`;
}

const statusOf = (event: HubEvent): Health => word(dataOf(event).status, HEALTHS) ?? 'healthy';

/** What only the hub itself can count; asked for once, and again on request. */
function useStatus() {
  const [status, setStatus] = useState<Stats>();
  const [asOf, setAsOf] = useState<number>();
  const [problem, setProblem] = useState<string>();
  const refresh = () =>
    api.status().then(
      (answer) => {
        setStatus(answer);
        setAsOf(Date.now());
        setProblem(undefined);
      },
      (error) => {
        if (!(error instanceof HubError)) throw error;
        setProblem(error.message);
      },
    );
  useEffect(() => void refresh(), []);
  return { status, asOf, problem, refresh };
}
