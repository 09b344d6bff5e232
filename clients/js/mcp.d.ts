import type { Hub, RegisteredServer, ServerDescription } from './index.d.ts';

export interface ReportOptions extends Partial<Omit<ServerDescription, 'instances' | 'instanceId'>> {
  /** Default: `new Hub()`, which `TIMEBACK_EVENTS_URL` points elsewhere. */
  hub?: Hub;
  /** Of a server that clients reach over the network: it is then reported as long as the process lives. */
  url?: string;
  /** Trouble with the hub, once per outage; it never troubles the server. Default: a line on standard error. */
  onError?(error: Error): void;
  /** The end of it. Default: another line, if `onError` is the default too. */
  onRecovery?(message: string): void;
}

export interface Report {
  /** The server at the hub, once it is registered there. */
  readonly registered: Promise<RegisteredServer>;
  /** Deregisters. Happens by itself when a stdio server's connection closes or the process is told to end. */
  close(reason?: string, options?: { expected?: boolean }): Promise<void>;
}

/** An `McpServer` or `Server` of the official TypeScript SDK. */
export interface McpServerLike {
  connect(transport: any): Promise<void>;
}

/** A `FastMCP` of the npm package `fastmcp`. */
export interface FastMcpLike {
  start(options?: any): Promise<void>;
  readonly sessions: readonly unknown[];
}

/** Reports a server from its next `connect` on, or at once if it has a `url`. */
export function report(server: McpServerLike | FastMcpLike, options?: ReportOptions): Report;
/** For a server per request, session or connection: use what is handed back in place of `makeServer`. */
export function report<MakeServer extends (...args: any[]) => McpServerLike | Promise<McpServerLike>>(makeServer: MakeServer, options?: ReportOptions): MakeServer & Report;
