import type { Hub, RegisteredServer, ServerDescription } from './index.d.ts';

export interface ReportOptions extends Partial<ServerDescription> {
  /** Default: `new Hub()`, which `TIMEBACK_EVENTS_URL` points elsewhere. */
  hub?: Hub;
  /** Of a server that clients reach over the network: it is then reported as long as the process lives. */
  url?: string;
  /** Trouble with the hub, which never troubles the server. Default: a line on standard error. */
  onError?(error: Error): void;
}

export interface Report {
  /** The server at the hub, once it is registered there. */
  readonly registered: Promise<RegisteredServer>;
  /** Deregisters. Happens by itself when the connection closes or the process is told to end. */
  close(reason?: string): Promise<void>;
}

/** An `McpServer` or `Server` of the official TypeScript SDK. */
export interface McpServerLike {
  connect(transport: any): Promise<void>;
}

export function report(server: McpServerLike, options?: ReportOptions): Report;
