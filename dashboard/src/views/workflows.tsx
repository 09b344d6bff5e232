import { useMemo, useRef, useState } from 'preact/hooks';
import type { Workflow, WorkflowStatus } from '../hub/protocol';
import { failedStep, type State } from '../hub/state';
import { link } from '../router';
import { Code, Empty, Search, Segments, STEP_WORDS, StepMark, Time, type Segment } from '../ui/bits';
import { duration, errorText, plural, reason } from '../ui/format';
import { usePhone, useWindow } from '../ui/virtual';
import { workflowCurl } from './curl';
import { WorkflowPage } from './workflow';

type Show = 'all' | WorkflowStatus;

export function Workflows({ state, selected }: { state: State; selected?: string }) {
  if (selected !== undefined) return <WorkflowPage key={selected} id={selected} workflow={state.workflows.get(selected)} state={state} />;
  return <WorkflowList state={state} />;
}

function WorkflowList({ state }: { state: State }) {
  const [show, setShow] = useState<Show>('all');
  const [search, setSearch] = useState('');
  const all = useMemo(() => [...state.workflows.values()].sort(runningThenRecent), [state.workflows]);
  const matching = useMemo(() => all.filter((workflow) => found(workflow, search)), [all, search]);
  const rows = matching.filter((workflow) => show === 'all' || workflow.status === show);
  const scroller = useRef<HTMLDivElement>(null);
  const phone = usePhone();
  const { first, last, before, after } = useWindow(scroller, rows.length, phone ? 84 : 52);

  if (all.length === 0) {
    return (
      <section class="view">
        <h1 class="visually-hidden">Workflows</h1>
        <Empty title="No workflow has run yet">
          <p>A workflow is a set of steps that depend on each other; servers claim the ones that are ready. Start a first one:</p>
          <Code text={workflowCurl()} />
        </Empty>
      </section>
    );
  }
  const count = (status: WorkflowStatus) => matching.filter((workflow) => workflow.status === status).length;
  const segments: Segment<Show>[] = [
    { value: 'all', label: 'All', count: matching.length },
    { value: 'running', label: 'Running', count: count('running'), mark: <StepMark status="running" /> },
    { value: 'completed', label: 'Completed', count: count('completed'), mark: <StepMark status="completed" /> },
    { value: 'failed', label: 'Failed', count: count('failed'), mark: <StepMark status="failed" /> },
    { value: 'cancelled', label: 'Cancelled', count: count('cancelled'), mark: <StepMark status="cancelled" /> },
  ];
  return (
    <section class="view" aria-labelledby="workflows-title">
      <h1 id="workflows-title" class="visually-hidden">
        Workflows
      </h1>
      <div class="toolbar">
        <Segments label="Filter by status" value={show} items={segments} onChange={setShow} />
        <div class="toolbar-fields">
          <Search label="Search workflows" value={search} onInput={setSearch} hotkey />
        </div>
      </div>
      {rows.length === 0 ? (
        <Empty title="No workflow matches">
          <button type="button" class="button" onClick={() => (setSearch(''), setShow('all'))}>
            Clear the filters
          </button>
        </Empty>
      ) : (
        <div class="scroller" ref={scroller} tabIndex={-1}>
          <ul class="workflow-list" aria-label="Workflows" style={{ paddingTop: `${before}px`, paddingBottom: `${after}px` }}>
            
            {rows.slice(first, last).map((workflow) => (
              <li key={workflow.id} class={`workflow-row ${workflow.status}`}>
                <a href={link('workflows', workflow.id)}>
                  <StepMark status={workflow.status} />
                  <span class="w-name">
                    <b>
                      {workflow.name}
                      <span class="visually-hidden"> {workflow.status}</span>
                    </b>
                    <span class="id">{workflow.id}</span>
                  </span>
                  <Progress workflow={workflow} />
                  <span class="w-now">{currentWord(workflow)}</span>
                  <span class="w-time">
                    <Time at={workflow.startedAt} />
                    <span class="muted">{duration((workflow.endedAt ?? Date.now()) - workflow.startedAt)}</span>
                  </span>
                </a>
              </li>
            ))}
            
          </ul>
        </div>
      )}
    </section>
  );
}

/** A cell per step while they can be told apart, in the order in which they were declared. */
export function Progress({ workflow }: { workflow: Workflow }) {
  const cells = workflow.steps.length <= 40;
  const parts = (['failed', 'aborted', 'skipped'] as const).flatMap((status) => {
    const count = workflow.steps.filter((step) => step.status === status).length;
    return count > 0 ? [`${count} ${STEP_WORDS[status]}`] : [];
  });
  const label = [`${workflow.completedSteps} of ${plural(workflow.totalSteps, 'step')} completed`, ...parts].join(', ');
  return (
    <span class="progress" role="img" aria-label={label} title={label}>
      <span class="progress-bar" aria-hidden="true">
        {cells
          ? workflow.steps.map((step) => <i key={step.id} class={step.status} />)
          : (['completed', 'failed', 'aborted', 'running', 'pending'] as const).map((status) => {
              const steps = workflow.steps.filter((step) => step.status === status || (status === 'pending' && (step.status === 'ready' || step.status === 'skipped'))).length;
              return steps > 0 && <i key={status} class={status} style={{ flexGrow: steps }} />;
            })}
      </span>
      <span class="progress-text" aria-hidden="true">
        {workflow.completedSteps}/{workflow.totalSteps}
      </span>
    </span>
  );
}

function currentWord(workflow: Workflow): string {
  if (workflow.status === 'failed') {
    const step = failedStep(workflow);
    const text = errorText(workflow.error) || reason(workflow.reason);
    return step && !text.includes(step) ? `${step}: ${text}` : text;
  }
  if (workflow.status === 'cancelled') return errorText(workflow.error);
  if (workflow.status === 'completed') return '';
  const running = workflow.steps.filter((step) => step.status === 'running');
  if (running.length > 0) return running.map((step) => `${step.name ?? step.id}${step.serverId ? ` on ${step.serverId}` : ''}`).join(', ');
  const ready = workflow.steps.filter((step) => step.status === 'ready');
  return ready.length > 0 ? `Waiting for a server to claim ${ready.map((step) => step.name ?? step.id).join(', ')}` : 'Waiting for a first report';
}

function runningThenRecent(a: Workflow, b: Workflow) {
  const running = Number(b.status === 'running') - Number(a.status === 'running');
  return running || (b.endedAt ?? b.startedAt) - (a.endedAt ?? a.startedAt);
}

function found(workflow: Workflow, search: string) {
  if (!search) return true;
  const text = `${workflow.id} ${workflow.name} ${workflow.description ?? ''} ${errorText(workflow.error)} ${workflow.steps.map((step) => `${step.id} ${step.serverId ?? step.server ?? ''}`).join(' ')}`;
  return search
    .toLowerCase()
    .split(/\s+/)
    .every((word) => text.toLowerCase().includes(word));
}
