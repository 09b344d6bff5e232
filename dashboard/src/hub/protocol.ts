// What the hub says, in its own words: the shapes of the events, of the control frames and of the state.

export type Health = 'healthy' | 'degraded' | 'unhealthy';
export type WorkflowStatus = 'running' | 'completed' | 'failed';
export type StepStatus = 'pending' | 'ready' | 'running' | 'completed' | 'failed';

export interface HubEvent {
  id: string;
  sequence: number;
  type: string;
  timestamp: number;
  serverId?: string;
  data: Record<string, unknown>;
}

export interface Connection {
  id: string;
  name: string;
  transport?: string;
  url?: string;
  version?: string;
  capabilities?: { tools?: Capability[]; resources?: Capability[]; prompts?: Capability[] };
  tags?: Record<string, string>;
  metadata?: Record<string, unknown>;
  instanceId?: string;
}

/** A tool, resource or prompt: its bare name, or an object that has one. */
export type Capability = string | { name?: string; uri?: string; description?: string };

export interface Server {
  id: string;
  name: string;
  status: 'connected' | 'disconnected';
  health: Health;
  reason?: string;
  detail?: string;
  lastSeenAt: number;
  dueAt?: number;
  missedHeartbeats: number;
  heartbeatIntervalMs?: number;
  connectedAt?: number;
  connection: Connection;
  tags?: Record<string, string>;
  metrics?: Record<string, number>;
}

export interface Step {
  id: string;
  workflowId: string;
  name?: string;
  server?: string;
  serverId?: string;
  tool?: string;
  dependsOn: string[];
  required: boolean;
  timeout?: number;
  retries: number;
  status: StepStatus;
  attempt: number;
  startedAt?: number;
  endedAt?: number;
  result?: unknown;
  error?: unknown;
}

export interface Workflow {
  id: string;
  name: string;
  description?: string;
  status: WorkflowStatus;
  reason?: string;
  error?: unknown;
  failedStep?: string;
  startedAt: number;
  endedAt?: number;
  completedSteps: number;
  totalSteps: number;
  steps: Step[];
}

export interface Pattern {
  name: string;
  description?: string;
  enabled: boolean;
}

/** The whole in numbers: what a snapshot counts, and `GET /status`. */
export interface Stats {
  completedWorkflows: number;
  failedWorkflows: number;
  sseClients: number;
  uptimeMs: number;
  selfSuspect?: { since: number; silent: number };
}

export interface Snapshot {
  id: string;
  sequence: number;
  status: Health;
  servers: Server[];
  workflows: Workflow[];
  patterns: Pattern[];
  stats: Stats;
}

/** One frame of a snapshot; the lists of all of them are joined. */
export type SnapshotPart = Partial<Snapshot> & { part: number; parts: number };

export type Verdict = 'live' | 'resumed' | 'replay' | 'gap';

export interface StreamOpened {
  verdict: Verdict;
  reason?: string;
  requestedId?: string;
  oldestId?: string;
  headId?: string;
  keepAliveMs: number;
}

export interface StreamGap {
  reason: string;
  afterId: string;
  nextId: string;
}

export interface StreamClosing {
  reason: string;
}

export const CONTROL_FRAMES = ['stream_opened', 'snapshot', 'bookmark', 'stream_gap', 'stream_closing'] as const;
export type ControlFrame = (typeof CONTROL_FRAMES)[number];
