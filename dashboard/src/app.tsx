import { useEffect, useState } from 'preact/hooks';
import { link, useRoute, VIEWS, type Route, type View } from './router';
import type { State } from './hub/state';
import { store, useStore } from './store';
import { HealthMark, STANDINGS } from './ui/bits';
import { number } from './ui/format';
import { Guard } from './ui/guard';
import { applyTheme, nextTheme, storedTheme, type Theme } from './ui/theme';
import { Connection, describe, GapBanner, StaleBanner } from './views/connection';
import { LiveFeed } from './views/feed';
import { Fleet } from './views/fleet';
import { Integration } from './views/integration';
import { SignIn } from './views/signin';
import { Workflows } from './views/workflows';

export function App() {
  const { state, link: stream } = useStore();
  const route = useRoute();
  useTitle(route.view);
  useClock();
  if (stream.phase === 'signed_out') {
    return (
      <div class="shell">
        <Header />
        <SignIn />
      </div>
    );
  }
  return (
    <div class="shell">
      <a
        class="skip"
        href="#main"
        onClick={(event) => {
          event.preventDefault();
          document.getElementById('main')?.focus();
        }}
      >
        Skip to the content
      </a>
      <Header view={route.view} />
      <div class="banners">
        <Guard what="The state of the connection">
          <StaleBanner />
          <GapBanner />
        </Guard>
      </div>
      <main id="main" tabIndex={-1}>
        {state ? (
          <Guard key={route.view} what={VIEWS.find(({ view }) => view === route.view)!.title} retryOn={route.id}>
            <Shown route={route} state={state} />
          </Guard>
        ) : (
          <Waiting />
        )}
      </main>
    </div>
  );
}

function Shown({ route: { view, id }, state }: { route: Route; state: State }) {
  switch (view) {
    case 'servers':
      return <Fleet state={state} selected={id} />;
    case 'workflows':
      return <Workflows state={state} selected={id} />;
    case 'events':
      return <LiveFeed selected={id} />;
    case 'integration':
      return <Integration state={state} />;
  }
}

function Header({ view }: { view?: View }) {
  const { state, session } = useStore();
  const [theme, setTheme] = useState<Theme>(storedTheme);
  useEffect(() => applyTheme(theme), [theme]);
  const badge = (of: View) => {
    if (!state) return null;
    if (of === 'servers') return number([...state.servers.values()].filter((server) => server.status === 'connected').length);
    if (of === 'workflows') {
      const running = [...state.workflows.values()].filter((workflow) => workflow.status === 'running').length;
      return running > 0 ? number(running) : null;
    }
    return null;
  };
  return (
    <header class="top">
      <a class="brand" href={link('servers')} aria-label="timeback-events, to the fleet">
        <svg viewBox="0 0 32 32" aria-hidden="true">
          <rect width="32" height="32" rx="8" />
          <path d="M6 17h5l3-8 4 15 3-7h5" />
        </svg>
        <span>timeback-events</span>
      </a>
      {view && (
        <nav class="tabs" aria-label="Views">
          {VIEWS.map((item) => (
            <a key={item.view} href={link(item.view)} aria-current={item.view === view ? 'page' : undefined}>
              {item.view === 'integration' && state && state.status !== 'healthy' && <HealthMark standing={state.status} />}
              {item.label}
              {item.view === 'integration' && state && <span class="visually-hidden">, {STANDINGS[state.status]}</span>}
              {badge(item.view) && <span class="count">{badge(item.view)}</span>}
            </a>
          ))}
        </nav>
      )}
      <span class="spring" />
      {view && <Connection />}
      {session && view && (
        <button type="button" class="button small" onClick={() => void store.signOut()}>
          Sign out
        </button>
      )}
      <button type="button" class="icon-button" aria-label={`Colours: ${theme}. Switch to ${nextTheme(theme)}`} title={`Colours: ${theme}`} onClick={() => setTheme(nextTheme(theme))}>
        <svg viewBox="0 0 16 16" aria-hidden="true">
          {theme === 'light' && <path d="M8 5a3 3 0 1 1 0 6 3 3 0 0 1 0-6ZM8 1v1.5M8 13.5V15M1 8h1.5M13.5 8H15M3 3l1 1M12 12l1 1M13 3l-1 1M4 12l-1 1" />}
          {theme === 'dark' && <path d="M13.5 9.5A6 6 0 0 1 6.5 2.5a6 6 0 1 0 7 7Z" />}
          {theme === 'system' && <path d="M8 2a6 6 0 1 1 0 12A6 6 0 0 1 8 2ZM8 2v12M8 5h3.5M8 8h6M8 11h4.5" />}
        </svg>
      </button>
    </header>
  );
}

/** Before the first snapshot: says what the page waits for, not how nice waiting is. */
function Waiting() {
  const { link: stream, client } = useStore();
  const words = describe(stream, false);
  return (
    <div class="empty" role="status">
      <h2>{words.word}</h2>
      <p>{words.meaning}</p>
      {stream.phase !== 'connecting' && stream.phase !== 'open' && (
        <button type="button" class="button" onClick={() => client?.reconnect()}>
          Try now
        </button>
      )}
    </div>
  );
}

function useTitle(view: View) {
  const { state } = useStore();
  const ill = state ? [...state.servers.values()].filter((server) => server.lost || (server.status === 'connected' && server.health !== 'healthy')).length : 0;
  const label = VIEWS.find((known) => known.view === view)!.label;
  useEffect(() => {
    document.title = `${ill > 0 ? `(${ill}) ` : ''}${label} · timeback-events`;
  }, [ill, label]);
}

/** Relative times and running bars move on while nothing else does. */
function useClock() {
  useEffect(() => {
    const timer = setInterval(() => store.changed(), 1_000);
    return () => clearInterval(timer);
  }, []);
}
