import { useEffect, useState } from 'preact/hooks';
import { api, HubError } from '../hub/api';
import type { Capability, HubEvent, Server } from '../hub/protocol';
import type { State } from '../hub/state';
import { go, link } from '../router';
import { useStore } from '../store';
import { CopyButton, Drawer, Fact, Facts, HealthWord, Json, StepMark, Strip, stripLabel, Tags, Time } from '../ui/bits';
import { ago, capabilityName, clock, duration, exact, HOUR, lastSeen, number, plural, stamp, summary, why } from '../ui/format';
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
  const { tools = [], resources = [], prompts = [] } = server.connection.capabilities ?? {};
  const known = new Set(past.map(({ id }) => id));
  const events = [...past, ...feed.events.filter((event) => event.serverId === server.id && !known.has(event.id))].sort((a, b) => b.sequence - a.sequence).slice(0, 50);
  const work = [...state.workflows.values()].flatMap((workflow) =>
    workflow.status === 'running' ? workflow.steps.filter((step) => step.status === 'running' && step.serverId === server.id).map((step) => ({ workflow, step })) : [],
  );
  const heard = fetched && fetched.lastSeenAt > server.lastSeenAt ? fetched : server;
  const seen = lastSeen({ ...heard, missedHeartbeats: server.missedHeartbeats, status: server.status, heartbeatIntervalMs: fetched?.heartbeatIntervalMs ?? server.heartbeatIntervalMs }, now);
  const interval = fetched?.heartbeatIntervalMs ?? server.heartbeatIntervalMs;
  return (
    <>
      <div class={`verdict ${stands}`}>
        <HealthWord standing={stands} />
        <p>{why(server) || 'On time with its heartbeats; nothing to explain.'}</p>
      </div>
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
          {server.missedHeartbeats > 0 && `, ${number(server.missedHeartbeats)} missed`}
        </Fact>
        {interval !== undefined && <Fact name="Interval">{duration(interval)}</Fact>}
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
        {server.connection.instanceId && (
          <Fact name="Instance">
            <code>{server.connection.instanceId}</code>
          </Fact>
        )}
        {Object.keys(server.tags ?? {}).length > 0 && (
          <Fact name="Tags">
            <span class="wrap">
              <Tags tags={server.tags} />
            </span>
          </Fact>
        )}
        {Object.entries(fetched?.metrics ?? {}).map(([name, value]) => (
          <Fact key={name} name={name}>
            {number(value)}
          </Fact>
        ))}
      </Facts>
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
      {server.connection.metadata && Object.keys(server.connection.metadata).length > 0 && (
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
        <CopyButton text={() => JSON.stringify(server, null, 2)} label="Copy JSON" />
      </div>
      {fetched && <p class="hint">Interval, metrics and last heartbeat as of {clock(fetched.at)}; all else is live.</p>}
    </>
  );
}

function Capabilities({ title, items }: { title: string; items: Capability[] }) {
  if (items.length === 0) return null;
  return (
    <>
      <h3>{plural(items.length, title)}</h3>
      <ul class="chips">
        {items.map((item) => {
          const name = capabilityName(item);
          return (
            <li key={name} title={typeof item === 'string' ? undefined : item.description}>
              {name}
            </li>
          );
        })}
      </ul>
    </>
  );
}

/** What the stream does not carry, asked for once, and again when the stream says that something changed. */
function useFetched(server: Server) {
  const [fetched, setFetched] = useState<Server & { at: number }>();
  useEffect(() => {
    let current = true;
    api.server(server.id).then(
      (answer) => current && setFetched({ ...answer, at: Date.now() }),
      (error) => {
        if (!(error instanceof HubError)) throw error;
      },
    );
    return () => {
      current = false;
    };
  }, [server.id, server.health, server.status, server.missedHeartbeats]);
  return fetched?.id === server.id ? fetched : undefined;
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
