// The shapes of the hub's contract. Times are epoch milliseconds, durations milliseconds.

export type Health = 'healthy' | 'degraded' | 'unhealthy';
export type Transport = 'stdio' | 'sse' | 'http' | 'websocket';
export type Json = unknown;

/** By name alone, or with what describes it: a description or a hash that changes is drift. */
export type Capability = string | { name: string; description?: string; hash?: string; [more: string]: Json };

export interface Capabilities<Item extends Capability = any> {
  tools: Item[];
  resources: Item[];
  prompts: Item[];
}

export interface Drifted {
  added: string[];
  removed: string[];
  changed: { name: string; fields: string[] }[];
}

/** What changed of what a server offers. */
export type Drift = Partial<Record<'tools' | 'resources' | 'prompts', Drifted>>;

/** Whom an instance serves: a name, or MCP's `clientInfo`. */
export type ClientInfo = string | { name: string; version?: string; [more: string]: Json };

/** One process of a server. */
export interface Instance {
  /** Absent from the one that has none. */
  instanceId?: string;
  health: Health;
  reason?: string;
  lastSeenAt: number;
  dueAt: number | null;
  connectedAt: number;
  host?: string;
  pid?: number;
  client?: ClientInfo;
  metrics?: Record<string, number>;
}

export interface Connection {
  id: string;
  name: string;
  transport: Transport;
  url?: string;
  version?: string;
  capabilities: Capabilities;
  tags?: Record<string, string>;
  metadata?: Record<string, Json>;
  instanceId?: string;
}

export interface Pattern {
  name: string;
  description: string;
  enabled: boolean;
}

/** What `data` holds, by the type of the event. */
export interface EventData {
  server_connected: {
    connection: Connection;
    reconnected: boolean;
    heartbeatIntervalMs?: number;
    protocolVersion?: string;
    /** After a return: the names of what is not as it was. */
    changes?: string[];
    drift?: Drift;
  };
  server_disconnected: {
    reason: 'deregistered' | 'heartbeat_timeout' | 'replaced' | (string & {});
    connection: { id: string; name: string };
    lastSeenAt: number;
    /** Whether it went as it should (absent from events of an older hub, as other details may be); one that did not counts as lost until it is back. */
    expected?: boolean;
    connectedForMs?: number;
    instanceId?: string;
  };
  server_instance_connected: InstanceChange;
  server_instance_disconnected: InstanceChange;
  server_updated: { connection: Connection; changed: string[]; drift?: Drift };
  server_health_changed: {
    name?: string;
    health: Health;
    previousHealth: Health;
    reason: 'missed_heartbeats' | 'heartbeats_resumed' | 'reported' | (string & {});
    source: 'lease' | 'self' | 'probe' | 'operator';
    missedHeartbeats: number;
    lastSeenAt: number;
    detail?: string;
  };
  workflow_started: { workflowId: string; name: string; description?: string; steps: Json[]; readySteps: string[] };
  workflow_step_started: { workflowId: string; stepId: string; serverId?: string; attempt: number };
  workflow_step_completed: {
    workflowId: string;
    stepId: string;
    serverId?: string;
    result?: Json;
    attempt: number;
    durationMs?: number;
    completedSteps: number;
    totalSteps: number;
    readySteps: string[];
  };
  workflow_step_failed: {
    workflowId: string;
    stepId: string;
    error: string;
    attempt: number;
    willRetry: boolean;
    reason: string;
  };
  workflow_completed: {
    workflowId: string;
    name: string;
    durationMs: number;
    results: { step: string; status: string; result?: Json }[];
    /** `['results']` where some had no room: `GET /workflows/{id}` has them all. */
    truncated?: string[];
  };
  workflow_failed: {
    workflowId: string;
    name: string;
    reason: 'step_failed' | 'timeout' | 'cancelled' | 'reported';
    error: string;
    failedStep?: string;
    retryAttempts: number;
    serverId?: string;
    tool?: string;
    completedSteps?: number;
    totalSteps?: number;
  };
  integration_status_changed: {
    status: Health;
    previousStatus: Health;
    connectedServers: number;
    healthyServers: number;
    lostServers: number;
    /** The ids of the first ten. */
    lost?: string[];
    /** What tipped it. */
    because?: { serverId?: string; type: string };
    activeWorkflows: number;
  };
  pattern_enabled: { pattern: Pattern; source: 'startup' | 'api' };
  pattern_disabled: { pattern: Pattern; source: 'startup' | 'api' };
}

interface InstanceChange {
  /** Absent from the one that has none. */
  instanceId?: string;
  connectedInstances: number;
  reason: string;
  expected: boolean;
  lastSeenAt?: number;
  host?: string;
  pid?: number;
  client?: ClientInfo;
}

export type CoreType = keyof EventData;
/** A dotted name (`grades.synced`) or `custom_…`. */
export type CustomType = `${string}.${string}` | `custom_${string}`;

interface Envelope<Type extends string, Data> {
  id: string;
  sequence: number;
  type: Type;
  timestamp: number;
  serverId?: string;
  /** The name of the key or the subject on whose request it came about; never a secret. */
  by?: string;
  /** Of an event that came as a CloudEvent: its attributes. */
  cloudEvent?: { id: string; source: string; [attribute: string]: Json };
  data: Data;
}

export type CoreEvent = { [Type in CoreType]: Envelope<Type, EventData[Type]> }[CoreType];
/** `data` is any JSON, or absent: its producer's own affair. */
export type CustomEvent = Envelope<CustomType, any>;
export type HubEvent = CoreEvent | CustomEvent;

/** The event of a type: `EventOf<'server_connected'>`. Prefixes and lists of types leave it open. */
export type EventOf<Type> = Type extends CoreType ? Extract<CoreEvent, { type: Type }> : Type extends CustomType ? CustomEvent : HubEvent;

/** A core type, a custom one, or a prefix such as `workflow_*`. */
export type TypeFilter = CoreType | CustomType | `${string}*`;

type OneOrMore<T> = T | readonly T[];

export interface Filter {
  type?: OneOrMore<TypeFilter>;
  serverId?: OneOrMore<string>;
  workflowId?: OneOrMore<string>;
  /** `key:value` of the server concerned; several mean all of them. */
  tag?: OneOrMore<string>;
}

export interface Verdict {
  verdict: 'live' | 'resumed' | 'replay' | 'gap';
  reason?: 'expired' | 'unknown_log' | 'malformed';
  requestedId?: string;
  oldestId: string;
  headId: string;
  keepAliveMs: number;
}

export interface Gap {
  reason: 'expired' | 'unknown_log' | 'malformed' | 'corrupt';
  /** The last event before the gap. */
  afterId?: string;
  /** Where the stream goes on. */
  nextId: string;
}

export interface Closing {
  reason: 'draining' | 'busy' | 'disabled' | 'credentials_expired';
}

export interface StreamCallbacks {
  /** Each time that the stream is (re)opened, before its first event. */
  onVerdict?(verdict: Verdict): void;
  /** Events that the hub no longer has, or can't read, were skipped. */
  onGap?(gap: Gap): void;
  /** The hub ends the stream on purpose; it is reopened when the hub said. */
  onClosing?(closing: Closing): void;
  /** With `snapshot: true`: the whole state, before the changes that follow it. */
  onSnapshot?(snapshot: Snapshot): void;
  /** The stream broke or was refused, and is tried again after `delayMs`. */
  onRetry?(retry: { error?: HubError; attempt: number; delayMs: number }): void;
  /** A listener threw, or the stream ended with an error. */
  onError?(error: unknown): void;
}

export interface StreamOptions extends Filter, StreamCallbacks {
  /** Start after this event; `'earliest'` is the oldest kept. */
  lastEventId?: string;
  /** Start at a time: epoch ms, RFC 3339, a Date, or an age (`'15m'`). */
  since?: number | string | Date;
  /** Start with the last N that match. */
  replay?: number;
  /** First the state, to `onSnapshot`. */
  snapshot?: boolean;
  /** Ends the stream, quietly. */
  signal?: AbortSignal;
}

export interface HistoryFilter extends Filter {
  since?: number | string | Date;
  until?: number | string | Date;
  order?: 'asc' | 'desc';
  /** Events in a page, 1 to 1000. */
  limit?: number;
  cursor?: string;
  signal?: AbortSignal;
}

export interface HistoryPage<E extends HubEvent = HubEvent> {
  events: E[];
  nextCursor: string | null;
  /** Events that match were pruned or are unreadable. */
  truncated?: true;
}

export interface ServerState {
  id: string;
  name: string;
  status: 'connected' | 'disconnected';
  health: Health;
  reason?: string;
  detail?: string;
  /** Of one that is gone: false means that it counts as lost (absent from an older hub). */
  expected?: boolean;
  lastSeenAt: number;
  /** Null once it is disconnected. */
  dueAt: number | null;
  missedHeartbeats: number;
  heartbeatIntervalMs: number;
  connectedAt: number;
  connection: Connection;
  tags: Record<string, string>;
  metrics?: Record<string, number>;
  instances: Instance[];
  warnings?: Warning[];
}

/** A member that the hub didn't know, and so dropped. */
export interface Warning {
  /** JSON pointer. */
  pointer: string;
  detail: string;
}

export type StepStatus = 'pending' | 'ready' | 'running' | 'completed' | 'failed';

export interface Step {
  id: string;
  workflowId: string;
  name?: string;
  /** As declared. */
  server?: string;
  /** Who holds or did it. */
  serverId?: string;
  tool?: string;
  params?: Json;
  dependsOn: string[];
  required: boolean;
  timeout?: number;
  retries: number;
  status: StepStatus;
  attempt: number;
  startedAt?: number;
  endedAt?: number;
  result?: any;
  error?: string;
}

export interface Workflow {
  id: string;
  name: string;
  description?: string;
  status: 'running' | 'completed' | 'failed' | 'cancelled';
  reason?: string;
  error?: string;
  startedAt: number;
  endedAt?: number;
  completedSteps: number;
  totalSteps: number;
  steps: Step[];
  definition?: Json;
  warnings?: Warning[];
}

export interface Status {
  status: Health;
  connectedServers: number;
  healthyServers: number;
  lostServers: number;
  totalTools: number;
  totalResources: number;
  activeWorkflows: number;
  completedWorkflows: number;
  failedWorkflows: number;
  sseClients: number;
  enabledPatterns: string[];
  selfSuspect?: { since: number; silent: number };
  lastEventId: string;
  uptimeMs: number;
}

export interface Snapshot {
  id: string;
  sequence: number;
  status: Health;
  servers: ServerState[];
  workflows: Workflow[];
  patterns: Pattern[];
  stats: Record<string, Json>;
}

export interface ServerDescription {
  /** Chosen by the hub where absent. */
  id?: string;
  name: string;
  transport: Transport;
  url?: string;
  version?: string;
  capabilities?: Partial<Capabilities<Capability>>;
  tags?: Record<string, string>;
  metadata?: Record<string, Json>;
  /** How often we mean to be heard; the hub's own where absent. */
  heartbeatIntervalMs?: number;
  protocolVersion?: string;
  /** Tells this process from an earlier or a second one with its id; random if absent. */
  instanceId?: string;
  /** `one`, the default: another instance takes this one's place. `many`: the server is connected while any is. */
  instances?: 'one' | 'many';
  host?: string;
  pid?: number;
  client?: ClientInfo;
}

export interface Vitals {
  health?: Health;
  detail?: string;
  metrics?: Record<string, number>;
}

export interface StepDefinition {
  id: string;
  name?: string;
  server?: string;
  tool?: string;
  params?: Json;
  dependsOn?: string[];
  timeout?: number;
  retries?: number;
  required?: boolean;
  [more: string]: Json;
}

export interface WorkflowDefinition {
  id?: string;
  name: string;
  description?: string;
  steps?: (string | StepDefinition)[];
  timeoutMs?: number;
  [more: string]: Json;
}

export interface Identity {
  serverId?: string;
  instanceId?: string;
}

export interface StepReport extends Identity {
  status: 'running' | 'completed' | 'failed';
  result?: Json;
  error?: string;
  /** What the claim answered; required from the second on. */
  attempt?: number;
}

export interface EmittedEvent {
  type: CoreType | CustomType;
  serverId?: string;
  data: Json;
}

export interface CallOptions {
  signal?: AbortSignal;
  /** Of your own choosing where the call must survive a crash of this process; otherwise random per call. */
  idempotencyKey?: string | null;
  timeoutMs?: number;
  retries?: number;
}

export interface HubOptions extends StreamCallbacks {
  /** Sent as `Authorization: Bearer …`; a function is asked anew for every request. */
  token?: string | (() => string | Promise<string>);
  /** Numbers keep all their digits: `bigint`s and `ExactNumber`s where a JavaScript number would round. */
  exact?: boolean;
  /** In place of the platform's own. */
  fetch?: typeof globalThis.fetch;
  /** For an answer to one call. Default 10000. */
  timeoutMs?: number;
  /** Of one call, after its first try. Default 6. */
  retries?: number;
  /** The first pause, until the hub names its own. Default 250. */
  retryMs?: number;
  /** The longest pause of our own. Default 30000. */
  maxRetryMs?: number;
}

export class Hub {
  constructor(url?: string | URL, options?: HubOptions);
  readonly url: string;
  readonly workflow: Workflows;

  events<const Type extends OneOrMore<TypeFilter> = `${string}*`>(
    filter?: StreamOptions & { type?: Type },
  ): EventStream<EventOf<Type extends readonly (infer T)[] ? T : Type>>;

  addEventListener(listener: (event: HubEvent) => unknown): () => void;
  addEventListener<const Type extends TypeFilter>(type: Type, listener: (event: EventOf<Type>) => unknown): () => void;
  addEventListener<const Type extends TypeFilter>(types: readonly Type[], listener: (event: EventOf<Type>) => unknown): () => void;

  getEventHistory(filter?: HistoryFilter): Promise<HistoryPage>;
  history(filter?: HistoryFilter): AsyncGenerator<HubEvent, void, void>;
  getEvent(id: string): Promise<HubEvent>;
  getSnapshot(): Promise<Snapshot>;
  getStatus(): Promise<Status>;
  listServers(filter?: {
    health?: Health;
    status?: ServerState['status'];
    transport?: Transport;
    tag?: OneOrMore<string>;
    limit?: number;
    cursor?: string;
  }): Promise<{ servers: ServerState[]; nextCursor?: string | null }>;
  getServer(id: string): Promise<ServerState>;
  listPatterns(): Promise<Pattern[]>;
  setPattern(name: string, pattern: { enabled: boolean; description?: string }): Promise<Pattern>;

  emit(events: EmittedEvent | readonly EmittedEvent[], options?: CallOptions): Promise<(string | null)[]>;
  register(
    description: ServerDescription,
    options?: { onError?(error: unknown): void; onRecovery?(): void } & Pick<CallOptions, 'signal' | 'timeoutMs' | 'retries'>,
  ): Promise<RegisteredServer>;
  steps(
    filter?: { serverId?: string; workflowId?: string; status?: StepStatus; wait?: string; limit?: number; signal?: AbortSignal },
  ): Promise<Step[]>;

  /** Any other call of the hub's API, with the same retries and errors. */
  request(method: string, path: string, options?: CallOptions & { query?: Record<string, unknown>; body?: unknown }): Promise<any>;
}

export class EventStream<E extends HubEvent = HubEvent> implements AsyncIterableIterator<E> {
  private constructor();
  /** Of the last event (or bookmark) handed over. */
  lastEventId: string | undefined;
  readonly closed: boolean;
  addEventListener(listener: (event: E) => unknown): () => void;
  addEventListener<const Type extends TypeFilter>(type: Type, listener: (event: EventOf<Type>) => unknown): () => void;
  addEventListener<const Type extends TypeFilter>(types: readonly Type[], listener: (event: EventOf<Type>) => unknown): () => void;
  close(): void;
  next(): Promise<IteratorResult<E, void>>;
  return(value?: any): Promise<IteratorResult<E, void>>;
  [Symbol.asyncIterator](): this;
}

export class RegisteredServer {
  private constructor();
  readonly id: string;
  readonly identity: { serverId: string; instanceId: string };
  readonly state: ServerState;
  readonly closed: Promise<'deregistered' | 'replaced'>;
  heartbeat(vitals?: Vitals): Promise<ServerState>;
  update(changes?: Partial<ServerDescription>): Promise<ServerState>;
  /** With `expected: false` the server counts as lost until it is back. */
  close(reason?: string, options?: { expected?: boolean } & Pick<CallOptions, 'signal' | 'timeoutMs' | 'retries'>): Promise<void>;
  /** Sends no more heartbeats and leaves it at that. */
  forget(): void;
}

export interface Workflows {
  start(definition: WorkflowDefinition, options?: CallOptions): Promise<Workflow>;
  get(id: string): Promise<Workflow>;
  list(filter?: { status?: Workflow['status']; limit?: number; cursor?: string }): Promise<{ workflows: Workflow[]; nextCursor?: string | null }>;
  claim(id: string, step: string, identity: Identity, options?: CallOptions): Promise<Step>;
  step(id: string, step: string, report: StepReport, options?: CallOptions): Promise<Step>;
  complete(id: string, results?: Json, options?: CallOptions): Promise<Workflow>;
  fail(id: string, failure: { error: string; failedStep?: string }, options?: CallOptions): Promise<Workflow>;
  cancel(id: string, reason?: string, options?: CallOptions): Promise<Workflow>;
}

export class HubError extends Error {
  constructor(problem: { status?: number; type?: string; title?: string; detail?: string; [more: string]: unknown }, options?: { cause?: unknown; retryAfterMs?: number });
  /** Of HTTP; 0 where there was no answer. */
  status: number;
  type: string;
  title: string;
  detail?: string;
  problem: { type: string; title: string; status: number; detail?: string; errors?: { pointer: string; detail: string }[]; [more: string]: any };
  retryAfterMs?: number;
  readonly retryable: boolean;
}

/** A number that neither a JavaScript number nor a `bigint` holds, as it is written. */
export class ExactNumber {
  constructor(text: string);
  readonly text: string;
  toString(): string;
  /** Rounded. */
  valueOf(): number;
  toJSON(): string;
}

/** `JSON.parse` that rounds no number: integers past 2^53 are `bigint`s, other such numbers `ExactNumber`s. */
export function parseExact(text: string): any;
/** `JSON.stringify` that also writes what `parseExact` reads. */
export function stringifyExact(value: unknown): string;

export class SseParser {
  constructor(lastEventId?: string);
  lastEventId: string;
  retryMs: number | undefined;
  push(bytes: Uint8Array): { event: string; data: string; id: string }[];
}
