import { describe, expect, test } from 'vitest';
import type { HubEvent } from '../../src/hub/protocol';
import { snapshotOf } from '../../src/hub/shapes';
import { apply, failedStep, fromSnapshot, type State } from '../../src/hub/state';
import { log } from './support';

const empty = (): State =>
  fromSnapshot({ id: 'e-0', sequence: 0, status: 'healthy', servers: [], workflows: [], patterns: [], stats: { completedWorkflows: 0, failedWorkflows: 0, sseClients: 1, uptimeMs: 0 } });
const connection = (id: string) => ({ id, name: id.toUpperCase(), transport: 'http', capabilities: { tools: ['a', 'b'] }, tags: { env: 'test' } });

function story(): HubEvent[] {
  const next = log();
  return [
    next('server_connected', { connection: connection('lms'), reconnected: false }, 'lms'),
    next('server_connected', { connection: connection('sis'), reconnected: false }, 'sis'),
    next('server_health_changed', { health: 'degraded', previousHealth: 'healthy', reason: 'missed_heartbeats', missedHeartbeats: 1, lastSeenAt: 5, detail: 'No heartbeat for 15 s' }, 'lms'),
    next('integration_status_changed', { status: 'degraded', previousStatus: 'healthy' }),
    next('workflow_started', {
      workflowId: 'w',
      name: 'Grades',
      steps: [{ id: 'fetch', retries: 1 }, { id: 'check', required: false }, { id: 'publish', dependsOn: ['fetch', 'check'] }],
      readySteps: ['fetch', 'check'],
    }),
    next('workflow_step_started', { workflowId: 'w', stepId: 'fetch', serverId: 'lms', attempt: 1 }, 'lms'),
    next('workflow_step_failed', { workflowId: 'w', stepId: 'fetch', error: 'timeout', attempt: 1, willRetry: true, reason: 'reported' }, 'lms'),
    next('workflow_step_started', { workflowId: 'w', stepId: 'fetch', serverId: 'sis', attempt: 2 }, 'sis'),
    next('workflow_step_failed', { workflowId: 'w', stepId: 'check', error: 'no', attempt: 1, willRetry: false, reason: 'reported' }),
    next('workflow_step_completed', { workflowId: 'w', stepId: 'fetch', serverId: 'sis', attempt: 2, completedSteps: 2, totalSteps: 3, readySteps: ['publish'], result: 28 }, 'sis'),
    next('grades.synced', { course: 'algebra' }, 'lms'),
    next('pattern_enabled', { pattern: { name: 'server_chaining', description: 'Chains', enabled: true }, source: 'api' }),
    next('server_health_changed', { health: 'healthy', previousHealth: 'degraded', reason: 'heartbeats_resumed', missedHeartbeats: 0, lastSeenAt: 9 }, 'lms'),
    next('server_disconnected', { reason: 'heartbeat_timeout', connection: { id: 'sis', name: 'SIS' }, lastSeenAt: 7 }, 'sis'),
    next('workflow_failed', { workflowId: 'w', name: 'Grades', reason: 'step_failed', error: 'publish: refused', failedStep: 'publish', retryAttempts: 1 }),
  ];
}

describe('the reducer', () => {
  test('tells the whole story', () => {
    const state = apply(empty(), story());
    expect(state.id).toBe('e-15');
    expect(state.status).toBe('degraded');
    expect(state.servers.get('lms')).toMatchObject({ status: 'connected', health: 'healthy', reason: undefined, detail: undefined, missedHeartbeats: 0, lastSeenAt: 9, tags: { env: 'test' } });
    expect(state.servers.get('sis')).toMatchObject({ status: 'disconnected', reason: 'heartbeat_timeout', lastSeenAt: 7 });
    expect(state.workflows.get('w')).toMatchObject({ status: 'failed', reason: 'step_failed', failedStep: 'publish', completedSteps: 2 });
    expect(state.patterns.get('server_chaining')!.enabled).toBe(true);
    expect(state.stats.failedWorkflows).toBe(1);
  });

  test('equals itself over any split, and over events told twice', () => {
    const events = story();
    const whole = apply(empty(), events);
    for (let cut = 0; cut <= events.length; cut += 1) {
      const split = apply(apply(empty(), events.slice(0, cut)), events.slice(Math.max(0, cut - 3)));
      expect(split).toEqual(whole);
    }
  });

  test('changes nothing that it was given, and keeps what did not change', () => {
    const before = apply(empty(), story().slice(0, 5));
    const frozen = structuredClone(before);
    const after = apply(before, story().slice(5, 6));
    expect(before).toEqual(frozen);
    expect(after.servers).toBe(before.servers);
    expect(after.workflows).not.toBe(before.workflows);
  });

  test('follows a step through its attempts', () => {
    const step = (count: number, id: string) => apply(empty(), story().slice(0, count)).workflows.get('w')!.steps.find((candidate) => candidate.id === id)!;
    expect(step(5, 'fetch').status).toBe('ready');
    expect(step(5, 'publish').status).toBe('pending');
    expect(step(6, 'fetch')).toMatchObject({ status: 'running', serverId: 'lms', attempt: 1 });
    expect(step(7, 'fetch')).toMatchObject({ status: 'ready', error: 'timeout' });
    expect(step(8, 'fetch')).toMatchObject({ status: 'running', serverId: 'sis', attempt: 2, error: undefined });
    expect(step(10, 'fetch')).toMatchObject({ status: 'completed', result: 28 });
    expect(step(10, 'publish').status).toBe('ready');
  });

  test('lets dependents of an optional step go on when it fails', () => {
    const next = log();
    const state = apply(empty(), [
      next('workflow_started', { workflowId: 'w', name: 'W', steps: [{ id: 'a', required: false }, { id: 'b', dependsOn: ['a'] }], readySteps: ['a'] }),
      next('workflow_step_failed', { workflowId: 'w', stepId: 'a', error: 'no', attempt: 1, willRetry: false, reason: 'reported' }),
    ]);
    expect(state.workflows.get('w')!.steps[1]!.status).toBe('ready');
  });

  test('ends what a workflow leaves unfinished, and knows the step that failed it', () => {
    const next = log();
    const state = apply(empty(), [
      next('workflow_started', { workflowId: 'w', name: 'W', steps: [{ id: 'a' }, { id: 'b' }, { id: 'c' }], readySteps: ['a', 'b', 'c'] }),
      next('workflow_step_started', { workflowId: 'w', stepId: 'a', attempt: 1 }),
      next('workflow_step_failed', { workflowId: 'w', stepId: 'b', error: 'no', attempt: 1, willRetry: false, reason: 'reported', readySteps: [] }),
      next('workflow_failed', { workflowId: 'w', name: 'W', reason: 'step_failed', error: 'no' }),
    ]);
    const workflow = state.workflows.get('w')!;
    expect(workflow.steps.map(({ status }) => status)).toEqual(['aborted', 'failed', 'skipped']);
    expect(failedStep(workflow)).toBe('b');
  });

  test('takes steps that were never declared', () => {
    const next = log();
    const state = apply(empty(), [
      next('workflow_started', { workflowId: 'w', name: 'W', steps: [], readySteps: [] }),
      next('workflow_step_completed', { workflowId: 'w', stepId: 'surprise', attempt: 1, completedSteps: 1, totalSteps: 1, readySteps: [], durationMs: 400 }),
    ]);
    const workflow = state.workflows.get('w')!;
    expect(workflow.totalSteps).toBe(1);
    expect(workflow.steps[0]).toMatchObject({ id: 'surprise', status: 'completed', startedAt: undefined, endedAt: 1_002_000 });
  });

  test("leaves the hub's status alone when a server states its own", () => {
    const next = log();
    expect(apply(empty(), [next('integration_status_changed', { status: 'unhealthy' }, 'lms')]).status).toBe('healthy');
  });
});

test('a step that its workflow cut short has not failed, whether a snapshot or the stream tells', () => {
  const steps = [{ id: 'a', status: 'failed', error: 'the workflow ended first' }, { id: 'b', status: 'failed', error: 'no' }, { id: 'c', status: 'pending' }];
  const { workflows } = snapshotOf([{ id: 'e-4', sequence: 4, workflows: [{ id: 'w', status: 'failed', reason: 'step_failed', steps }] }])!;
  expect(workflows[0]!.steps.map(({ status }) => status)).toEqual(['aborted', 'failed', 'skipped']);
  expect(failedStep(workflows[0]!)).toBe('b');
});

test('a cancelled workflow has not failed', () => {
  const next = log();
  const { workflows } = apply(empty(), [next('workflow_started', { workflowId: 'w', steps: ['a'] }), next('workflow_failed', { workflowId: 'w', reason: 'cancelled', error: 'not today' })]);
  expect(workflows.get('w')).toMatchObject({ status: 'cancelled', error: 'not today' });
  expect(snapshotOf([{ id: 'e-4', sequence: 4, workflows: [{ id: 'w', status: 'failed', reason: 'cancelled' }] }])!.workflows[0]!.status).toBe('cancelled');
});

test('a snapshot tells a crash from a farewell', () => {
  const gone = (id: string, more: object) => ({ id, status: 'disconnected', health: 'unhealthy', connection: { id }, ...more });
  const { servers } = snapshotOf([{ id: 'e-4', sequence: 4, servers: [gone('a', { reason: 'out of memory', detail: 'no heartbeat for 9 s' }), gone('b', { reason: 'upgrade' }), gone('c', { reason: 'heartbeat_timeout' })] }])!;
  expect(servers.map(({ lost }) => lost)).toEqual([true, false, true]);
});

test('instances come and go within a server that stays', () => {
  const next = log();
  const connect = [next('server_connected', { connection: connection('lms') }, 'lms'), next('server_instance_connected', { instanceId: 'b', host: 'mac', pid: 7, connectedInstances: 2 }, 'lms')];
  const state = apply(empty(), connect);
  expect(state.servers.get('lms')!.instances).toMatchObject([{ instanceId: 'b', host: 'mac', pid: '7' }]);
  const after = apply(state, [next('server_instance_disconnected', { instanceId: 'b', connectedInstances: 1, expected: false }, 'lms')]);
  expect(after.servers.get('lms')).toMatchObject({ status: 'connected', instances: [] });
});

test('a server that crashed is lost, one that left in order is not', () => {
  const next = log();
  const state = apply(empty(), ['a', 'b', 'c'].flatMap((id) => [next('server_connected', { connection: connection(id) }, id)]).concat([
    next('server_disconnected', { reason: 'heartbeat_timeout' }, 'a'),
    next('server_disconnected', { reason: 'out of memory', expected: false }, 'b'),
    next('server_disconnected', { reason: 'deregistered', expected: true }, 'c'),
  ]));
  expect(['a', 'b', 'c'].map((id) => state.servers.get(id)!.lost)).toEqual([true, true, false]);
});

test('the parts of a snapshot are joined', () => {
  const joined = snapshotOf([
    { part: 1, parts: 2, id: 'e-4', sequence: 4, status: 'degraded', servers: [{ id: 'a' }], patterns: [] },
    { part: 2, parts: 2, servers: [{ id: 'b' }], workflows: [{ id: 'w' }] },
  ]);
  expect(joined).toMatchObject({ id: 'e-4', sequence: 4, status: 'degraded', servers: [{ id: 'a' }, { id: 'b' }], workflows: [{ id: 'w' }] });
  expect(joined).not.toHaveProperty('part');
});
