// The official TypeScript clients, of 1.x and 2.x, as strangers to the hub: client.mjs sdk1|client2 http|stdio URL BINARY
import assert from "node:assert/strict";

const [generation, transport, url, binary] = process.argv.slice(2);
const own = { name: "peer", version: "1.0.0" };
const modules =
  generation === "sdk1"
    ? {
        ...(await import("@modelcontextprotocol/sdk/client/index.js")),
        ...(await import("@modelcontextprotocol/sdk/client/streamableHttp.js")),
        ...(await import("@modelcontextprotocol/sdk/client/stdio.js")),
      }
    : {
        ...(await import("@modelcontextprotocol/client")),
        ...(await import("@modelcontextprotocol/client/stdio")),
      };
const { Client, StreamableHTTPClientTransport, StdioClientTransport } = modules;
const eras = generation === "sdk1" ? [{}] : [{}, { versionNegotiation: { mode: "auto" } }];

for (const options of eras) {
  const client = new Client(own, options);
  const line =
    transport === "http"
      ? new StreamableHTTPClientTransport(new URL(`${url}/mcp`))
      : new StdioClientTransport({ command: binary, args: ["mcp", "--url", url] });
  await client.connect(line);
  assert.equal(client.getServerVersion().name, "timeback-events");
  const { tools } = await client.listTools();
  assert.equal(tools.length, 12);
  const call = async (name, args = {}) => {
    const answer = await client.callTool({ name, arguments: args });
    assert.ok(!answer.isError, JSON.stringify(answer));
    return answer.structuredContent;
  };
  const status = await call("fleet_status");
  const waiting = call("wait_for_events", { cursor: status.lastEventId, type: "peer.spoke", timeoutMs: 20000 });
  const { id } = await call("publish_event", { type: "peer.spoke", data: { generation } });
  const { events } = await waiting;
  assert.equal(events[0].id, id);
  const { resources } = await client.listResources();
  assert.ok(resources.some(({ uri }) => uri === "timeback://status"));
  const { contents } = await client.readResource({ uri: "timeback://status" });
  assert.ok(JSON.parse(contents[0].text).status);
  const { messages } = await client.getPrompt({ name: "what_is_wrong" });
  assert.ok(messages[0].content.text.includes("The fleet is"));
  const refused = await client.callTool({ name: "get_server", arguments: { serverId: "nobody" } });
  assert.ok(refused.isError && refused.content[0].text.includes("server-not-found"));
  await client.close();
  console.log(`${generation} ${transport} ${JSON.stringify(options)}: passed`);
}
process.exit(0);
