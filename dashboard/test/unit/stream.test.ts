import { beforeEach, describe, expect, test } from 'vitest';
import type { HubEvent, Snapshot } from '../../src/hub/protocol';
import { Session, type Message } from '../../src/hub/session';
import { HubStream, type Gap, type Link } from '../../src/hub/stream';
import { FakeWorld, log, settle } from './support';

const opened = (verdict: string, extra = {}) => ({ verdict, keepAliveMs: 1_000, oldestId: 'e-1', headId: 'e-9', ...extra });
const snapshotFrame = { part: 1, parts: 1, id: 'e-5', sequence: 5, status: 'healthy', servers: [], workflows: [], patterns: [], stats: { completedWorkflows: 0, failedWorkflows: 0, sseClients: 1, uptimeMs: 0 } };

let world: FakeWorld;
let snapshots: Snapshot[];
let events: HubEvent[];
let gaps: Gap[];
let links: Link[];
let stream: HubStream;

beforeEach(() => {
  world = new FakeWorld();
  [snapshots, events, gaps, links] = [[], [], [], []];
  stream = new HubStream(
    'http://hub/',
    { snapshot: (s) => snapshots.push(s), event: (e) => events.push(e), gap: (g) => gaps.push(g), link: (l) => links.push(l) },
    world,
  );
  stream.open();
});

function live() {
  world.source.frame('stream_opened', opened('live'));
  world.source.frame('snapshot', snapshotFrame, 'e-5');
}

describe('the stream', () => {
  test('starts with a snapshot in as many parts as it takes', () => {
    expect(world.source.url).toBe('http://hub/events?format=message&snapshot=true');
    world.source.frame('stream_opened', opened('live'));
    world.source.frame('snapshot', { ...snapshotFrame, parts: 2, servers: [{ id: 'a' }] });
    expect(snapshots).toHaveLength(0);
    world.source.frame('snapshot', { part: 2, parts: 2, servers: [{ id: 'b' }] }, 'e-5');
    expect(snapshots[0]!.servers.map(({ id }) => id)).toEqual(['a', 'b']);
    expect(stream.link).toMatchObject({ phase: 'open', verdict: 'live', cursor: 'e-5' });
  });

  test('an interrupted snapshot is not mixed with the next one', () => {
    world.source.frame('stream_opened', opened('live'));
    world.source.frame('snapshot', { ...snapshotFrame, parts: 2, servers: [{ id: 'old' }] });
    world.source.breaks();
    live();
    expect(snapshots).toHaveLength(1);
    expect(snapshots[0]!.servers).toEqual([]);
  });

  test('says resumed when the browser picks it up again', () => {
    live();
    world.source.breaks();
    expect(stream.link.phase).toBe('lost');
    world.source.frame('stream_opened', opened('resumed'), 'e-5');
    expect(stream.link).toMatchObject({ phase: 'open', verdict: 'resumed', resumes: 1 });
    expect(world.sources).toHaveLength(1);
  });

  test('a gap where a snapshot follows is told, and the snapshot taken', () => {
    live();
    world.source.breaks();
    world.source.frame('stream_opened', opened('gap', { reason: 'expired', requestedId: 'e-5', oldestId: 'e-8' }));
    world.source.frame('snapshot', { ...snapshotFrame, id: 'e-9' }, 'e-9');
    expect(gaps).toEqual([{ at: world.time, reason: 'expired', afterId: 'e-5', nextId: 'e-8' }]);
    expect(snapshots).toHaveLength(2);
    expect(world.sources).toHaveLength(1);
  });

  test('a gap on a stream that asked for no snapshot asks for one', async () => {
    live();
    stream.open();
    expect(world.source.url).toBe('http://hub/events?format=message&lastEventId=e-5');
    world.source.frame('stream_opened', opened('gap', { reason: 'unknown_log', requestedId: 'e-5' }));
    expect(gaps[0]!.reason).toBe('unknown_log');
    expect(world.sources[1]!.closed).toBe(true);
    expect(world.source.url).toContain('snapshot=true');
  });

  test('a gap in mid-stream brings a fresh snapshot', () => {
    live();
    world.source.frame('stream_gap', { reason: 'corrupt', afterId: 'e-6', nextId: 'e-8' }, 'e-7');
    expect(gaps[0]).toMatchObject({ reason: 'corrupt', afterId: 'e-6', nextId: 'e-8' });
    expect(world.source.url).toContain('snapshot=true');
  });

  test("keeps the hub's word when it closes", () => {
    live();
    world.source.frame('stream_closing', { reason: 'draining' }, 'e-5');
    world.source.breaks();
    expect(stream.link).toMatchObject({ phase: 'closed', reason: 'draining' });
    world.source.frame('stream_opened', opened('resumed'), 'e-5');
    expect(stream.link.phase).toBe('open');
    expect(stream.link.reason).toBeUndefined();
  });

  test('goes stale without a bookmark, comes back with one, and opens anew when none comes', () => {
    live();
    world.pass(2_400);
    stream.tick();
    expect(stream.link.phase).toBe('open');
    world.pass(200);
    stream.tick();
    expect(stream.link.phase).toBe('stale');
    world.source.frame('bookmark', { headId: 'e-7' }, 'e-7');
    expect(stream.link).toMatchObject({ phase: 'open', cursor: 'e-7' });
    world.pass(4_100);
    stream.tick();
    expect(world.source.url).toContain('lastEventId=e-7');
  });

  test('asks for sign-in when the hub answers 401', async () => {
    world.answer = async () => Response.json({ detail: 'A token, please' }, { status: 401 });
    world.source.breaks(true);
    await settle();
    expect(stream.link).toMatchObject({ phase: 'signed_out', reason: 'A token, please' });
    expect(world.timers.size).toBe(0);
  });

  test('a refusal says why and is tried again later', async () => {
    world.answer = async () => Response.json({ title: 'Switched off' }, { status: 503 });
    world.source.breaks(true);
    await settle();
    expect(stream.link).toMatchObject({ phase: 'refused', reason: 'Switched off' });
    world.pass(29_000);
    expect(world.sources).toHaveLength(1);
    world.pass(2_000);
    expect(world.sources).toHaveLength(2);
  });

  test('where the browser gave up and nobody answers, it tries again, ever more slowly, from where it was', async () => {
    live();
    const waits: number[] = [];
    for (let round = 0; round < 6; round += 1) {
      world.source.breaks(true);
      await settle();
      expect(stream.link.phase).toBe('lost');
      waits.push(stream.link.retryAt! - world.time);
      world.pass(waits.at(-1)!);
    }
    expect(waits).toEqual([1_000, 2_000, 4_000, 8_000, 15_000, 15_000]);
    expect(world.source.url).toContain('lastEventId=e-5');
  });

  test('a source that was let go has no say any more', () => {
    live();
    const old = world.source;
    stream.open();
    old.event(log()('grades.synced'));
    expect(events).toHaveLength(0);
  });
});

describe('the session', () => {
  test('gives every tab the same state, in batches', () => {
    const session = new Session('http://hub/', world);
    const first: Message[] = [];
    session.add((message) => first.push(message));
    live();
    const next = log();
    for (let count = 0; count < 5; count += 1) next('x.y');
    world.source.event(next('server_connected', { connection: { id: 'lms', name: 'LMS' } }, 'lms'));
    world.source.event(next('grades.synced', {}, 'lms'));
    expect(first.filter(({ kind }) => kind === 'events')).toHaveLength(0);
    world.pass(50);
    expect(first.filter(({ kind }) => kind === 'events')).toHaveLength(1);

    world.source.event(next('grades.synced', {}, 'lms'));
    const late: Message[] = [];
    session.add((message) => late.push(message));
    const welcome = late[0]!;
    if (welcome.kind !== 'welcome') throw new Error(welcome.kind);
    expect(welcome.state!.servers.get('lms')!.status).toBe('connected');
    expect(welcome.state!.sequence).toBe(8);
    expect(welcome.recent).toHaveLength(3);
    expect(welcome.listeners).toBe(2);
  });

  test('shows the state once where the stream is switched off', async () => {
    world.answer = async () => Response.json({ ...snapshotFrame, servers: [{ id: 'lms' }] });
    const session = new Session('http://hub/', world);
    const told: Message[] = [];
    session.add((message) => told.push(message));
    world.source.frame('stream_closing', { reason: 'disabled' });
    await settle();
    const snapshot = told.find(({ kind }) => kind === 'snapshot');
    expect(snapshot?.kind === 'snapshot' && [...snapshot.state.servers.keys()]).toEqual(['lms']);
    expect(world.fetched).toEqual(['http://hub/snapshot']);
  });
});
