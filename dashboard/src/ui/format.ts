// Numbers, times and reasons in words.

import { visible, write, type Digits } from '../hub/json';
import type { HubEvent, Server } from '../hub/protocol';
import { fields, flag, list, number as numberOf, text, texts, type Fields } from '../hub/read';
import { connectionOf, dataOf, leftUnexpectedly } from '../hub/shapes';
import type { Trouble } from '../health-log';

const count = new Intl.NumberFormat('en');
const exactTime = new Intl.DateTimeFormat('en-GB', { dateStyle: 'medium', timeStyle: 'long' });
const clockTime = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit' });
const dayAndTime = new Intl.DateTimeFormat('en-GB', { day: 'numeric', month: 'short', hour: '2-digit', minute: '2-digit' });

export const number = (value: number) => count.format(value);

/** Whatever a producer measured: all of its digits, the whole ones in groups. */
export function measured(value: number | Digits): string {
  const digits = write(value);
  return /^-?\d+(\.\d+)?$/.test(digits) ? digits.replace(/^-?\d+/, (whole) => whole.replace(/\B(?=(\d{3})+$)/g, ',')) : digits;
}

export const exact = (time: number) => exactTime.format(time);
export const clock = (time: number) => clockTime.format(time);
export const plural = (value: number, one: string, many = `${one}s`) => `${number(value)} ${value === 1 ? one : many}`;

export function stamp(time: number) {
  return Date.now() - time < 12 * HOUR ? clock(time) : dayAndTime.format(time);
}

/** `250 ms`, `12.4 s`, `3 m 20 s`, `2 h 5 m`, `4 d`. */
export function duration(ms: number): string {
  if (ms < SECOND) return `${Math.max(0, Math.round(ms))} ms`;
  if (ms < MINUTE) return `${Number((ms / SECOND).toFixed(ms < 10 * SECOND ? 1 : 0))} s`;
  if (ms < HOUR) return two(ms, MINUTE, 'm', SECOND, 's');
  if (ms < DAY) return two(ms, HOUR, 'h', MINUTE, 'm');
  return two(ms, DAY, 'd', HOUR, 'h');
}

/** A clock that runs behind the hub's must not make events come from the future. */
export function ago(time: number, now = Date.now()): string {
  const ms = Math.max(0, now - time);
  if (ms < 5 * SECOND) return 'just now';
  if (ms < MINUTE) return `${Math.floor(ms / SECOND)} s ago`;
  if (ms < HOUR) return `${Math.floor(ms / MINUTE)} m ago`;
  if (ms < DAY) return `${Math.floor(ms / HOUR)} h ago`;
  return `${Math.floor(ms / DAY)} d ago`;
}

function two(ms: number, large: number, largeName: string, small: number, smallName: string) {
  const first = Math.floor(ms / large);
  const second = Math.floor((ms % large) / small);
  return second ? `${first} ${largeName} ${second} ${smallName}` : `${first} ${largeName}`;
}

export interface LastSeen {
  text: string;
  title: string;
}

/**
 * When a server was last heard. Heartbeats are not on the stream, but a connected server that has missed none was heard
 * within one and a half intervals, or the hub would have said so.
 */
export function lastSeen(server: Server, now = Date.now()): LastSeen {
  const known = `Last exact time known: ${exact(server.lastSeenAt)}`;
  const onTime = server.status === 'connected' && server.missedHeartbeats === 0;
  const interval = server.heartbeatIntervalMs;
  if (!onTime) return { text: ago(server.lastSeenAt, now), title: exact(server.lastSeenAt) };
  if (interval === undefined) return { text: 'on time', title: known };
  const within = 1.5 * interval;
  if (now - server.lastSeenAt <= within) return { text: ago(server.lastSeenAt, now), title: exact(server.lastSeenAt) };
  return { text: `within ${duration(within)}`, title: `On time: a heartbeat every ${duration(interval)}. ${known}` };
}

const REASONS: Record<string, string> = {
  missed_heartbeats: 'Missed heartbeats',
  heartbeats_resumed: 'Heartbeats resumed',
  reported: 'Reported by the server itself',
  deregistered: 'Deregistered',
  removed: 'Removed',
  heartbeat_timeout: 'Stopped sending heartbeats',
  probe_failed: 'Stopped answering probes',
  replaced: 'Replaced by a newer instance',
  step_failed: 'A step failed',
  timeout: 'Ran out of time',
  cancelled: 'Cancelled',
  expired: 'older events were pruned',
  corrupt: 'a stored event is unreadable',
  unreadable: 'this page could not make sense of an event',
  unknown_log: 'the hub now serves another log',
  malformed: 'the hub did not recognise our place in its log',
};

export function reason(code: string | undefined): string {
  if (!code) return '';
  return Object.hasOwn(REASONS, code) ? REASONS[code]! : /^[a-z_]+$/.test(code) ? sentence(code.replaceAll('_', ' ')) : code;
}

/** Why a server stands as it does, in words; empty where there is nothing to explain. */
export function why(server: Server): string {
  return visible(causeOf(server));
}

function causeOf(server: Server): string {
  // Its detail is how long the server had been silent when it was given up: by now it is longer, as "last heartbeat" tells.
  if (server.status === 'disconnected') return reason(server.reason);
  if (server.detail) return sentence(server.detail);
  if (server.reason === 'missed_heartbeats' && server.missedHeartbeats > 0) return `Missed ${plural(server.missedHeartbeats, 'heartbeat')}`;
  return reason(server.reason);
}

/** What was wrong with a server that is well now; empty where nothing was. */
export function troubleBefore(trouble: Trouble | undefined, window: string, now = Date.now()): string {
  if (!trouble) return '';
  const cause = trouble.why ? `: ${lower(reason(trouble.why))}` : '';
  if (trouble.times === 1) return `Was ${trouble.standing} ${ago(trouble.at, now)}${cause}`;
  return `Ill ${number(trouble.times)} times in ${window}, last ${ago(trouble.at, now)}${cause}`;
}

export const sentence = (text: string) => text.charAt(0).toUpperCase() + text.slice(1);

export function errorText(error: unknown): string {
  if (error === undefined || error === null) return '';
  return visible(text(error) ?? text(fields(error).message) ?? write(error));
}

/** What an event says, in a line. */
export function summary(event: HubEvent): string {
  const data = dataOf(event);
  const told = words(event, data);
  const by = text(data.by);
  return told === undefined ? inALine(event.data) : visible(by ? `${told}, by ${by}` : told);
}

/** In a person's words; undefined of types that have none, and where the data holds nothing that the words could tell. */
function words(event: HubEvent, data: Fields): string | undefined {
  const name = text(data.name) ?? text(data.workflowId) ?? 'A workflow';
  const step = text(data.stepId) ?? 'A step';
  switch (event.type) {
    case 'server_connected': {
      const { transport, capabilities } = connectionOf(data.connection, 'A server')!;
      const tools = capabilities.tools.length;
      const changes = text(data.changes) ?? texts(data.changes).join(', ');
      return `${serverName(event)} ${data.reconnected === true ? 'is back' : 'connected'}${transport ? ` over ${transport}` : ''}${tools ? `, ${plural(tools, 'tool')}` : ''}${changes ? `, changed: ${changes}` : ''}${drift(data.drift)}`;
    }
    case 'server_updated':
      return `${serverName(event)} changed its ${texts(data.changed).join(', ') || 'description'}${drift(data.drift)}`;
    case 'server_disconnected': {
      const lasted = numberOf(data.connectedForMs);
      return `${serverName(event)} ${howItLeft(data)}${lasted === undefined ? '' : `, after ${duration(lasted)}`}`;
    }
    case 'server_instance_connected': {
      const { host, pid } = data;
      const process = [numberOf(pid) !== undefined || text(pid) ? `process ${write(pid).replaceAll('"', '')}` : '', text(host) ? `on ${text(host)}` : '', client(data.client) && `for ${client(data.client)}`];
      const where = process.filter(Boolean).join(' ');
      return `${instance(data)} connected${where && ` (${where})`}${countOf(data)}`;
    }
    case 'server_instance_disconnected':
      return `${instance(data)} ${howItLeft(data)}${countOf(data)}`;
    case 'server_health_changed': {
      const cause = text(data.detail) ?? lower(reason(text(data.reason)));
      return `${text(data.previousHealth) ?? 'unknown'} → ${text(data.health) ?? 'unknown'}${cause ? `: ${cause}` : ''}`;
    }
    case 'workflow_started':
      return `${name} started, ${plural(list(data.steps).length, 'step')}`;
    case 'workflow_step_started':
      return `${step} started${attempt(data)}`;
    case 'workflow_step_completed': {
      const [took, done, total] = [numberOf(data.durationMs), numberOf(data.completedSteps), numberOf(data.totalSteps)];
      return `${step} completed${took === undefined ? '' : ` in ${duration(took)}`}${done === undefined || total === undefined ? '' : `, ${number(done)} of ${number(total)}`}`;
    }
    case 'workflow_step_failed':
      return `${step} failed${data.willRetry === true ? ', will be retried' : ''}${after(errorText(data.error))}`;
    case 'workflow_completed': {
      const took = numberOf(data.durationMs);
      return `${name} completed${took === undefined ? '' : ` in ${duration(took)}`}`;
    }
    case 'workflow_failed':
      return data.reason === 'cancelled' ? `${name} was cancelled${after(errorText(data.error))}` : `${name} failed${after(errorText(data.error) || lower(reason(text(data.reason))))}`;
    case 'integration_status_changed': {
      const [before, status] = [text(data.previousStatus), text(data.status)];
      return status && `${before ? `${before} → ` : ''}${status}${because(data)}`;
    }
    case 'pattern_enabled':
    case 'pattern_disabled':
      return `${text(fields(data.pattern).name) ?? 'A pattern'} switched ${event.type === 'pattern_enabled' ? 'on' : 'off'}`;
    default:
      return undefined;
  }
}

const serverName = (event: HubEvent) => text(fields(dataOf(event).connection).name) || event.serverId || 'A server';
const after = (cause: string) => (cause ? `: ${cause}` : '');
const attempt = (data: Fields) => ((numberOf(data.attempt) ?? 1) > 1 ? `, attempt ${numberOf(data.attempt)}` : '');
const instance = (data: Fields) => (text(data.instanceId) ? `Instance ${text(data.instanceId)}` : 'An instance');

function howItLeft(data: Fields): string {
  const code = text(data.reason);
  return `${leftUnexpectedly(code, flag(data.expected)) ? 'was lost' : 'left'}${after(lower(reason(code)))}`;
}

function countOf(data: Fields): string {
  const count = numberOf(data.connectedInstances);
  return count === undefined ? '' : count === 0 ? ', none is left' : `, ${plural(count, 'instance')} now`;
}

/** Which program called it, as it named itself. */
export function client(value: unknown): string {
  const { name, version } = fields(value);
  return text(value) ?? [text(name), text(version)].filter(Boolean).join(' ');
}

/** Why the whole changed: the server whose event moved it, and which are lost. */
export function because(data: Fields): string {
  const { serverId, type } = fields(data.because);
  const cause = text(serverId) && `, because ${text(serverId)} ${DEEDS[text(type) ?? ''] ?? 'changed'}`;
  const lost = texts(data.lost);
  return `${cause ?? ''}${lost.length > 0 ? `; lost: ${lost.join(', ')}${(numberOf(data.lostServers) ?? 0) > lost.length ? ' and more' : ''}` : ''}`;
}

const DEEDS: Record<string, string> = { server_connected: 'connected', server_disconnected: 'left', server_health_changed: 'changed its health', server_updated: 'changed its description' };

/** What differs from before in what a server offers: `+new -gone ~changed (which fields)`. */
function drift(value: unknown): string {
  const parts = Object.entries(fields(value)).flatMap(([kind, change]) => {
    const { added, removed, changed } = fields(change);
    const names = (marked: unknown, mark: string) =>
      list(marked).map((item) => {
        const which = texts(fields(item).fields).join(', ');
        return `${mark}${text(item) ?? text(fields(item).name) ?? '?'}${which && ` (${which})`}`;
      });
    const all = [...names(added, '+'), ...names(removed, '−'), ...names(changed, '~')];
    return all.length > 0 ? [`${kind} ${all.join(' ')}`] : [];
  });
  return parts.length > 0 ? `; ${parts.join(', ')}` : '';
}

/** Data of any kind: an object's fields by name, all else as it is. */
function inALine(data: unknown): string {
  if (data === undefined) return '';
  const known = fields(data);
  if (data !== known) return write(data);
  return Object.entries(known)
    .map(([name, value]) => `${bare(name)}=${bare(value)}`)
    .join(' ');
}

/** A word as it is, all else as JSON. */
const bare = (value: unknown) => (typeof value === 'string' && /^[^\s"=\p{C}]+$/u.test(value) ? value : write(value));

function lower(text: string) {
  return text.charAt(0).toLowerCase() + text.slice(1);
}

export const SECOND = 1_000;
export const MINUTE = 60 * SECOND;
export const HOUR = 60 * MINUTE;
export const DAY = 24 * HOUR;
