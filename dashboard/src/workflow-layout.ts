// Where a workflow's steps go in the graph, and which attempts there were. Pure.

import type { HubEvent, Step, Workflow } from './hub/protocol';
import { number, text } from './hub/read';
import { dataOf } from './hub/shapes';

export interface Point {
  column: number;
  row: number;
}

export interface Placed extends Point {
  step: Step;
}

export interface Edge {
  from: Placed;
  to: Placed;
  /** Where the edge passes the columns in between, so that it doesn't run through a step. */
  via: Point[];
}

export interface Graph {
  nodes: Placed[];
  edges: Edge[];
  columns: number;
  rows: number;
}

/** A place in a column: a step's, or that of an edge on its way to a later column. */
interface Slot extends Point {
  step?: Step;
  before: Slot[];
}

/** Columns by the longest way from a start; within a column each slot near the middle of what leads to it. */
export function layOut(steps: readonly Step[]): Graph {
  const byId = new Map(steps.map((step) => [step.id, step]));
  const columnOf = columnsOf(steps, byId);
  const columns: Slot[][] = [];
  const add = (slot: Slot) => {
    while (columns.length <= slot.column) columns.push([]);
    columns[slot.column]!.push(slot);
    return slot;
  };
  const slots = new Map(steps.map((step) => [step.id, add({ step, column: columnOf.get(step.id)!, row: 0, before: [] })]));
  const paths: { from: Slot; to: Slot; via: Slot[] }[] = [];
  for (const to of slots.values()) {
    for (const id of to.step!.dependsOn) {
      const from = slots.get(id);
      if (!from) continue;
      const via: Slot[] = [];
      for (let column = from.column + 1; column < to.column; column += 1) via.push(add({ column, row: 0, before: [via.at(-1) ?? from] }));
      to.before.push(via.at(-1) ?? from);
      paths.push({ from, to, via });
    }
  }
  const rows = Math.max(0, ...columns.map((members) => members.length));
  const middle = ({ before }: Slot) => (before.length ? before.reduce((sum, slot) => sum + slot.row, 0) / before.length : 0);
  for (const [index, members] of columns.entries()) {
    const ordered = index === 0 ? members : members.toSorted((a, b) => middle(a) - middle(b));
    // Centred, so that forks and joins look like it.
    for (const [row, slot] of ordered.entries()) slot.row = row + (rows - ordered.length) / 2;
  }
  const placed = new Map([...slots].map(([id, { step, column, row }]) => [id, { step: step!, column, row }]));
  return {
    nodes: [...placed.values()],
    edges: paths.map(({ from, to, via }) => ({ from: placed.get(from.step!.id)!, to: placed.get(to.step!.id)!, via })),
    columns: columns.length,
    rows,
  };
}

function columnsOf(steps: readonly Step[], byId: Map<string, Step>): Map<string, number> {
  const columns = new Map<string, number>();
  const column = (step: Step): number => {
    const known = columns.get(step.id);
    if (known !== undefined) return known;
    // The hub refuses cycles; a page that trusted this would hang on the day it is wrong.
    columns.set(step.id, 0);
    const before = step.dependsOn.flatMap((id) => byId.get(id) ?? []).map((dependency) => column(dependency) + 1);
    const result = Math.max(0, ...before);
    columns.set(step.id, result);
    return result;
  };
  for (const step of steps) column(step);
  return columns;
}

export interface Attempt {
  stepId: string;
  attempt: number;
  serverId?: string;
  from: number;
  /** Absent while it runs. */
  to?: number;
  status: 'running' | 'completed' | 'failed' | 'aborted';
  error?: unknown;
  reason?: string;
  willRetry?: boolean;
  result?: unknown;
}

/** Every attempt that the events tell of; a step whose events are gone is taken from the state, with its last attempt. */
export function attemptsOf(workflow: Workflow, events: readonly HubEvent[]): Attempt[] {
  const attempts = new Map<string, Attempt>();
  const latest = (stepId: string) => [...attempts.values()].findLast((attempt) => attempt.stepId === stepId);
  for (const event of events) {
    const data = dataOf(event);
    const stepId = text(data.stepId);
    if (data.workflowId !== workflow.id || stepId === undefined) continue;
    const attempt = number(data.attempt) ?? latest(stepId)?.attempt ?? 1;
    const key = `${stepId} ${attempt}`;
    const before = attempts.get(key);
    const serverId = text(data.serverId) ?? event.serverId ?? before?.serverId;
    const base = { stepId, attempt, serverId, from: before?.from ?? event.timestamp - (number(data.durationMs) ?? 0) };
    if (event.type === 'workflow_step_started') attempts.set(key, { ...base, from: event.timestamp, status: 'running' });
    if (event.type === 'workflow_step_completed') attempts.set(key, { ...base, to: event.timestamp, status: 'completed', result: data.result });
    if (event.type === 'workflow_step_failed') {
      attempts.set(key, { ...base, to: event.timestamp, status: 'failed', error: data.error, reason: text(data.reason), willRetry: data.willRetry === true });
    }
  }
  for (const step of workflow.steps) {
    const key = `${step.id} ${step.attempt}`;
    if (attempts.has(key) || step.startedAt === undefined || step.status === 'pending' || step.status === 'skipped') continue;
    const status = step.status === 'ready' ? 'failed' : step.status;
    attempts.set(key, { stepId: step.id, attempt: step.attempt, serverId: step.serverId, from: step.startedAt, to: step.endedAt, status, error: step.error, result: step.result });
  }
  return [...attempts.values()]
    .map((attempt) => (attempt.to === undefined && workflow.endedAt !== undefined ? { ...attempt, to: workflow.endedAt, status: 'aborted' as const } : attempt))
    .sort((a, b) => a.from - b.from);
}

export interface Lane {
  /** Absent for steps that nobody claimed under a name. */
  serverId?: string;
  rows: Attempt[][];
}

/** A lane per server; attempts that overlap in time go below each other. */
export function lanesOf(attempts: readonly Attempt[], now: number): Lane[] {
  const lanes = new Map<string | undefined, Lane>();
  for (const attempt of attempts) {
    let lane = lanes.get(attempt.serverId);
    if (!lane) lanes.set(attempt.serverId, (lane = { serverId: attempt.serverId, rows: [] }));
    const row = lane.rows.find((members) => (members.at(-1)!.to ?? now) <= attempt.from);
    if (row) row.push(attempt);
    else lane.rows.push([attempt]);
  }
  return [...lanes.values()];
}

/** Round steps for a time axis, at most `most` of them, none so near its end that its label would be cut. */
export function ticks(length: number, most: number): number[] {
  const step = STEPS.find((candidate) => length / candidate <= most) ?? Math.ceil(length / most / HOUR) * HOUR;
  return Array.from({ length: Math.floor((length * 0.95) / step) + 1 }, (_, index) => index * step);
}

const HOUR = 3_600_000;
const STEPS = [10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 10e3, 15e3, 30e3, 60e3, 120e3, 300e3, 600e3, 900e3, 1800e3, HOUR];
