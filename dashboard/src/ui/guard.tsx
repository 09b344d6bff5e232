// Keeps what can't be drawn from taking the rest of the page with it, and says what is missing.

import { Component, type ComponentChildren } from 'preact';

interface Props {
  /** What the reader is told is missing. */
  what: string;
  /** Where this changes, drawing is tried again. */
  retryOn?: unknown;
  /** In a list: one line in place of the whole. */
  inline?: boolean;
  children: ComponentChildren;
}

interface State {
  problem?: string;
}

export class Guard extends Component<Props, State> {
  state: State = {};

  static getDerivedStateFromError(error: unknown): State {
    return { problem: error instanceof Error ? error.message : String(error) };
  }

  componentDidCatch(error: unknown) {
    console.error(`${this.props.what} can't be shown`, error);
  }

  componentDidUpdate(before: Props) {
    if (this.state.problem !== undefined && before.retryOn !== this.props.retryOn) this.setState({ problem: undefined });
  }

  render({ what, inline, children }: Props, { problem }: State) {
    if (problem === undefined) return children;
    if (inline) return <span class="unshown">{what} can’t be shown in a line</span>;
    return (
      <div class="empty" role="alert">
        <h2>{what} can’t be shown</h2>
        <p>
          This page made a mistake over what the hub holds; the hub and the other views are not concerned. For whoever mends it: <code>{problem}</code>
        </p>
        <button type="button" class="button" onClick={() => this.setState({ problem: undefined })}>
          Try again
        </button>
      </div>
    );
  }
}
