import { useEffect, useState } from 'preact/hooks';
import { api, HubError } from '../hub/api';
import { pretty, type Digits } from '../hub/json';
import type { Capability, HubEvent, Instance, Server } from '../hub/protocol';
import type { State } from '../hub/state';
import { go, link } from '../router';
import { useStore } from '../store';
import { CopyButton, Drawer, Fact, Facts, HealthMark, HealthWord, Json, STANDINGS, StepMark, Strip, stripLabel, Tags, Time } from '../ui/bits';
import { ago, clock, duration, exact, HOUR, lastSeen, measured, number, plural, reason, SECOND, sentence, stamp, summary, troubleBefore, why } from '../ui/format';
import { getCurl } from './curl';
import { standing } from './fleet';

const close = () => go('servers');

export function ServerDrawer({ id, server, state }: { id: string; server?: Server; state: State }) {
  if (!server) {
    return (
      <Drawer title={id} onClose={close}>
        <p>No server of this id is known. It may never have registered, or it left more than a day ago.</p>
        <p>
          <a href={link('events')}>Look for it in the live feed</a>
        </p>
      </Drawer>
    );
  }
  return (
    <Drawer key={id} title={server.name} onClose={close}>
      <Details server={server} state={state} />
    </Drawer>
  );
}

function Details({ server, state }: { server: Server; state: State }) {
  const { healthLog, feed } = useStore();
  const fetched = useFetched(server);
  const past = useServerHistory(server.id);
  const now = Date.now();
  const stands = standing(server);
  const spans = healthLog.spans(server.id, now - 6 * HOUR, now, stands, server.connectedAt);
  const { tools, resources, prompts } = server.connection.capabilities;
  const known = new Set(past.map(({ id }) => id));
  const events = [...past, ...feed.events.filter((event) => event.serverId === server.id && !known.has(event.id))].sort((a, b) => b.sequence - a.sequence).slice(0, 50);
  const work = [...state.workflows.values()].flatMap((workflow) =>
    workflow.status === 'running' ? workflow.steps.filter((step) => step.status === 'running' && step.serverId === server.id).map((step) => ({ workflow, step })) : [],
  );
  // What the hub answered last is newer than the last event: heartbeats are none.
  const heard = fetched?.server.status === server.status ? fetched.server : server;
  const seen = lastSeen(heard, now);
  const instances = fetched?.server.instances ?? server.instances;
  return (
    <>
      <Verdict server={fetched && (fetched.server.unsaved || (fetched.server.health === server.health && fetched.server.status === server.status)) ? fetched.server : server} now={now} />
      <Strip spans={spans} label={stripLabel(spans, '6 hours')} />
      <div class="strip-axis" aria-hidden="true">
        <span>6 h ago</span>
        <span>now</span>
      </div>
      <Facts>
        <Fact name="Id">
          <code>{server.id}</code>
        </Fact>
        <Fact name="Last heartbeat">
          <span title={seen.title}>{seen.text}</span>
          {heard.status === 'connected' && heard.missedHeartbeats > 0 && `, ${number(heard.missedHeartbeats)} missed since`}
        </Fact>
        {heard.heartbeatIntervalMs !== undefined && <Fact name="Interval">{duration(heard.heartbeatIntervalMs)}</Fact>}
        <Fact name="Transport">
          {server.connection.transport}
          {server.connection.url && (
            <>
              {' '}
              <code>{server.connection.url}</code>
            </>
          )}
        </Fact>
        {server.connection.version && <Fact name="Version">{server.connection.version}</Fact>}
        {server.connectedAt !== undefined && server.status === 'connected' && (
          <Fact name="Connected">
            <Time at={server.connectedAt} />
          </Fact>
        )}
        {server.connection.instanceId && instances.length === 0 && (
          <Fact name="Instance">
            <code>{server.connection.instanceId}</code>
          </Fact>
        )}
        {Object.keys(server.tags).length > 0 && (
          <Fact name="Tags">
            <span class="wrap">
              <Tags tags={server.tags} />
            </span>
          </Fact>
        )}
      </Facts>
      {fetched?.server.metrics && <Metrics metrics={fetched.server.metrics} at={fetched.at} />}
      <Instances instances={instances} now={now} />
      {work.length > 0 && (
        <>
          <h3>Working on</h3>
          <ul class="plain">
            {work.map(({ workflow, step }) => (
              <li key={`${workflow.id} ${step.id}`}>
                <StepMark status="running" /> <a href={link('workflows', workflow.id)}>{workflow.name}</a> · {step.name ?? step.id}
                {step.startedAt !== undefined && <span class="muted"> since {ago(step.startedAt)}</span>}
              </li>
            ))}
          </ul>
        </>
      )}
      <Capabilities title="tool" items={tools} />
      <Capabilities title="resource" items={resources} />
      <Capabilities title="prompt" items={prompts} />
      {server.connection.metadata !== undefined && server.connection.metadata !== null && (
        <>
          <h3>Metadata</h3>
          <Json value={server.connection.metadata} />
        </>
      )}
      <h3>Events</h3>
      <ol class="event-list">
        {events.map((event) => (
          <li key={event.id}>
            <time dateTime={new Date(event.timestamp).toISOString()} title={exact(event.timestamp)}>
              {stamp(event.timestamp)}
            </time>
            <a href={link('events', event.id)} title={event.type}>
              {summary(event)}
            </a>
          </li>
        ))}
      </ol>
      <div class="actions">
        <CopyButton text={() => getCurl(`/servers/${server.id}`)} label="Copy as curl" />
        <CopyButton text={() => pretty(fetched?.answer ?? server)} label="Copy JSON" />
      </div>
      <AsOf fetched={fetched} />
    </>
  );
}

/** How it stands, why, and what there was before: a server that flaps is well every other minute. */
function Verdict({ server, now }: { server: Server; now: number }) {
  const { healthLog } = useStore();
  const stands = standing(server);
  const cause = why(server);
  const turn = healthLog.turn(server.id);
  const connectedAt = server.connectedAt ?? 0;
  const since = Math.max(now - HOUR, healthLog.completeSince);
  const trouble = healthLog.trouble(server.id, now - HOUR);
  const well = connectedAt >= since ? 'nothing was wrong since it connected.' : since > now - HOUR + SECOND ? `nothing was wrong since ${clock(since)}, as far as this page knows.` : 'nothing was wrong in the last hour.';
  return (
    <div class={`verdict ${stands}`}>
      <HealthWord standing={stands} />
      {cause && <p>{cause}</p>}
      {server.unsaved && <p>The hub can’t write its log: no event says this yet.</p>}
      {stands === 'healthy'
        ? !cause && <p>{trouble ? `${troubleBefore(trouble, 'the last hour', now)}. Well again${turn ? ` since ${stamp(turn.at)}` : ''}.` : `On time with its heartbeats; ${well}`}</p>
        : turn && (
            <p class="muted">
              {STANDINGS[stands]} since {stamp(turn.at)} (<Time at={turn.at} />){turn.why && sentence(reason(turn.why)) !== sentence(cause) && `; then: ${reason(turn.why)}`}
            </p>
          )}
    </div>
  );
}

function Metrics({ metrics, at }: { metrics: Record<string, number | Digits>; at: number }) {
  return (
    <>
      <h3>
        Metrics <span class="as-of">as of {clock(at)}</span>
      </h3>
      <Facts>
        {Object.entries(metrics).map(([name, value]) => (
          <Fact key={name} name={name}>
            {measured(value)}
          </Fact>
        ))}
      </Facts>
    </>
  );
}

function Instances({ instances, now }: { instances: Instance[]; now: number }) {
  if (instances.length === 0 || (instances.length === 1 && instances[0]!.instanceId === undefined)) return null;
  return (
    <>
      <h3>{plural(instances.length, 'instance')}</h3>
      <ul class="instances">
        {instances.map((instance, index) => (
          <li key={instance.instanceId ?? index}>
            <HealthMark standing={instance.status === 'lost' || instance.status === 'disconnected' ? instance.status : instance.health} />
            <div>
              <code>{instance.instanceId ?? 'without a name'}</code>
              <span class="visually-hidden">, {instance.status === 'lost' ? 'lost' : instance.health}</span>
              {instance.health !== 'healthy' && <p>{sentence(instance.detail ?? reason(instance.reason))}</p>}
              <p class="muted">
                {[instance.client && `for ${instance.client}`, instance.host && `on ${instance.host}`, instance.pid && `process ${instance.pid}`, instance.connectedAt !== undefined && `up for ${duration(now - instance.connectedAt)}`, instance.lastSeenAt !== undefined && `last seen ${ago(instance.lastSeenAt, now)}`]
                  .filter(Boolean)
                  .join(' · ')}
              </p>
            </div>
          </li>
        ))}
      </ul>
    </>
  );
}

/** How fresh each part of the drawer is. */
function AsOf({ fetched }: { fetched?: Fetched }) {
  const { link: stream } = useStore();
  const rest = stream.phase === 'open' ? 'all else is live' : `all else as of ${clock(stream.lastFrameAt ?? stream.since)}, for the stream is not live`;
  if (!fetched) return stream.phase === 'open' ? null : <p class="hint">{sentence(rest)}.</p>;
  return (
    <p class="hint">
      Heartbeat, interval, metrics and instances as of {clock(fetched.at)}
      {fetched.problem ? `; asked again in vain: ${fetched.problem}` : ', asked for again while this is open'}; {rest}.
    </p>
  );
}

function Capabilities({ title, items }: { title: string; items: Capability[] }) {
  if (items.length === 0) return null;
  return (
    <>
      <h3>{plural(items.length, title)}</h3>
      <ul class="chips">
        {items.map(({ name, description }, index) => (
          <li key={index} title={description}>
            {name}
          </li>
        ))}
      </ul>
    </>
  );
}

interface Fetched {
  server: Server;
  answer: unknown;
  at: number;
  problem?: string;
}

/** What the stream does not carry: asked for while somebody looks at it, and when the stream says that something changed. */
function useFetched(server: Server) {
  const [fetched, setFetched] = useState<Fetched>();
  const pause = Math.max(SHORTEST_PAUSE, fetched?.server.heartbeatIntervalMs ?? server.heartbeatIntervalMs ?? 0);
  useEffect(() => {
    let current = true;
    const ask = async () => {
      if (document.visibilityState === 'hidden') return;
      try {
        const { server: read, answer } = await api.server(server.id);
        if (current && read) setFetched({ server: read, answer, at: Date.now() });
      } catch (error) {
        if (!(error instanceof HubError)) throw error;
        if (current) setFetched((before) => before && { ...before, problem: error.message });
      }
    };
    void ask();
    const timer = setInterval(ask, pause);
    return () => {
      current = false;
      clearInterval(timer);
    };
  }, [server.id, server.sequence, server.status, server.health, pause]);
  return fetched?.server.id === server.id ? fetched : undefined;
}

function useServerHistory(serverId: string) {
  const [events, setEvents] = useState<HubEvent[]>([]);
  useEffect(() => {
    const abort = new AbortController();
    api.history({ serverId, order: 'desc', limit: 50 }, abort.signal).then(
      (page) => setEvents(page.events),
      () => setEvents([]),
    );
    return () => abort.abort();
  }, [serverId]);
  return events;
}

const SHORTEST_PAUSE = 5 * SECOND;
