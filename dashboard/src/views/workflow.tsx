import { useEffect, useMemo, useState } from 'preact/hooks';
import { api } from '../hub/api';
import type { HubEvent, Step, Workflow } from '../hub/protocol';
import { workflowIdOf } from '../hub/shapes';
import { failedStep, type State } from '../hub/state';
import { link } from '../router';
import { useStore } from '../store';
import { CopyButton, Empty, Fact, Facts, Json, STEP_WORDS, StepMark, Time } from '../ui/bits';
import { duration, errorText, exact, plural, reason, sentence } from '../ui/format';
import { usePhone } from '../ui/virtual';
import { attemptsOf, lanesOf, layOut, ticks, type Attempt } from '../workflow-layout';
import { getCurl } from './curl';
import { Progress } from './workflows';

export function WorkflowPage({ id, workflow, state }: { id: string; workflow?: Workflow; state: State }) {
  if (!workflow) {
    return (
      <section class="view">
        <h1 class="visually-hidden">Workflow</h1>
        <Empty title="This workflow is not known">
          <p>
            <code>{id}</code> may never have started, or it ended so long ago that the hub let go of it.
          </p>
          <a class="button" href={link('workflows')}>
            All workflows
          </a>
        </Empty>
      </section>
    );
  }
  return <Details workflow={workflow} state={state} />;
}

function Details({ workflow, state }: { workflow: Workflow; state: State }) {
  const events = useWorkflowEvents(workflow.id);
  const attempts = useMemo(() => attemptsOf(workflow, events), [workflow, events]);
  const culprit = failedStep(workflow);
  const [chosen, setChosen] = useState<string>();
  const step = workflow.steps.find((candidate) => candidate.id === chosen);
  return (
    <section class="view scrolling workflow-page" aria-labelledby="workflow-title">
      <nav class="crumbs" aria-label="Breadcrumb">
        <a href={link('workflows')}>Workflows</a>
        <span aria-hidden="true">/</span>
        <span class="id">{workflow.id}</span>
      </nav>
      <header class="page-head">
        <h1 id="workflow-title">{workflow.name}</h1>
        <span class={`status-word step-${workflow.status}`}>
          <StepMark status={workflow.status} />
          {sentence(workflow.status)}
        </span>
        <Progress workflow={workflow} />
        <span class="muted">
          started <Time at={workflow.startedAt} />, {workflow.endedAt === undefined ? 'running for' : 'took'} {duration((workflow.endedAt ?? Date.now()) - workflow.startedAt)}
        </span>
        <span class="spring" />
        <CopyButton small text={() => getCurl(`/workflows/${workflow.id}`)} label="Copy as curl" />
      </header>
      {workflow.description && <p class="muted lead">{workflow.description}</p>}
      {workflow.status === 'cancelled' && (
        <div class="failure calm" role="group" aria-label="Why it was cancelled">
          <StepMark status="cancelled" />
          <div>
            <b>Cancelled</b>
            <p>{errorText(workflow.error)}</p>
          </div>
        </div>
      )}
      {workflow.status === 'failed' && (
        <div class="failure" role="group" aria-label="Why it failed">
          <StepMark status="failed" />
          <div>
            <b>{reason(workflow.reason) || 'Failed'}</b>
            {culprit && <> in {culprit}</>}
            <p>{errorText(workflow.error)}</p>
          </div>
          {culprit && (
            <button type="button" class="button" onClick={() => setChosen(culprit)}>
              Show the step
            </button>
          )}
        </div>
      )}
      <div class={step ? 'with-side chosen' : 'with-side'}>
        <div class="with-side-main">
          {workflow.steps.length === 0 ? (
            <Empty title="No steps yet">
              <p>This workflow declared none; each one appears when it is first reported.</p>
            </Empty>
          ) : (
            <>
              <h2>Dependencies</h2>
              <GraphView steps={workflow.steps} chosen={chosen} onChoose={setChosen} />
              <h2>Timeline</h2>
              <Timeline workflow={workflow} attempts={attempts} state={state} chosen={chosen} onChoose={setChosen} />
            </>
          )}
        </div>
        {step && <StepPanel step={step} attempts={attempts.filter((attempt) => attempt.stepId === step.id)} onClose={() => setChosen(undefined)} />}
      </div>
    </section>
  );
}

const NODE = { width: 176, height: 46, gapX: 52, gapY: 18, pad: 4 };
const BEND = 28;

function GraphView({ steps, chosen, onChoose }: { steps: Step[]; chosen?: string; onChoose: (id: string) => void }) {
  const graph = useMemo(() => layOut(steps), [steps]);
  const x = (column: number) => NODE.pad + column * (NODE.width + NODE.gapX);
  const y = (row: number) => NODE.pad + row * (NODE.height + NODE.gapY);
  const width = x(graph.columns) - NODE.gapX + NODE.pad;
  const height = y(graph.rows) - NODE.gapY + NODE.pad;
  return (
    <div class="graph" role="group" aria-label="Steps and what they depend on" tabIndex={0}>
      <div class="graph-canvas" style={{ width: `${width}px`, height: `${height}px` }}>
        <svg width={width} height={height} aria-hidden="true">
          {graph.edges.map(({ from, to, via }) => {
            const middle = (row: number) => y(row) + NODE.height / 2;
            let path = `M${x(from.column) + NODE.width} ${middle(from.row)}`;
            let row = from.row;
            for (const point of [...via, to]) {
              const left = x(point.column);
              const start = left - NODE.gapX;
              path += `C${start + BEND} ${middle(row)} ${left - BEND} ${middle(point.row)} ${left} ${middle(point.row)}`;
              if (point !== to) path += `H${left + NODE.width}`;
              row = point.row;
            }
            return <path key={`${from.step.id} ${to.step.id}`} class={`edge ${from.step.status}`} d={path} />;
          })}
        </svg>
        {graph.nodes.map(({ step, column, row }) => {
          const where = step.serverId ?? step.server ?? step.tool;
          return (
            <button
              type="button"
              key={step.id}
              class={`node ${step.status}`}
              aria-pressed={step.id === chosen}
              style={{ left: `${x(column)}px`, top: `${y(row)}px`, width: `${NODE.width}px`, height: `${NODE.height}px` }}
              onClick={() => onChoose(step.id)}
            >
              <StepMark status={step.status} />
              <span class="node-name">{step.name ?? step.id}</span>
              {step.attempt > 1 && <span class="node-attempt">#{step.attempt}</span>}
              <span class="node-where">{where ?? STEP_WORDS[step.status]}</span>
              <span class="visually-hidden">
                {where && STEP_WORDS[step.status]}
                {step.dependsOn.length > 0 && `, after ${step.dependsOn.join(', ')}`}
              </span>
            </button>
          );
        })}
      </div>
    </div>
  );
}

interface TimelineProps {
  workflow: Workflow;
  attempts: Attempt[];
  state: State;
  chosen?: string;
  onChoose: (id: string) => void;
}

function Timeline({ workflow, attempts, state, chosen, onChoose }: TimelineProps) {
  const phone = usePhone();
  const end = workflow.endedAt ?? Date.now();
  const length = Math.max(1, end - workflow.startedAt);
  if (attempts.length === 0) return <p class="muted">No step has been claimed yet.</p>;
  const left = (time: number) => `${Math.max(0, Math.min(100, ((time - workflow.startedAt) / length) * 100))}%`;
  const name = (stepId: string) => workflow.steps.find((step) => step.id === stepId)?.name ?? stepId;
  return (
    <div class="timeline">
      <div class="timeline-axis" aria-hidden="true">
        {ticks(length, phone ? 4 : 8).map((tick) => (
          <span key={tick} style={{ left: left(workflow.startedAt + tick) }}>
            {tick === 0 ? '0' : duration(tick)}
          </span>
        ))}
      </div>
      {lanesOf(attempts, end).map((lane) => (
        <div class="lane" key={lane.serverId ?? ''} role="group" aria-label={`Server ${lane.serverId ?? 'not named'}`}>
          <div class="lane-name">
            {lane.serverId === undefined ? (
              <span class="muted">no server named</span>
            ) : state.servers.has(lane.serverId) ? (
              <a href={link('servers', lane.serverId)}>{state.servers.get(lane.serverId)!.name}</a>
            ) : (
              lane.serverId
            )}
          </div>
          <div class="lane-rows">
            {lane.rows.map((row, index) => (
              <div class="lane-row" key={index}>
                {row.map((attempt) => {
                  const took = (attempt.to ?? end) - attempt.from;
                  const text = `${name(attempt.stepId)}${attempt.attempt > 1 ? ` #${attempt.attempt}` : ''}`;
                  const label = `${text}, attempt ${attempt.attempt}, ${STEP_WORDS[attempt.status]}${attempt.status === 'running' ? ' for' : ' after'} ${duration(took)}`;
                  return (
                    <button
                      type="button"
                      key={`${attempt.stepId} ${attempt.attempt}`}
                      class={`bar ${attempt.status}`}
                      aria-pressed={attempt.stepId === chosen}
                      aria-label={label}
                      title={label}
                      style={{ left: left(attempt.from), width: `${(took / length) * 100}%` }}
                      onClick={() => onChoose(attempt.stepId)}
                    >
                      {attempt.status === 'failed' && <StepMark status="failed" />}
                      <span>{text}</span>
                    </button>
                  );
                })}
              </div>
            ))}
          </div>
        </div>
      ))}
    </div>
  );
}

function StepPanel({ step, attempts, onClose }: { step: Step; attempts: Attempt[]; onClose: () => void }) {
  return (
    <aside class="side" aria-label={`Step ${step.name ?? step.id}`}>
      <header class="drawer-head">
        <h2>{step.name ?? step.id}</h2>
        <button type="button" class="icon-button" aria-label="Close the step" onClick={onClose}>
          <svg viewBox="0 0 16 16" aria-hidden="true">
            <path d="M3.5 3.5l9 9M12.5 3.5l-9 9" />
          </svg>
        </button>
      </header>
      <p class={`status-word step-${step.status}`}>
        <StepMark status={step.status} />
        {sentence(STEP_WORDS[step.status])}
      </p>
      {step.status === 'aborted' ? <p class="muted">It was running when its workflow ended; it did not fail by itself.</p> : errorText(step.error) && <pre class="error-text">{errorText(step.error)}</pre>}
      <Facts>
        <Fact name="Id">
          <code>{step.id}</code>
        </Fact>
        {(step.serverId ?? step.server) && (
          <Fact name="Server">
            <a href={link('servers', (step.serverId ?? step.server)!)}>{step.serverId ?? step.server}</a>
            {!step.serverId && ' (declared)'}
          </Fact>
        )}
        {step.tool && (
          <Fact name="Tool">
            <code>{step.tool}</code>
          </Fact>
        )}
        <Fact name="After">{step.dependsOn.join(', ') || 'nothing'}</Fact>
        <Fact name="Attempts">
          {step.attempt} of {step.retries + 1}
        </Fact>
        {step.timeout !== undefined && <Fact name="Timeout">{duration(step.timeout)}</Fact>}
        {!step.required && <Fact name="Required">no: what depends on it goes on when it fails</Fact>}
      </Facts>
      {attempts.length > 0 && (
        <>
          <h3>{plural(attempts.length, 'attempt')}</h3>
          <ol class="attempts">
            {attempts.map((attempt) => (
              <li key={attempt.attempt}>
                <StepMark status={attempt.status} />
                <div>
                  <b>#{attempt.attempt}</b> {STEP_WORDS[attempt.status]}
                  {attempt.to !== undefined && ` after ${duration(attempt.to - attempt.from)}`}
                  {attempt.serverId && ` on ${attempt.serverId}`}
                  <span class="muted" title={exact(attempt.from)}>
                    , <Time at={attempt.from} />
                  </span>
                  {errorText(attempt.error) && <p class="attempt-error">{errorText(attempt.error)}</p>}
                  {attempt.willRetry && <p class="muted">Retried</p>}
                </div>
              </li>
            ))}
          </ol>
        </>
      )}
      {step.result !== undefined && (
        <>
          <h3>Result</h3>
          <Json value={step.result} />
        </>
      )}
    </aside>
  );
}

/** The workflow's past from history, and what the stream has brought since. */
function useWorkflowEvents(workflowId: string): HubEvent[] {
  const { feed } = useStore();
  const [past, setPast] = useState<HubEvent[]>([]);
  useEffect(() => {
    const abort = new AbortController();
    readAll(workflowId, abort.signal).then(setPast, () => setPast([]));
    return () => abort.abort();
  }, [workflowId]);
  return useMemo(() => {
    const known = new Set(past.map(({ id }) => id));
    return [...past, ...feed.events.filter((event) => workflowIdOf(event) === workflowId && !known.has(event.id))].sort((a, b) => a.sequence - b.sequence);
  }, [past, feed.version, workflowId]);
}

async function readAll(workflowId: string, signal: AbortSignal) {
  const events: HubEvent[] = [];
  let cursor: string | undefined;
  do {
    const page = await api.history({ workflowId, limit: 1000, cursor }, signal);
    events.push(...page.events);
    cursor = page.nextCursor;
  } while (cursor);
  return events;
}
