// The lines a reader can paste into a terminal: this page's own origin, and a token where the hub asks for one.

import { origin, queryString, type HistoryQuery } from '../hub/api';
import { store } from '../store';

export function registerCurl() {
  return lines('curl -X POST', '/servers', `'{"id":"lms-server-001","name":"LMS","transport":"http","tags":{"env":"dev"}}'`);
}

export function workflowCurl() {
  const definition = `'{"name":"grade-sync","steps":[{"id":"fetch"},{"id":"grade","dependsOn":["fetch"]},{"id":"publish","dependsOn":["grade"]}]}'`;
  return lines('curl -X POST', '/workflows', definition);
}

export function eventCurl() {
  return lines('curl -X POST', '/events', `'{"type":"grades.synced","data":{"course":"algebra-1","grades":28}}'`);
}

export function getCurl(path: string) {
  return lines('curl', path);
}

export function streamCurl(query: HistoryQuery) {
  return lines('curl -N', `/events${queryString(query)}`);
}

function lines(command: string, path: string, body?: string) {
  const parts = [`${command} ${quote(origin() + path)}`];
  if (store.session) parts.push(`-H "Authorization: Bearer $TOKEN"`);
  if (body) parts.push(`-H 'content-type: application/json'`, `-d ${body}`);
  return parts.join(' \\\n  ');
}

/** Whatever an id holds, the shell reads it as one word. */
function quote(text: string) {
  return /^[\w.:/-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}
