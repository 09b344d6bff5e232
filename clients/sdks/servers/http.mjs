// A Streamable HTTP server on the SDK that is installed beside it: with sessions, or made anew for each request.
import { randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import { report } from '@timeback/events/mcp';

const { SDK, NAME, MODE, PORT } = process.env;
const url = `http://127.0.0.1:${PORT}/mcp`;
const pass = async () => ({ content: [{ type: 'text', text: 'pass' }] });

function made(McpServer) {
  const server = new McpServer({ name: NAME, version: '2.1.0' });
  if (server.registerTool) server.registerTool('grade', { description: 'Grades' }, pass);
  else server.tool('grade', pass);
  return server;
}

if (SDK === 'fastmcp') {
  const { FastMCP } = await import('fastmcp');
  const server = new FastMCP({ name: NAME, version: '2.1.0', logger: console.error && { debug() {}, error: console.error, info() {}, log() {}, warn: console.error } });
  server.addTool({ name: 'grade', description: 'Grades', execute: async () => 'pass' });
  report(server, { url });
  await server.start({ transportType: 'httpStream', httpStream: { port: Number(PORT), host: '127.0.0.1', stateless: MODE === 'stateless' } });
} else if (SDK === 'v2') {
  const { McpServer, createMcpHandler } = await import('@modelcontextprotocol/server');
  const { toNodeHandler } = await import('@modelcontextprotocol/node');
  const handler = toNodeHandler(createMcpHandler(report(() => made(McpServer), { url })));
  createServer((request, response) => handler(request, response)).listen(Number(PORT), '127.0.0.1');
} else {
  const { McpServer } = await import('@modelcontextprotocol/sdk/server/mcp.js');
  const { StreamableHTTPServerTransport } = await import('@modelcontextprotocol/sdk/server/streamableHttp.js');
  // With sessions each server is reported by itself, and they are one at the hub all the same.
  const makeServer = MODE === 'stateless' ? report(() => made(McpServer), { url }) : () => { const server = made(McpServer); report(server); return server; };
  const sessions = new Map();
  createServer(async (request, response) => {
    let text = '';
    for await (const chunk of request) text += chunk;
    const body = text && JSON.parse(text);
    let transport = sessions.get(request.headers['mcp-session-id']);
    if (!transport) {
      transport = new StreamableHTTPServerTransport({
        sessionIdGenerator: MODE === 'stateless' ? undefined : randomUUID,
        onsessioninitialized: (id) => sessions.set(id, transport),
      });
      const server = makeServer();
      await server.connect(transport);
      if (MODE === 'stateless') response.on('close', () => { transport.close(); server.close(); });
    }
    await transport.handleRequest(request, response, body);
  }).listen(Number(PORT), '127.0.0.1');
}
