// Compiled, never run: the types say what the hub's contract says.
import { Hub, HubError, type EventOf, type HubEvent } from '@timeback/events';
import { report } from '@timeback/events/mcp';
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';

const hub = new Hub('http://127.0.0.1:3001', { token: async () => 'secret', onGap: ({ reason, nextId }) => console.log(reason, nextId) });

hub.addEventListener((event: HubEvent) => {
  switch (event.type) {
    case 'server_connected':
      return event.data.connection.capabilities.tools.join();
    case 'workflow_step_failed':
      return event.data.willRetry;
    case 'integration_status_changed':
      return event.data.lostServers.toFixed();
    case 'grades.synced':
      return event.data['count'];
  }
});

const off: () => void = hub.addEventListener('server_health_changed', ({ data }) => data.health === 'unhealthy' && data.detail?.trim());
hub.addEventListener(['workflow_completed', 'workflow_failed'], (event) => {
  if (event.type === 'workflow_failed') console.log(event.data.failedStep);
  // @ts-expect-error: not one of the two
  event.type === 'server_connected';
});
// @ts-expect-error: no such type
hub.addEventListener('server_conected', () => {});

async function main() {
  for await (const event of hub.events({ type: 'workflow_completed', since: '15m' })) console.log(event.data.results[0]?.step);
  for await (const event of hub.events({ type: ['pattern_enabled', 'pattern_disabled'] })) console.log(event.data.pattern.name);
  for await (const event of hub.events({ type: 'workflow_*', tag: ['region:eu'], snapshot: true, onSnapshot: ({ servers }) => servers.length })) {
    const any: HubEvent = event;
    console.log(any.sequence);
  }
  const custom: EventOf<'grades.synced'> | undefined = undefined;
  const server = await hub.register({ name: 'LMS', transport: 'stdio', heartbeatIntervalMs: 1_000 });
  await server.heartbeat({ health: 'degraded', metrics: { queue: 3 } });
  const { attempt } = await hub.workflow.claim('w', 's', server.identity);
  await hub.workflow.step('w', 's', { ...server.identity, status: 'completed', attempt }).catch((error) => {
    if (error instanceof HubError) console.log(error.problem.errors?.[0]?.pointer);
  });
  const end: 'deregistered' | 'replaced' = await server.closed;
  const [id]: (string | null)[] = await hub.emit([{ type: 'grades.synced', data: { count: 30 } }]);
  report(new McpServer({ name: 'lms', version: '1.0.0' }), { hub, tags: { region: 'eu' } });
  off();
  return { custom, end, id };
}

main();
