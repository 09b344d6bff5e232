// The page's copy of the hub's state: a snapshot, and what every event after it changes. Pure: no clock, no I/O.
// Heartbeats are not events, so a healthy server's `lastSeenAt` is only as fresh as the last event about it;
// `lastSeen` in ui/format.ts says what may be concluded from that.

import { HEALTHS, type Connection, type Health, type HubEvent, type Pattern, type Server, type Snapshot, type Stats, type Step, type Workflow } from './protocol';
import { flag, list, number, text, texts, time, word } from './read';
import { connectionOf, dataOf, ENDED_FIRST, instanceOf, left, leftUnexpectedly, patternOf, shown, stepOf, tagsOf, workflowIdOf } from './shapes';

export interface State {
  id: string;
  sequence: number;
  status: Health;
  servers: Map<string, Server>;
  workflows: Map<string, Workflow>;
  patterns: Map<string, Pattern>;
  stats: Stats;
  /** The first event that could not be applied: what it changed is not in here. Only a new snapshot mends it. */
  doubt?: string;
}

export function fromSnapshot(snapshot: Snapshot): State {
  return {
    id: snapshot.id,
    sequence: snapshot.sequence,
    status: snapshot.status,
    servers: new Map(snapshot.servers.map((server) => [server.id, server])),
    workflows: new Map(snapshot.workflows.map((workflow) => [workflow.id, workflow])),
    patterns: new Map(snapshot.patterns.map((pattern) => [pattern.name, pattern])),
    stats: snapshot.stats,
  };
}

/** The state after these events. One that the state already holds changes nothing. */
export function apply(state: State, events: readonly HubEvent[]): State {
  const draft = new Draft(state);
  for (const event of events) {
    if (event.sequence <= draft.sequence) continue;
    draft.id = event.id;
    draft.sequence = event.sequence;
    try {
      evolve(draft, event);
    } catch {
      // One event that this page is wrong about must not keep it from all that follow.
      draft.doubt ??= event.id;
    }
  }
  return draft.finish();
}

/** Copies a collection at its first change, so that a view which looks at one may compare references. */
class Draft {
  id: string;
  sequence: number;
  status: Health;
  stats: Stats;
  doubt?: string;
  readonly #before: State;
  #servers?: Map<string, Server>;
  #workflows?: Map<string, Workflow>;
  #patterns?: Map<string, Pattern>;

  constructor(before: State) {
    this.#before = before;
    this.id = before.id;
    this.sequence = before.sequence;
    this.status = before.status;
    this.stats = before.stats;
    this.doubt = before.doubt;
  }

  server(id: string) {
    return (this.#servers ?? this.#before.servers).get(id);
  }

  workflow(id: string) {
    return (this.#workflows ?? this.#before.workflows).get(id);
  }

  setServer(server: Server) {
    this.#servers ??= new Map(this.#before.servers);
    this.#servers.set(server.id, server);
  }

  setWorkflow(workflow: Workflow) {
    this.#workflows ??= new Map(this.#before.workflows);
    this.#workflows.set(workflow.id, workflow);
  }

  setPattern(pattern: Pattern) {
    this.#patterns ??= new Map(this.#before.patterns);
    this.#patterns.set(pattern.name, { ...this.#patterns.get(pattern.name), ...pattern });
  }

  finish(): State {
    return {
      id: this.id,
      sequence: this.sequence,
      status: this.status,
      stats: this.stats,
      doubt: this.doubt,
      servers: this.#servers ?? this.#before.servers,
      workflows: this.#workflows ?? this.#before.workflows,
      patterns: this.#patterns ?? this.#before.patterns,
    };
  }
}

function evolve(draft: Draft, event: HubEvent) {
  const data = dataOf(event);
  switch (event.type) {
    case 'server_connected': {
      const connection = connectionOf(data.connection, event.serverId);
      if (connection) draft.setServer(connected(draft.server(connection.id), connection, event));
      return;
    }
    case 'server_updated':
      return changeServer(draft, event, (server) => {
        const connection = connectionOf(data.connection, event.serverId) ?? server.connection;
        return { ...server, ...described(connection, event), lastSeenAt: event.timestamp, missedHeartbeats: 0, heartbeatIntervalMs: number(data.heartbeatIntervalMs) ?? server.heartbeatIntervalMs };
      });
    case 'server_disconnected': {
      const connection = connectionOf(data.connection, event.serverId);
      if (connection && !draft.server(connection.id)) draft.setServer(connected(undefined, connection, event));
      const reason = text(data.reason);
      return changeServer(draft, event, (server) => ({
        ...server,
        status: 'disconnected',
        reason,
        detail: text(data.detail),
        lost: leftUnexpectedly(reason, flag(data.expected)),
        lastSeenAt: time(data.lastSeenAt) ?? server.lastSeenAt,
        instances: [],
      }));
    }
    case 'server_instance_connected':
      return changeServer(draft, event, (server) => ({
        ...server,
        instances: [...others(server, data.instanceId), { ...instanceOf(data), connectedAt: event.timestamp, lastSeenAt: event.timestamp }],
      }));
    case 'server_instance_disconnected':
      return changeServer(draft, event, (server) => ({ ...server, instances: others(server, data.instanceId) }));
    case 'server_health_changed':
      return changeServer(draft, event, (server) => {
        const health = word(data.health, HEALTHS) ?? server.health;
        const ill = health !== 'healthy';
        return {
          ...server,
          health,
          reason: ill ? text(data.reason) : undefined,
          detail: ill ? text(data.detail) : undefined,
          missedHeartbeats: number(data.missedHeartbeats) ?? 0,
          lastSeenAt: time(data.lastSeenAt) ?? server.lastSeenAt,
        };
      });
    case 'workflow_started': {
      const workflow = started(event);
      if (workflow) draft.setWorkflow(workflow);
      return;
    }
    case 'workflow_step_started':
      return changeStep(draft, event, (step) => ({
        ...step,
        status: 'running',
        serverId: text(data.serverId),
        attempt: number(data.attempt) ?? step.attempt,
        startedAt: event.timestamp,
        endedAt: undefined,
        error: undefined,
      }));
    case 'workflow_step_completed':
      changeStep(draft, event, (step) => ({
        ...step,
        status: 'completed',
        serverId: text(data.serverId),
        attempt: number(data.attempt) ?? step.attempt,
        startedAt: step.status === 'running' ? step.startedAt : undefined,
        endedAt: event.timestamp,
        result: data.result,
        error: undefined,
      }));
      return changeWorkflow(draft, event, (workflow) => ({
        ...workflow,
        completedSteps: number(data.completedSteps) ?? workflow.completedSteps,
        totalSteps: number(data.totalSteps) ?? workflow.totalSteps,
        steps: makeReady(workflow.steps, texts(data.readySteps)),
      }));
    case 'workflow_step_failed': {
      const again = data.willRetry === true;
      changeStep(draft, event, (step) => ({
        ...step,
        status: again ? 'ready' : 'failed',
        serverId: again ? undefined : text(data.serverId),
        attempt: number(data.attempt) ?? step.attempt,
        startedAt: step.status === 'running' ? step.startedAt : undefined,
        endedAt: event.timestamp,
        error: data.error,
      }));
      return changeWorkflow(draft, event, (workflow) => {
        const step = workflow.steps.find(({ id }) => id === data.stepId);
        if (!step || again || step.required) return workflow;
        const ready = Array.isArray(data.readySteps) ? texts(data.readySteps) : unblocked(workflow.steps);
        return { ...workflow, completedSteps: workflow.completedSteps + 1, steps: makeReady(workflow.steps, ready) };
      });
    }
    case 'workflow_completed':
      draft.stats = { ...draft.stats, completedWorkflows: draft.stats.completedWorkflows + 1 };
      return changeWorkflow(draft, event, (workflow) => ({ ...ended(workflow, event.timestamp), status: 'completed' }));
    case 'workflow_failed': {
      draft.stats = { ...draft.stats, failedWorkflows: draft.stats.failedWorkflows + 1 };
      const reason = text(data.reason);
      return changeWorkflow(draft, event, (workflow) => ({
        ...ended(workflow, event.timestamp),
        status: reason === 'cancelled' ? 'cancelled' : 'failed',
        reason,
        error: data.error,
        failedStep: text(data.failedStep),
      }));
    }
    case 'integration_status_changed':
      // With a serverId it is that server's own statement; the hub's status has none.
      if (event.serverId === undefined) draft.status = word(data.status, HEALTHS) ?? draft.status;
      return;
    case 'pattern_enabled':
    case 'pattern_disabled': {
      const pattern = patternOf(data.pattern);
      if (pattern) draft.setPattern({ ...pattern, enabled: event.type === 'pattern_enabled' });
    }
  }
}

function described(connection: Connection, event: HubEvent) {
  return { name: connection.name, connection, tags: tagsOf((dataOf(event).connection as { tags?: unknown } | undefined)?.tags) };
}

function connected(before: Server | undefined, connection: Connection, event: HubEvent): Server {
  return {
    id: connection.id,
    ...described(connection, event),
    status: 'connected',
    health: 'healthy',
    lastSeenAt: event.timestamp,
    missedHeartbeats: 0,
    heartbeatIntervalMs: number(dataOf(event).heartbeatIntervalMs) ?? before?.heartbeatIntervalMs,
    connectedAt: event.timestamp,
    instances: [],
    sequence: event.sequence,
  };
}

function changeServer(draft: Draft, event: HubEvent, change: (server: Server) => Server) {
  const server = draft.server(event.serverId ?? connectionOf(dataOf(event).connection)?.id ?? '');
  if (server) draft.setServer({ ...change(server), sequence: event.sequence });
}

const others = (server: Server, instanceId: unknown) => server.instances.filter((instance) => instance.instanceId !== instanceId);

function changeWorkflow(draft: Draft, event: HubEvent, change: (workflow: Workflow) => Workflow) {
  const workflow = draft.workflow(workflowIdOf(event) ?? '');
  if (workflow) draft.setWorkflow(change(workflow));
}

function started(event: HubEvent): Workflow | undefined {
  const data = dataOf(event);
  const id = workflowIdOf(event);
  if (id === undefined) return undefined;
  const steps = list(data.steps).flatMap((declared) => stepOf(declared, id) ?? []);
  return {
    id,
    name: shown(data.name) || id,
    description: shown(data.description),
    status: 'running',
    startedAt: event.timestamp,
    completedSteps: 0,
    totalSteps: steps.length,
    steps: makeReady(steps, texts(data.readySteps)),
  };
}

function makeReady(steps: Step[], ready: string[]): Step[] {
  if (ready.length === 0) return steps;
  return steps.map((step) => (step.status === 'pending' && ready.includes(step.id) ? { ...step, status: 'ready' } : step));
}

/** What had not begun never runs, and what was running was cut short; neither has failed. */
function ended(workflow: Workflow, at: number): Workflow {
  const steps = workflow.steps.map((step): Step => (step.status === 'running' ? { ...step, status: 'aborted', endedAt: at, error: ENDED_FIRST } : left(step)));
  return { ...workflow, endedAt: at, steps };
}

/** The step that a workflow failed by: told by the event, and found among the steps of a snapshot. */
export function failedStep(workflow: Workflow): string | undefined {
  if (workflow.failedStep !== undefined || workflow.reason !== 'step_failed') return workflow.failedStep;
  return workflow.steps.find(({ status, required }) => status === 'failed' && required)?.id;
}

/** Pending steps whose dependencies have all ended. */
function unblocked(steps: Step[]): string[] {
  const goesOn = new Set(steps.filter((step) => step.status === 'completed' || (step.status === 'failed' && !step.required)).map((step) => step.id));
  return steps.filter((step) => step.status === 'pending' && step.dependsOn.every((id) => goesOn.has(id))).map((step) => step.id);
}

/** A workflow without declared steps gets each one at its first report. */
function changeStep(draft: Draft, event: HubEvent, change: (step: Step) => Step) {
  const id = text(dataOf(event).stepId);
  if (id === undefined) return;
  changeWorkflow(draft, event, (workflow) => {
    const known = workflow.steps.some((step) => step.id === id);
    const steps = known ? workflow.steps.map((step) => (step.id === id ? change(step) : step)) : [...workflow.steps, change(stepOf(id, workflow.id)!)];
    return { ...workflow, steps, totalSteps: Math.max(workflow.totalSteps, steps.length) };
  });
}
