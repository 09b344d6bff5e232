// Parses at the edge what the hub sends, so that nothing behind it has to wonder: every field is of its kind or absent.
// Pure. A thing without the id that it can't be shown without is left out, and nothing here throws.

import { visible, type Digits } from './json';
import { HEALTHS, STEP_STATUSES, WORKFLOW_STATUSES, type Capability, type Connection, type HubEvent, type Instance, type Pattern, type Server, type Snapshot, type Stats, type Step, type Workflow } from './protocol';
import { fields, flag, list, number, text, texts, time, word, type Fields } from './read';

export function eventOf(value: unknown): HubEvent | undefined {
  const { id, sequence, type, timestamp, serverId } = fields(value);
  const [known, place, kind, at] = [text(id), number(sequence), text(type), time(timestamp)];
  if (known === undefined || place === undefined || kind === undefined || at === undefined) return undefined;
  // Whatever else the envelope holds stays in it: the page shows the whole of it.
  return { ...(value as Fields), id: known, sequence: place, type: kind, timestamp: at, serverId: text(serverId) };
}

/** A text for people, which may hold nothing that turns those around it. */
export function shown(value: unknown): string | undefined {
  const read = text(value);
  return read && visible(read);
}

export const eventsOf = (values: unknown): HubEvent[] => list(values).flatMap((value) => eventOf(value) ?? []);

/** An event's data, field by field; none where the data is no object. */
export const dataOf = (event: HubEvent): Fields => fields(event.data);

/** The workflow that an event concerns. */
export const workflowIdOf = (event: HubEvent): string | undefined => text(dataOf(event).workflowId);

export function connectionOf(value: unknown, fallbackId?: string): Connection | undefined {
  const read = fields(value);
  const id = text(read.id) ?? fallbackId;
  if (id === undefined) return undefined;
  const { tools, resources, prompts } = fields(read.capabilities);
  return {
    id,
    name: shown(read.name) || id,
    transport: text(read.transport),
    url: text(read.url),
    version: text(read.version),
    capabilities: { tools: capabilitiesOf(tools), resources: capabilitiesOf(resources), prompts: capabilitiesOf(prompts) },
    metadata: read.metadata,
    instanceId: text(read.instanceId),
  };
}

/** Bare names, and objects that have one. */
function capabilitiesOf(value: unknown): Capability[] {
  return list(value).map((item) => {
    const { name, uri, description } = fields(item);
    return { name: shown(item) ?? shown(name) ?? shown(uri) ?? 'unnamed', description: shown(description) };
  });
}

export const tagsOf = (value: unknown): Record<string, string> => Object.fromEntries(Object.entries(fields(value)).filter((tag): tag is [string, string] => typeof tag[1] === 'string').map((tag) => tag.map(visible)) as [string, string][]);

export function serverOf(value: unknown): Server | undefined {
  const read = fields(value);
  const id = text(read.id);
  const connection = connectionOf(read.connection, id);
  if (id === undefined || !connection) return undefined;
  const reason = text(read.reason);
  const status = read.status === 'disconnected' ? 'disconnected' : 'connected';
  return {
    id,
    name: shown(read.name) || connection.name,
    status,
    health: word(read.health, HEALTHS) ?? 'healthy',
    reason,
    detail: text(read.detail),
    lastSeenAt: time(read.lastSeenAt) ?? 0,
    missedHeartbeats: number(read.missedHeartbeats) ?? 0,
    heartbeatIntervalMs: number(read.heartbeatIntervalMs),
    connectedAt: time(read.connectedAt),
    connection,
    tags: tagsOf(read.tags ?? fields(read.connection).tags),
    metrics: metricsOf(read.metrics),
    instances: list(read.instances).map(instanceOf),
    unsaved: flag(read.unsaved),
    // Of one that is gone the hub keeps evidence only where it was lost.
    lost: status === 'disconnected' && (read.detail !== undefined || leftUnexpectedly(reason)),
  };
}

export function instanceOf(value: unknown): Instance {
  const read = fields(value);
  const { name, version } = fields(read.client);
  return {
    instanceId: text(read.instanceId),
    status: text(read.status),
    health: word(read.health, HEALTHS) ?? 'healthy',
    reason: text(read.reason),
    detail: text(read.detail),
    lastSeenAt: time(read.lastSeenAt),
    connectedAt: time(read.connectedAt),
    missedHeartbeats: number(read.missedHeartbeats) ?? 0,
    host: text(read.host),
    pid: text(read.pid) ?? number(read.pid)?.toString(),
    client: text(read.client) ?? ([text(name), text(version)].filter(Boolean).join(' ') || undefined),
    metrics: metricsOf(read.metrics),
  };
}

function metricsOf(value: unknown): Record<string, number | Digits> | undefined {
  const metrics = Object.entries(fields(value)).filter((metric): metric is [string, number | Digits] => typeof metric[1] === 'number' || metric[1] instanceof String);
  return metrics.length > 0 ? Object.fromEntries(metrics) : undefined;
}

/** Whether a server or an instance that left in this way is one that was lost. */
export const leftUnexpectedly = (reason?: string, expected?: boolean): boolean => (expected === undefined ? reason === 'heartbeat_timeout' || reason === 'probe_failed' : !expected);

export function workflowOf(value: unknown): Workflow | undefined {
  const read = fields(value);
  const id = text(read.id);
  if (id === undefined) return undefined;
  const reason = text(read.reason);
  const status = word(read.status, WORKFLOW_STATUSES) ?? 'running';
  const steps = list(read.steps).flatMap((step) => stepOf(step, id) ?? []);
  return {
    id,
    name: shown(read.name) || id,
    description: shown(read.description),
    status: status === 'failed' && reason === 'cancelled' ? 'cancelled' : status,
    reason,
    error: read.error,
    failedStep: text(read.failedStep),
    startedAt: time(read.startedAt) ?? 0,
    endedAt: time(read.endedAt),
    completedSteps: number(read.completedSteps) ?? 0,
    totalSteps: number(read.totalSteps) ?? steps.length,
    steps: status === 'running' ? steps : steps.map(left),
  };
}

/** A step, as it is shown or as it was declared: an object, or its bare id. */
export function stepOf(value: unknown, workflowId: string): Step | undefined {
  const read = fields(typeof value === 'string' ? { id: value } : value);
  const id = text(read.id);
  if (id === undefined) return undefined;
  const status = word(read.status, STEP_STATUSES) ?? 'pending';
  return {
    id,
    workflowId,
    name: shown(read.name),
    server: text(read.server),
    serverId: text(read.serverId),
    tool: text(read.tool),
    dependsOn: texts(read.dependsOn),
    required: flag(read.required) ?? true,
    timeout: number(read.timeout),
    retries: number(read.retries) ?? 0,
    status: status === 'failed' && read.error === ENDED_FIRST ? 'aborted' : status,
    attempt: number(read.attempt) ?? 0,
    startedAt: time(read.startedAt),
    endedAt: time(read.endedAt),
    result: read.result,
    error: read.error,
  };
}

/** A step of a workflow that has ended: what had not begun by then never will. */
export const left = (step: Step): Step => (step.status === 'pending' || step.status === 'ready' ? { ...step, status: 'skipped' } : step);

export function patternOf(value: unknown): Pattern | undefined {
  const read = fields(value);
  const name = text(read.name);
  return name === undefined ? undefined : { name, description: text(read.description), enabled: read.enabled === true };
}

export function statsOf(value: unknown): Stats {
  const read = fields(value);
  const { since, silent } = fields(read.selfSuspect);
  return {
    completedWorkflows: number(read.completedWorkflows) ?? 0,
    failedWorkflows: number(read.failedWorkflows) ?? 0,
    sseClients: number(read.sseClients) ?? 0,
    uptimeMs: number(read.uptimeMs) ?? 0,
    starvedSince: time(fields(read.starved).since),
    unsaved: flag(read.unsaved),
    clockJumped: read.clockJump !== undefined && read.clockJump !== null,
    selfSuspect: time(since) === undefined ? undefined : { since: time(since)!, silent: number(silent) ?? 0 },
  };
}

/** A snapshot's parts: their lists are joined, of everything else the last word counts. Without a place in the log it is none. */
export function snapshotOf(parts: readonly unknown[]): Snapshot | undefined {
  const read = parts.map(fields);
  const last = (name: string) => read.findLast((part) => part[name] !== undefined)?.[name];
  const all = <T>(name: string, of: (value: unknown) => T | undefined) => read.flatMap((part) => list(part[name]).flatMap((value) => of(value) ?? []));
  const [id, sequence] = [text(last('id')), number(last('sequence'))];
  if (id === undefined || sequence === undefined) return undefined;
  return {
    id,
    sequence,
    status: word(last('status'), HEALTHS) ?? 'healthy',
    servers: all('servers', serverOf),
    workflows: all('workflows', workflowOf),
    patterns: all('patterns', patternOf),
    stats: statsOf(last('stats')),
  };
}

/** What a problem document says. */
export function problemText(problem: unknown): string | undefined {
  const { detail, title } = fields(problem);
  return text(detail) ?? text(title);
}

/** The hub's words for a step that its workflow's end cut short. */
export const ENDED_FIRST = 'the workflow ended first';
