// Events that are odd but legal, or that only an older log could hold: none may stop the page, and each is shown.

import { beforeEach, expect, test } from 'vitest';
import { EVERYTHING, Feed, matches } from '../../src/feed';
import { HealthLog } from '../../src/health-log';
import { parse, pretty } from '../../src/hub/json';
import type { HubEvent } from '../../src/hub/protocol';
import { Session, type Message } from '../../src/hub/session';
import { dataOf, eventOf, snapshotOf, statsOf } from '../../src/hub/shapes';
import { apply, failedStep, fromSnapshot } from '../../src/hub/state';
import { because, summary, why } from '../../src/ui/format';
import { attemptsOf, lanesOf, layOut } from '../../src/workflow-layout';
import odd from '../../../tests/odd-events.jsonl?raw';
import { FakeWorld, log } from './support';

const lines = odd.trim().split('\n');

/** The corpus as a log tells it: each event as the text of its envelope. */
const envelopes = lines
  .concat(JSON.stringify({ type: 'odd.huge', data: 'x'.repeat(250_000) }), `{"type":"odd.deep","data":${'['.repeat(2_000)}1.0${']'.repeat(2_000)}}`)
  .map((line, index) => `{"id":"e-${index + 1}","sequence":${index + 1},"timestamp":${1_000_000 + index},${line.slice(1)}`);

const empty = { id: 'e-0', sequence: 0, status: 'healthy', servers: [], workflows: [], patterns: [], stats: {} };
let events: HubEvent[];

beforeEach(() => {
  events = envelopes.map((text) => eventOf(parse(text))!);
});

test('every one of them is an event', () => {
  expect(events.every(Boolean)).toBe(true);
});

test('each has a line, in which nothing unseen is left', () => {
  for (const event of events) {
    const line = summary(event);
    expect(line, event.id).not.toMatch(/[\u0000-\u0008\u000e-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/);
    expect(line, event.id).not.toMatch(/undefined|NaN|\[object/);
    because(dataOf(event));
  }
});

test('scalars, lists and nothing are shown as they are', () => {
  const shown = (text: string) => summary(eventOf(parse(`{"id":"e-1","sequence":1,"timestamp":1,"type":"odd.x"${text}}`))!);
  expect(shown(',"data":null')).toBe('null');
  expect(shown(',"data":"all pupils are in"')).toBe('"all pupils are in"');
  expect(shown(',"data":[1,2]')).toBe('[1,2]');
  expect(shown(',"data":{"orderId":4634343214213523454}')).toBe('orderId=4634343214213523454');
  expect(shown('')).toBe('');
});

test('the JSON that is shown and copied is the JSON that came', () => {
  for (const [index, event] of events.entries()) {
    const digits = (text: string) => [...text.matchAll(/-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g)].map(String).sort();
    if (!lines[index]?.startsWith('{"type":"odd.number"')) continue;
    expect(digits(pretty(event))).toEqual(digits(envelopes[index]!));
  }
});

test('the state goes on, and every view of it', () => {
  const next = log();
  let state = fromSnapshot(snapshotOf([empty])!);
  const health = new HealthLog();
  const feed = new Feed();
  for (const event of events) {
    state = apply(state, [event]);
    health.append([event]);
    feed.append([event]);
    matches(event, { ...EVERYTHING, text: 'x', workflow: 'w', server: 'l' });
  }
  expect(state.doubt).toBeUndefined();
  expect(state.sequence).toBe(events.length);
  for (const server of state.servers.values()) {
    why(server);
    health.spans(server.id, 0, 2_000_000, 'healthy', server.connectedAt);
    health.trouble(server.id, 0);
  }
  for (const workflow of state.workflows.values()) {
    failedStep(workflow);
    layOut(workflow.steps);
    lanesOf(attemptsOf(workflow, events), 2_000_000);
  }
  feed.rate(1_001_000, 60, 5);
  expect(feed.events).toHaveLength(events.length);
  expect(apply(state, [{ ...next('server_connected', { connection: { id: 'after', name: 'After' } }, 'after'), sequence: 1_000_000 }]).servers.get('after')?.name).toBe('After');
});

test('the same as parts of a snapshot', () => {
  const parts = events.map((event) => dataOf(event));
  const state = fromSnapshot(snapshotOf([{ ...empty, servers: parts.map((part) => ({ ...part, id: 's' })), workflows: parts.map((part) => ({ ...part, id: 'w' })), patterns: parts, stats: parts[0] }])!);
  for (const server of state.servers.values()) why(server);
  for (const workflow of state.workflows.values()) layOut(workflow.steps);
  for (const part of parts) statsOf(part);
});

test('a tab hears of all of them, and of what comes after', () => {
  const world = new FakeWorld();
  const session = new Session('http://hub/', world);
  const heard: Message[] = [];
  session.add((message) => heard.push(structuredClone(message)));
  world.source.frame('stream_opened', { verdict: 'live', keepAliveMs: 1_000 });
  world.source.frame('snapshot', { part: 1, parts: 1, ...empty }, 'e-0');
  for (const [index, text] of envelopes.entries()) world.source.text(text, `e-${index + 1}`);
  world.pass(50);
  const told = heard.flatMap((message) => (message.kind === 'events' ? message.events : []));
  expect(told).toHaveLength(envelopes.length);
  expect(heard.filter(({ kind }) => kind === 'gap')).toEqual([]);
});

test('what is no event at all is named, and the state read afresh', () => {
  const world = new FakeWorld();
  const session = new Session('http://hub/', world);
  const heard: Message[] = [];
  session.add((message) => heard.push(message));
  world.source.frame('stream_opened', { verdict: 'live', keepAliveMs: 1_000 });
  world.source.frame('snapshot', { part: 1, parts: 1, ...empty }, 'e-0');
  world.source.text('{"id":"e-1","sequence":', 'e-1');
  expect(heard.find(({ kind }) => kind === 'gap')).toMatchObject({ gap: { reason: 'unreadable', eventId: 'e-1' } });
  expect(world.source.url).toContain('snapshot=true');
  expect(world.sources).toHaveLength(2);
});

test('a snapshot that the page cannot read is said, and asked for again in a while', () => {
  const world = new FakeWorld();
  const session = new Session('http://hub/', world);
  const heard: Message[] = [];
  session.add((message) => heard.push(message));
  world.source.frame('stream_opened', { verdict: 'live', keepAliveMs: 1_000 });
  world.source.frame('snapshot', { part: 1, parts: 1 }, 'e-0');
  expect(heard.at(-1)).toMatchObject({ kind: 'link', link: { phase: 'refused' } });
  world.pass(31_000);
  expect(world.sources).toHaveLength(2);
});
