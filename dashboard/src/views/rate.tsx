import { useStore } from '../store';
import type { Feed } from '../feed';
import { clock, number, plural } from '../ui/format';

/** Events by type over the last five minutes, as far as the page knows them. The legend is the filter. */
export function RateChart({ feed, chosen, onToggle }: { feed: Feed; chosen: ReadonlySet<string>; onToggle: (type: string) => void }) {
  const { link } = useStore();
  const now = Date.now();
  const bins = feed.rate(now, BINS, BIN_SECONDS, link.phase === 'open' ? now : (link.lastFrameAt ?? link.since));
  const totals = new Map<string, number>();
  for (const { counts } of bins) for (const [type, count] of counts) totals.set(type, (totals.get(type) ?? 0) + count);
  const types = [...totals].sort((a, b) => b[1] - a[1]).map(([type]) => type);
  const sums = bins.map(({ counts }) => [...counts.values()].reduce((sum, count) => sum + count, 0));
  const peak = Math.max(...sums);
  const top = niceCeiling(peak);
  const all = sums.reduce((sum, count) => sum + count, 0);
  const order = (type: string) => types.indexOf(type);
  const partial = bins.some(({ complete }) => !complete);
  const begins = bins.find(({ complete }) => complete)?.second;
  const label = `${partial ? 'At least ' : ''}${plural(all, 'event')} in the last five minutes, at most ${number(peak)} in ${BIN_SECONDS} seconds`;
  return (
    <div class="rate">
      <div class="rate-chart">
        <span class="rate-top" aria-hidden="true">
          {number(top / BIN_SECONDS)}/s
        </span>
        <svg viewBox={`0 0 ${BINS * 10} 100`} preserveAspectRatio="none" role="img" aria-label={label}>
          <line class="grid" x1="0" x2={BINS * 10} y1="0.5" y2="0.5" />
          <line class="grid" x1="0" x2={BINS * 10} y1="50" y2="50" />
          <line class="grid" x1="0" x2={BINS * 10} y1="99.5" y2="99.5" />
          {bins.map(({ second, counts, complete }, index) => {
            let y = 100;
            const parts = [...counts].sort((a, b) => order(a[0]) - order(b[0]));
            const told = parts.map(([type, count]) => `${number(count)} ${type}`).join(', ');
            return (
              <g key={second}>
                <rect class={complete ? 'hit' : 'hit unknown'} x={index * 10} y="0" width="10" height="100">
                  <title>{`${clock(second * 1000)}: ${complete ? told || 'nothing' : told ? `${told}, and what this page has not read` : 'not read by this page'}`}</title>
                </rect>
                {parts.map(([type, count]) => {
                  const height = (count / top) * 100;
                  y -= height;
                  const faded = chosen.size > 0 && !chosen.has(type);
                  return <rect key={type} class={`${typeClass(type)}${faded ? ' faded' : ''}`} x={index * 10 + 1.5} y={y} width="7" height={height} />;
                })}
              </g>
            );
          })}
        </svg>
        <div class="rate-axis">
          <span aria-hidden="true">5 m ago</span>
          {partial && <span class="rate-reach">{begins === undefined ? 'Not all events of this time are on this page' : `Shaded: not all events are on this page; complete from ${clock(begins * 1000)}`}</span>}
          <span aria-hidden="true">now</span>
        </div>
      </div>
      <div class="legend" role="group" aria-label="Filter by type">
        {types.length === 0 && <span class="muted">{partial ? 'Nothing known of the last five minutes' : 'Nothing in the last five minutes'}</span>}
        {types.slice(0, LEGEND).map((type) => (
          <button type="button" key={type} aria-pressed={chosen.has(type)} onClick={() => onToggle(type)}>
            <span class={`type ${typeClass(type)}`}>
              <i aria-hidden="true" />
              {type}
            </span>
            <span class="count">{number(totals.get(type) ?? 0)}</span>
          </button>
        ))}
        {types.length > LEGEND && <span class="muted">and {types.length - LEGEND} more</span>}
      </div>
    </div>
  );
}

/** A colour per core type, related types near each other; custom types take six more in the order in which they are met. */
export function typeClass(type: string): string {
  if (!type.includes('.') && !type.startsWith('custom_')) return `t-${type.replaceAll('_', '-')}`;
  let index = met.indexOf(type);
  if (index < 0) index = met.push(type) - 1;
  return `t-custom-${index % 6}`;
}

const met: string[] = [];

function niceCeiling(value: number) {
  const unit = 10 ** Math.floor(Math.log10(Math.max(value, 5)));
  return [1, 2, 5, 10].map((factor) => factor * unit).find((nice) => nice >= value) ?? 10 * unit;
}

const BINS = 60;
const BIN_SECONDS = 5;
const LEGEND = 8;
