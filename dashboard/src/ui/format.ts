// Numbers, times and reasons in words.

import type { Capability, HubEvent, Server } from '../hub/protocol';

const count = new Intl.NumberFormat('en');
const exactTime = new Intl.DateTimeFormat('en-GB', { dateStyle: 'medium', timeStyle: 'long' });
const clockTime = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit' });
const dayAndTime = new Intl.DateTimeFormat('en-GB', { day: 'numeric', month: 'short', hour: '2-digit', minute: '2-digit' });

export const number = (value: number) => count.format(value);
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
  heartbeat_timeout: 'Stopped sending heartbeats',
  replaced: 'Replaced by a newer instance',
  step_failed: 'A step failed',
  timeout: 'Ran out of time',
  cancelled: 'Cancelled',
  expired: 'older events were pruned',
  corrupt: 'a stored event is unreadable',
  unknown_log: 'the hub now serves another log',
  malformed: 'the hub did not recognise our place in its log',
};

export function reason(code: string | undefined): string {
  if (!code) return '';
  return REASONS[code] ?? (/^[a-z_]+$/.test(code) ? sentence(code.replaceAll('_', ' ')) : code);
}

/** Why a server stands as it does, in words; empty where there is nothing to explain. */
export function why(server: Server): string {
  // Its detail is how long the server had been silent when it was given up: by now it is longer, as "last heartbeat" tells.
  if (server.status === 'disconnected') return reason(server.reason);
  if (server.detail) return sentence(server.detail);
  if (server.reason === 'missed_heartbeats' && server.missedHeartbeats > 0) return `Missed ${plural(server.missedHeartbeats, 'heartbeat')}`;
  return reason(server.reason);
}

export const sentence = (text: string) => text.charAt(0).toUpperCase() + text.slice(1);

export function capabilityName(capability: Capability): string {
  return typeof capability === 'string' ? capability : (capability.name ?? capability.uri ?? 'unnamed');
}

export function errorText(error: unknown): string {
  if (error === undefined || error === null) return '';
  if (typeof error === 'string') return error;
  const message = (error as { message?: unknown }).message;
  return typeof message === 'string' ? message : JSON.stringify(error);
}

/** What an event says, in a line. */
export function summary(event: HubEvent): string {
  const data = event.data as any;
  switch (event.type) {
    case 'server_connected': {
      const { name, transport, capabilities } = data.connection;
      const tools = capabilities?.tools?.length ?? 0;
      return `${name} ${data.reconnected ? 'is back' : 'connected'}${transport ? ` over ${transport}` : ''}${tools ? `, ${plural(tools, 'tool')}` : ''}`;
    }
    case 'server_updated':
      return `${data.connection.name} changed its ${(data.changed ?? []).join(', ') || 'description'}`;
    case 'server_disconnected':
      return `${data.connection?.name ?? event.serverId} left: ${lower(reason(data.reason))}`;
    case 'server_health_changed':
      return `${data.previousHealth} → ${data.health}${data.detail || data.reason ? `: ${data.detail ?? lower(reason(data.reason))}` : ''}`;
    case 'workflow_started':
      return `${data.name} started, ${plural(data.steps?.length ?? 0, 'step')}`;
    case 'workflow_step_started':
      return `${data.stepId} started${data.attempt > 1 ? `, attempt ${data.attempt}` : ''}`;
    case 'workflow_step_completed':
      return `${data.stepId} completed${data.durationMs === undefined ? '' : ` in ${duration(data.durationMs)}`}, ${data.completedSteps} of ${data.totalSteps}`;
    case 'workflow_step_failed':
      return `${data.stepId} failed${data.willRetry ? ', will be retried' : ''}: ${errorText(data.error)}`;
    case 'workflow_completed':
      return `${data.name} completed in ${duration(data.durationMs)}`;
    case 'workflow_failed':
      return `${data.name} failed: ${errorText(data.error) || lower(reason(data.reason))}`;
    case 'integration_status_changed':
      return `${data.previousStatus ? `${data.previousStatus} → ` : ''}${data.status}`;
    case 'pattern_enabled':
    case 'pattern_disabled':
      return `${data.pattern?.name} switched ${event.type === 'pattern_enabled' ? 'on' : 'off'}`;
    default:
      return Object.entries(event.data)
        .map(([name, value]) => `${name}=${typeof value === 'string' && !/[\s"=]/.test(value) ? value : JSON.stringify(value)}`)
        .join(' ');
  }
}

function lower(text: string) {
  return text.charAt(0).toLowerCase() + text.slice(1);
}

export const SECOND = 1_000;
export const MINUTE = 60 * SECOND;
export const HOUR = 60 * MINUTE;
export const DAY = 24 * HOUR;
