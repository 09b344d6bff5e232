// A stdio server on the SDK that is installed beside it, as an MCP client starts it.
import { report } from '@timeback/events/mcp';

const { SDK, NAME, BEAT } = process.env;
const options = BEAT ? { heartbeatIntervalMs: Number(BEAT) } : {};
const pass = async () => ({ content: [{ type: 'text', text: 'pass' }] });

function made(McpServer) {
  const server = new McpServer({ name: NAME, version: '2.1.0' });
  if (server.registerTool) server.registerTool('grade', { description: 'Grades' }, pass);
  else server.tool('grade', pass);
  return server;
}

if (SDK === 'fastmcp') {
  const { FastMCP } = await import('fastmcp');
  const server = new FastMCP({ name: NAME, version: '2.1.0' });
  server.addTool({ name: 'grade', description: 'Grades', execute: async () => 'pass' });
  report(server, options);
  await server.start({ transportType: 'stdio' });
} else if (SDK === 'v2') {
  const { McpServer } = await import('@modelcontextprotocol/server');
  const { serveStdio } = await import('@modelcontextprotocol/server/stdio');
  serveStdio(report(() => made(McpServer), options));
} else {
  const { McpServer } = await import('@modelcontextprotocol/sdk/server/mcp.js');
  const { StdioServerTransport } = await import('@modelcontextprotocol/sdk/server/stdio.js');
  const server = made(McpServer);
  report(server, options);
  await server.connect(new StdioServerTransport());
}
