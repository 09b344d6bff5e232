// The page's copy of the hub's state: a snapshot, and what every event after it changes. Pure: no clock, no I/O.
// Heartbeats are not events, so a healthy server's `lastSeenAt` is only as fresh as the last event about it;
// `lastSeen` in ui/format.ts says what may be concluded from that.

import type { Connection, Health, HubEvent, Pattern, Server, Snapshot, SnapshotPart, Stats, Step, Workflow } from './protocol';

export interface State {
  id: string;
  sequence: number;
  status: Health;
  servers: Map<string, Server>;
  workflows: Map<string, Workflow>;
  patterns: Map<string, Pattern>;
  stats: Stats;
}

export function joinSnapshot(parts: SnapshotPart[]): Snapshot {
  const joined: Snapshot = { id: '', sequence: 0, status: 'healthy', servers: [], workflows: [], patterns: [], stats: NOTHING_COUNTED };
  for (const { part: _part, parts: _parts, ...content } of parts) {
    for (const [key, value] of Object.entries(content)) {
      const record = joined as unknown as Record<string, unknown>;
      const known = record[key];
      record[key] = Array.isArray(known) && Array.isArray(value) ? known.concat(value) : value;
    }
  }
  return joined;
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
    evolve(draft, event);
  }
  return draft.finish();
}

/** Copies a collection at its first change, so that a view which looks at one may compare references. */
class Draft {
  id: string;
  sequence: number;
  status: Health;
  stats: Stats;
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
      servers: this.#servers ?? this.#before.servers,
      workflows: this.#workflows ?? this.#before.workflows,
      patterns: this.#patterns ?? this.#before.patterns,
    };
  }
}

function evolve(draft: Draft, event: HubEvent) {
  const data = event.data as any;
  switch (event.type) {
    case 'server_connected':
      return draft.setServer(connected(draft.server(data.connection.id), data.connection, event));
    case 'server_updated': {
      const server = draft.server(data.connection.id);
      if (server) draft.setServer({ ...server, ...described(data.connection), lastSeenAt: event.timestamp });
      return;
    }
    case 'server_disconnected': {
      const id: string = event.serverId ?? data.connection.id;
      const server = draft.server(id) ?? connected(undefined, data.connection, event);
      draft.setServer({ ...server, status: 'disconnected', reason: data.reason, detail: data.detail, lastSeenAt: data.lastSeenAt ?? server.lastSeenAt });
      return;
    }
    case 'server_health_changed': {
      const server = draft.server(event.serverId ?? '');
      if (!server) return;
      const ill = data.health !== 'healthy';
      draft.setServer({
        ...server,
        health: data.health,
        reason: ill ? data.reason : undefined,
        detail: ill ? data.detail : undefined,
        missedHeartbeats: data.missedHeartbeats ?? 0,
        lastSeenAt: data.lastSeenAt ?? server.lastSeenAt,
      });
      return;
    }
    case 'workflow_started':
      return draft.setWorkflow(started(event));
    case 'workflow_step_started':
      return changeStep(draft, event, (step) => ({
        ...step,
        status: 'running',
        serverId: data.serverId,
        attempt: data.attempt,
        startedAt: event.timestamp,
        endedAt: undefined,
        error: undefined,
      }));
    case 'workflow_step_completed': {
      changeStep(draft, event, (step) => ({
        ...step,
        status: 'completed',
        serverId: data.serverId,
        attempt: data.attempt,
        startedAt: step.status === 'running' ? step.startedAt : undefined,
        endedAt: event.timestamp,
        result: data.result,
        error: undefined,
      }));
      const workflow = draft.workflow(data.workflowId);
      if (workflow) {
        draft.setWorkflow({
          ...workflow,
          completedSteps: data.completedSteps ?? workflow.completedSteps,
          totalSteps: data.totalSteps ?? workflow.totalSteps,
          steps: makeReady(workflow.steps, data.readySteps ?? []),
        });
      }
      return;
    }
    case 'workflow_step_failed': {
      changeStep(draft, event, (step) => ({
        ...step,
        status: data.willRetry ? 'ready' : 'failed',
        serverId: data.willRetry ? undefined : data.serverId,
        attempt: data.attempt,
        startedAt: step.status === 'running' ? step.startedAt : undefined,
        endedAt: event.timestamp,
        error: data.error,
      }));
      const workflow = draft.workflow(data.workflowId);
      const step = workflow?.steps.find(({ id }) => id === data.stepId);
      if (workflow && step && !data.willRetry && !step.required) {
        draft.setWorkflow({ ...workflow, completedSteps: workflow.completedSteps + 1, steps: makeReady(workflow.steps, data.readySteps ?? unblocked(workflow.steps)) });
      }
      return;
    }
    case 'workflow_completed': {
      const workflow = draft.workflow(data.workflowId);
      draft.stats = { ...draft.stats, completedWorkflows: draft.stats.completedWorkflows + 1 };
      if (workflow) draft.setWorkflow({ ...ended(workflow, event.timestamp), status: 'completed' });
      return;
    }
    case 'workflow_failed': {
      const workflow = draft.workflow(data.workflowId);
      draft.stats = { ...draft.stats, failedWorkflows: draft.stats.failedWorkflows + 1 };
      if (!workflow) return;
      draft.setWorkflow({
        ...ended(workflow, event.timestamp),
        status: 'failed',
        reason: data.reason,
        error: data.error,
        failedStep: data.failedStep,
      });
      return;
    }
    case 'integration_status_changed':
      // With a serverId it is that server's own statement; the hub's status has none.
      if (event.serverId === undefined) draft.status = data.status;
      return;
    case 'pattern_enabled':
    case 'pattern_disabled':
      return draft.setPattern({ ...data.pattern, enabled: event.type === 'pattern_enabled' });
  }
}

function described(connection: Connection) {
  return { name: connection.name, connection, tags: connection.tags };
}

function connected(before: Server | undefined, connection: Connection, event: HubEvent): Server {
  return {
    id: connection.id,
    ...described(connection),
    status: 'connected',
    health: 'healthy',
    lastSeenAt: event.timestamp,
    missedHeartbeats: 0,
    heartbeatIntervalMs: (event.data.heartbeatIntervalMs as number | undefined) ?? before?.heartbeatIntervalMs,
    connectedAt: event.timestamp,
  };
}

function started(event: HubEvent): Workflow {
  const data = event.data as any;
  const declared: unknown[] = data.steps ?? [];
  const steps = declared.map((step) => newStep(data.workflowId, typeof step === 'string' ? { id: step } : (step as Partial<Step>)));
  return {
    id: data.workflowId,
    name: data.name,
    description: data.description,
    status: 'running',
    startedAt: event.timestamp,
    completedSteps: 0,
    totalSteps: steps.length,
    steps: makeReady(steps, data.readySteps ?? []),
  };
}

function newStep(workflowId: string, declared: Partial<Step>): Step {
  return {
    id: declared.id ?? '',
    workflowId,
    name: declared.name,
    server: declared.server ?? declared.serverId,
    tool: declared.tool,
    dependsOn: declared.dependsOn ?? [],
    required: declared.required ?? true,
    timeout: declared.timeout,
    retries: declared.retries ?? 0,
    status: 'pending',
    attempt: 0,
  };
}

function makeReady(steps: Step[], ready: string[]): Step[] {
  if (ready.length === 0) return steps;
  return steps.map((step) => (step.status === 'pending' && ready.includes(step.id) ? { ...step, status: 'ready' } : step));
}

/** What is left unfinished never runs, and what was running has failed. */
function ended(workflow: Workflow, at: number): Workflow {
  const steps = workflow.steps.map((step): Step => {
    if (step.status === 'ready') return { ...step, status: 'pending' };
    if (step.status === 'running') return { ...step, status: 'failed', endedAt: at, error: ENDED_FIRST };
    return step;
  });
  return { ...workflow, endedAt: at, steps };
}

/** The step that a workflow failed by: told by the event, and found among the steps of a snapshot. */
export function failedStep(workflow: Workflow): string | undefined {
  if (workflow.failedStep !== undefined || workflow.reason !== 'step_failed') return workflow.failedStep;
  return workflow.steps.find(({ status, required, error }) => status === 'failed' && required && error !== ENDED_FIRST)?.id;
}

/** Pending steps whose dependencies have all ended. */
function unblocked(steps: Step[]): string[] {
  const goesOn = new Set(steps.filter((step) => step.status === 'completed' || (step.status === 'failed' && !step.required)).map((step) => step.id));
  return steps.filter((step) => step.status === 'pending' && step.dependsOn.every((id) => goesOn.has(id))).map((step) => step.id);
}

/** A workflow without declared steps gets each one at its first report. */
function changeStep(draft: Draft, event: HubEvent, change: (step: Step) => Step) {
  const data = event.data as any;
  const workflow = draft.workflow(data.workflowId);
  if (!workflow) return;
  const known = workflow.steps.some((step) => step.id === data.stepId);
  const steps = known
    ? workflow.steps.map((step) => (step.id === data.stepId ? change(step) : step))
    : [...workflow.steps, change(newStep(data.workflowId, { id: data.stepId }))];
  draft.setWorkflow({ ...workflow, steps, totalSteps: Math.max(workflow.totalSteps, steps.length) });
}

/** The hub's words for a step that its workflow's end cut short. */
const ENDED_FIRST = 'the workflow ended first';

const NOTHING_COUNTED: Stats = { completedWorkflows: 0, failedWorkflows: 0, sseClients: 0, uptimeMs: 0 };
