// A real MCP server on the official SDK, as a client starts it.
import { McpServer, ResourceTemplate } from '@modelcontextprotocol/sdk/server/mcp.js';
import { StdioServerTransport } from '@modelcontextprotocol/sdk/server/stdio.js';
import { z } from 'zod';
import { report } from '@timeback/events/mcp';

const server = new McpServer({ name: 'LMS of Ghent', version: '2.1.0' });
server.registerTool('grade', { inputSchema: { score: z.number() } }, async ({ score }) => {
  if (score > 100) server.registerTool('appeal', {}, async () => ({ content: [] }));
  return { content: [{ type: 'text', text: score > 50 ? 'pass' : 'fail' }] };
});
server.registerResource('roster', 'roster://all', {}, async (uri) => ({ contents: [{ uri: uri.href, text: '30' }] }));
server.registerResource('student', new ResourceTemplate('student://{id}', { list: undefined }), {}, async (uri) => ({ contents: [{ uri: uri.href, text: '' }] }));
server.registerPrompt('feedback', {}, async () => ({ messages: [] }));

report(server, { tags: { school: 'ghent' } });
await server.connect(new StdioServerTransport());
