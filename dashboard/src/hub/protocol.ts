// What the hub says, in its own words: the shapes of the events, of the control frames and of the state.

import type { Digits } from './json';

export const HEALTHS = ['healthy', 'degraded', 'unhealthy'] as const;
export type Health = (typeof HEALTHS)[number];
export const WORKFLOW_STATUSES = ['running', 'completed', 'failed', 'cancelled'] as const;
export type WorkflowStatus = (typeof WORKFLOW_STATUSES)[number];
/** The hub's words, and two of the page's own for what an ended workflow leaves: a step that was cut short, and one that never ran. */
export const STEP_STATUSES = ['pending', 'ready', 'running', 'completed', 'failed', 'aborted', 'skipped'] as const;
export type StepStatus = (typeof STEP_STATUSES)[number];

export interface HubEvent {
  id: string;
  sequence: number;
  type: string;
  timestamp: number;
  serverId?: string;
  /** Any JSON, or absent: read it with `read.ts`. */
  data?: unknown;
}

export interface Connection {
  id: string;
  name: string;
  transport?: string;
  url?: string;
  version?: string;
  capabilities: { tools: Capability[]; resources: Capability[]; prompts: Capability[] };
  metadata?: unknown;
  instanceId?: string;
}

/** A tool, resource or prompt. */
export interface Capability {
  name: string;
  description?: string;
}

/** One process of a server. */
export interface Instance {
  instanceId?: string;
  status?: string;
  health: Health;
  reason?: string;
  detail?: string;
  lastSeenAt?: number;
  connectedAt?: number;
  missedHeartbeats: number;
  host?: string;
  pid?: string;
  client?: string;
  metrics?: Record<string, number | Digits>;
}

export interface Server {
  id: string;
  name: string;
  status: 'connected' | 'disconnected';
  health: Health;
  reason?: string;
  detail?: string;
  lastSeenAt: number;
  missedHeartbeats: number;
  heartbeatIntervalMs?: number;
  connectedAt?: number;
  connection: Connection;
  tags: Record<string, string>;
  metrics?: Record<string, number | Digits>;
  instances: Instance[];
  /** Whether the log can't be written, so that no event says this yet. */
  unsaved?: boolean;
  /** Whether its leaving counts as a loss: it fell silent or crashed. */
  lost?: boolean;
  /** The last event about it that the page has applied. */
  sequence?: number;
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
  /** Since when the hub's own timers are late. */
  starvedSince?: number;
  /** Whether there are changes that no event says yet, since the log can't be written. */
  unsaved?: boolean;
  /** Whether the hub's clock jumped, so that nothing is pruned by age for a while. */
  clockJumped?: boolean;
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

export type Verdict = 'live' | 'resumed' | 'replay' | 'gap';

export const CONTROL_FRAMES = ['stream_opened', 'snapshot', 'bookmark', 'stream_gap', 'stream_closing'] as const;
export type ControlFrame = (typeof CONTROL_FRAMES)[number];
