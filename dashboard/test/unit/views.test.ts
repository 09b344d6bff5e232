import { describe, expect, test } from 'vitest';
import { EVERYTHING, Feed, matches } from '../../src/feed';
import { HealthLog } from '../../src/health-log';
import type { Server, Step, Workflow } from '../../src/hub/protocol';
import { parseRoute } from '../../src/router';
import { ago, duration, lastSeen, measured, summary, troubleBefore, why } from '../../src/ui/format';
import { attemptsOf, lanesOf, layOut, ticks } from '../../src/workflow-layout';
import { log } from './support';

const step = (id: string, dependsOn: string[] = []): Step => ({ id, workflowId: 'w', dependsOn, required: true, retries: 0, status: 'pending', attempt: 0 });

describe('the feed', () => {
  test('a paused feed loses nothing and shows nothing new', () => {
    const next = log();
    const feed = new Feed();
    feed.append([next('a.b'), next('a.b')]);
    feed.pause();
    feed.append(Array.from({ length: 30_000 }, () => next('a.b')));
    expect(feed.waiting).toBe(30_000);
    expect(feed.events).toHaveLength(30_002);
    feed.resume();
    expect(feed.waiting).toBe(0);
  });

  test('holds an event once, in the order of the log, whether it came live or from history', () => {
    const next = log();
    const events = Array.from({ length: 6 }, () => next('a.b'));
    const feed = new Feed();
    feed.append(events.slice(3, 5));
    feed.prepend(events.slice(0, 4));
    feed.append(events.slice(4));
    expect(feed.events).toEqual(events);
  });

  test('says between which two events some are missing', () => {
    const next = log();
    const feed = new Feed();
    const [first, second] = [next('a.b'), next('a.b')];
    feed.append([first, second]);
    feed.markGap({ at: 1, reason: 'expired' });
    next('a.lost');
    const [fourth, fifth] = [next('a.b'), next('a.b')];
    feed.append([fifth]);
    feed.prepend([fourth]);
    expect(feed.gapBetween(first, second)).toBeUndefined();
    expect(feed.gapBetween(second, fourth)?.reason).toBe('expired');
    expect(feed.gapBetween(fourth, fifth)).toBeUndefined();
  });

  test('counts by type and time', () => {
    const next = log();
    const feed = new Feed();
    feed.append([next('a.b'), next('a.b'), next('c.d')]);
    const bins = feed.rate(1_003_500, 2, 2);
    expect(bins.map(({ counts }) => Object.fromEntries(counts))).toEqual([{ 'a.b': 1 }, { 'a.b': 1, 'c.d': 1 }]);
  });

  test('tells nothing happened from nothing known', () => {
    const next = log();
    const feed = new Feed();
    const complete = (live?: number) => feed.rate(1_005_900, 6, 1, live).map((bin) => bin.complete);
    feed.append([next('a.b'), next('a.b'), next('a.b'), next('a.b')]);
    expect(complete()).toEqual([false, false, false, false, false, false]);
    feed.reaches(1_002_000);
    expect(complete()).toEqual([false, false, true, true, true, true]);
    feed.reaches(0);
    expect(complete()).toEqual([true, true, true, true, true, true]);
    expect(complete(1_004_100)).toEqual([true, true, true, true, true, false]);
  });

  test('nothing is known of the time of a gap', () => {
    const next = log();
    const feed = new Feed();
    feed.reaches(0);
    feed.append([next('a.b'), next('a.b')]);
    feed.markGap({ at: 1, reason: 'expired' });
    next('a.lost');
    feed.append([next('a.b')]);
    expect(feed.rate(1_005_900, 6, 1).map((bin) => bin.complete)).toEqual([true, true, false, false, true, true]);
  });

  test('counts of a type are of the events that the page holds', () => {
    const next = log();
    const feed = new Feed();
    feed.append(Array.from({ length: 11_000 }, () => next('a.b')));
    feed.append(Array.from({ length: 2_000 }, () => next('c.d')));
    expect(feed.events).toHaveLength(10_000);
    expect(Object.fromEntries(feed.types)).toEqual({ 'a.b': 8_000, 'c.d': 2_000 });
  });

  test('filters by type, server, workflow and text', () => {
    const event = log()('workflow_step_failed', { workflowId: 'w-7', error: 'Out of Memory' }, 'lms-1');
    expect(matches(event, EVERYTHING)).toBe(true);
    expect(matches(event, { ...EVERYTHING, types: new Set(['workflow_failed']) })).toBe(false);
    expect(matches(event, { types: new Set(['workflow_step_failed']), server: 'lms', workflow: 'w-7', text: 'memory' })).toBe(true);
    expect(matches(event, { ...EVERYTHING, text: 'disk' })).toBe(false);
  });
});

describe('the health log', () => {
  const at = (second: number) => 1_000_000 + second * 1_000;

  test('puts spans together from history and stream in any order', () => {
    const next = log();
    const events = [
      next('server_connected', { connection: { id: 's' } }, 's'),
      next('server_health_changed', { health: 'degraded', previousHealth: 'healthy' }, 's'),
      next('server_health_changed', { health: 'unhealthy', previousHealth: 'degraded' }, 's'),
      next('server_disconnected', { reason: 'heartbeat_timeout' }, 's'),
    ];
    const health = new HealthLog();
    health.append([events[3]!]);
    health.append([events[2]!, events[1]!, events[0]!]);
    expect(health.spans('s', at(0), at(6), 'lost')).toEqual([
      { from: at(0), to: at(1), standing: undefined },
      { from: at(1), to: at(2), standing: 'healthy' },
      { from: at(2), to: at(3), standing: 'degraded' },
      { from: at(3), to: at(4), standing: 'unhealthy' },
      { from: at(4), to: at(6), standing: 'lost' },
    ]);
  });

  test('takes the standing before the first known event from that event', () => {
    const next = log();
    const health = new HealthLog();
    health.append([next('server_health_changed', { health: 'healthy', previousHealth: 'degraded' }, 's')]);
    expect(health.spans('s', at(0), at(2), 'healthy').map(({ standing }) => standing)).toEqual(['degraded', 'healthy']);
  });

  test('of the time before its oldest page nothing is claimed', () => {
    const next = log();
    const health = new HealthLog(at(3));
    health.append([next('x'), next('x'), next('x'), next('server_health_changed', { health: 'degraded', previousHealth: 'healthy' }, 's')].slice(3));
    const known = [{ from: at(0), to: at(3), standing: undefined }, { from: at(3), to: at(4), standing: 'healthy' }, { from: at(4), to: at(5), standing: 'degraded' }];
    expect(health.spans('s', at(0), at(5), 'degraded')).toEqual(known);
    expect(health.spans('other', at(0), at(5), 'healthy', at(1))).toEqual([{ from: at(0), to: at(3), standing: undefined }, { from: at(3), to: at(5), standing: 'healthy' }]);
  });

  test('a server that flaps has a past in its green phase, one that left in order has not', () => {
    const next = log();
    const health = new HealthLog();
    const turn = (to: string, from: string) => next('server_health_changed', { health: to, previousHealth: from, detail: `now ${to}` }, 's');
    health.append([turn('degraded', 'healthy'), turn('unhealthy', 'degraded'), turn('healthy', 'unhealthy'), turn('degraded', 'healthy'), turn('healthy', 'degraded')]);
    health.append([next('server_disconnected', { reason: 'deregistered' }, 'tidy')]);
    expect(health.trouble('s', at(0))).toMatchObject({ times: 2, at: at(4), standing: 'degraded', why: 'now degraded' });
    expect(health.trouble('s', at(4))).toMatchObject({ times: 1 });
    expect(health.trouble('s', at(5))).toBeUndefined();
    expect(health.trouble('tidy', at(0))).toBeUndefined();
    expect(troubleBefore(health.trouble('s', at(0)), 'the last hour', at(64))).toBe('Ill 2 times in the last hour, last 1 m ago: now degraded');
    expect(troubleBefore(health.trouble('s', at(4)), 'the last hour', at(64))).toBe('Was degraded 1 m ago: now degraded');
  });

  test('without any event a server has stood as it does since it connected', () => {
    const spans = new HealthLog().spans('s', at(0), at(10), 'healthy', at(4));
    expect(spans).toEqual([{ from: at(0), to: at(4), standing: undefined }, { from: at(4), to: at(10), standing: 'healthy' }]);
  });
});

describe('workflows', () => {
  test('a step stands right of everything it depends on', () => {
    const graph = layOut([step('publish', ['merge']), step('a'), step('b', ['a']), step('merge', ['a', 'b'])]);
    const column = (id: string) => graph.nodes.find((node) => node.step.id === id)!.column;
    expect([column('a'), column('b'), column('merge'), column('publish')]).toEqual([0, 1, 2, 3]);
  });

  test('a long edge goes around the steps in between', () => {
    const graph = layOut([step('a'), step('b', ['a']), step('c', ['a', 'b'])]);
    const long = graph.edges.find((edge) => edge.from.step.id === 'a' && edge.to.step.id === 'c')!;
    const between = graph.nodes.find((node) => node.step.id === 'b')!;
    expect(long.via).toHaveLength(1);
    expect(long.via[0]!.column).toBe(between.column);
    expect(long.via[0]!.row).not.toBe(between.row);
  });

  test('attempts come from events, and from the state where those are gone', () => {
    const next = log();
    const workflow: Workflow = {
      id: 'w', name: 'W', status: 'failed', startedAt: 1_000_000, endedAt: 1_009_000, completedSteps: 1, totalSteps: 3,
      steps: [{ ...step('a'), status: 'completed', attempt: 2 }, { ...step('old'), status: 'completed', attempt: 1, startedAt: 1_000_000, endedAt: 1_000_500, serverId: 's' }, { ...step('b'), status: 'running', attempt: 1, startedAt: 1_004_000 }],
    };
    const attempts = attemptsOf(workflow, [
      next('workflow_step_started', { workflowId: 'w', stepId: 'a', serverId: 's', attempt: 1 }),
      next('workflow_step_failed', { workflowId: 'w', stepId: 'a', error: 'no', attempt: 1, willRetry: true }),
      next('workflow_step_started', { workflowId: 'w', stepId: 'a', serverId: 't', attempt: 2 }),
      next('workflow_step_completed', { workflowId: 'other', stepId: 'a', attempt: 2 }),
      next('workflow_step_completed', { workflowId: 'w', stepId: 'a', attempt: 2, durationMs: 2_000 }),
    ]);
    expect(attempts.map(({ stepId, attempt, serverId, status }) => `${stepId}#${attempt} ${serverId} ${status}`)).toEqual([
      'old#1 s completed',
      'a#1 s failed',
      'a#2 t completed',
      'b#1 undefined aborted',
    ]);
    expect(attempts[1]).toMatchObject({ from: 1_001_000, to: 1_002_000, error: 'no', willRetry: true });
  });

  test('attempts that overlap on one server go below each other', () => {
    const base = { stepId: 'a', attempt: 1, serverId: 's', status: 'completed' as const };
    const lanes = lanesOf([{ ...base, from: 0, to: 10 }, { ...base, from: 5, to: 8 }, { ...base, from: 10, to: 12 }, { ...base, serverId: 't', from: 0, to: 1 }], 20);
    expect(lanes.map((lane) => lane.rows.map((row) => row.length))).toEqual([[2, 1], [1]]);
  });

  test('ticks are round and few', () => {
    expect(ticks(22_000, 8)).toEqual([0, 5_000, 10_000, 15_000, 20_000]);
    expect(ticks(7 * 3_600_000, 8)).toHaveLength(7);
    expect(ticks(20_000, 8)).toEqual([0, 5_000, 10_000, 15_000]);
  });
});

describe('words', () => {
  const server: Server = { id: 's', name: 'S', status: 'connected', health: 'healthy', lastSeenAt: 0, missedHeartbeats: 0, heartbeatIntervalMs: 10_000, connection: { id: 's', name: 'S', capabilities: { tools: [], resources: [], prompts: [] } }, tags: {}, instances: [] };

  test('a healthy server was heard within one and a half intervals, whatever the last event about it says', () => {
    expect(lastSeen(server, 3_600_000).text).toBe('within 15 s');
    expect(lastSeen(server, 12_000).text).toBe('12 s ago');
    expect(lastSeen({ ...server, missedHeartbeats: 2 }, 25_000).text).toBe('25 s ago');
    expect(lastSeen({ ...server, heartbeatIntervalMs: undefined }, 3_600_000).text).toBe('on time');
    expect(lastSeen({ ...server, status: 'disconnected' }, 3_600_000).text).toBe('1 h ago');
  });

  test('why: the evidence first, then the reason in words', () => {
    expect(why({ ...server, detail: 'No heartbeat for 15 s', reason: 'missed_heartbeats' })).toBe('No heartbeat for 15 s');
    expect(why({ ...server, reason: 'missed_heartbeats', missedHeartbeats: 3 })).toBe('Missed 3 heartbeats');
    expect(why({ ...server, reason: 'upgrading to 2.0' })).toBe('upgrading to 2.0');
    expect(why(server)).toBe('');
  });

  test('durations and ages', () => {
    expect([250, 5_000, 5_240, 61_000, 3_600_000, 90_000_000].map(duration)).toEqual(['250 ms', '5 s', '5.2 s', '1 m 1 s', '1 h', '1 d 1 h']);
    expect(ago(5_000, 0)).toBe('just now');
    expect(ago(0, 65_000)).toBe('1 m ago');
  });

  test('what a custom event holds, in a line', () => {
    expect(summary(log()('grades.synced', { course: 'algebra-1', title: 'A B', grades: 28, by: { id: 1 } }))).toBe('course=algebra-1 title="A B" grades=28 by={"id":1}');
  });

  test('new words of the hub', () => {
    const told = (type: string, data: object, serverId?: string) => summary(log()(type, data, serverId));
    expect(told('server_instance_connected', { instanceId: 'a1', connectedInstances: 2, host: 'mac', pid: 71, client: 'Claude Desktop' }, 'lms')).toBe('Instance a1 connected (process 71 on mac for Claude Desktop), 2 instances now');
    expect(told('server_instance_disconnected', { instanceId: 'a1', connectedInstances: 1, reason: 'heartbeat_timeout', expected: false }, 'lms')).toBe('Instance a1 was lost: stopped sending heartbeats, 1 instance now');
    expect(told('server_disconnected', { reason: 'deregistered', expected: true, connectedForMs: 61_000, connection: { name: 'LMS' } }, 'lms')).toBe('LMS left: deregistered, after 1 m 1 s');
    expect(told('server_updated', { connection: { name: 'LMS' }, changed: ['capabilities'], drift: { tools: { added: ['new'], removed: ['old'], changed: [{ name: 'grade', fields: ['description'] }] }, prompts: { added: [] } } }, 'lms')).toBe('LMS changed its capabilities; tools +new −old ~grade (description)');
    expect(told('integration_status_changed', { status: 'degraded', previousStatus: 'healthy', because: { serverId: 'lms', type: 'server_disconnected' }, lost: ['lms'], lostServers: 1 })).toBe('healthy → degraded, because lms left; lost: lms');
    expect(told('workflow_failed', { name: 'Sync', reason: 'cancelled', error: 'not today', by: 'board' })).toBe('Sync was cancelled: not today, by board');
  });

  test('what was measured is shown with all of its digits', () => {
    expect([1234567.891, 0.12345678, 12, new String('123456789012345678901'), new String('1e400')].map(measured)).toEqual(['1,234,567.891', '0.12345678', '12', '123,456,789,012,345,678,901', '1e400']);
  });

  test('deep links', () => {
    expect(parseRoute('#/servers/a%3Ab')).toEqual({ view: 'servers', id: 'a:b' });
    expect(parseRoute('#/workflows')).toEqual({ view: 'workflows' });
    expect(parseRoute('')).toEqual({ view: 'servers' });
    expect(parseRoute('#/events/%E0%A4%A')).toEqual({ view: 'events', id: '%E0%A4%A' });
  });
});
