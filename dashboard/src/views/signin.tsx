import { useEffect, useRef, useState } from 'preact/hooks';
import { HubError } from '../hub/api';
import { store } from '../store';

export function SignIn() {
  const [problem, setProblem] = useState<string>();
  const [asking, setAsking] = useState(false);
  const input = useRef<HTMLInputElement>(null);
  useEffect(() => input.current?.focus(), []);
  const submit = async (event: Event) => {
    event.preventDefault();
    setAsking(true);
    setProblem(undefined);
    try {
      await store.signIn(input.current!.value.trim());
    } catch (error) {
      if (!(error instanceof HubError)) throw error;
      setProblem(error.status === 401 || error.status === 403 ? 'The hub does not accept this token.' : error.message);
    }
    setAsking(false);
  };
  return (
    <main class="sign-in">
      <form onSubmit={submit}>
        <h1>Sign in</h1>
        <p class="muted">{store.session ? 'Your session has ended. Sign in again to go on.' : 'This hub asks who you are. Paste a token that may read.'}</p>
        <label for="token">Token</label>
        <input id="token" ref={input} class="field" type="password" autocomplete="current-password" required spellcheck={false} aria-describedby="token-hint" aria-invalid={problem !== undefined} />
        <p id="token-hint" class="hint">
          It is sent once, to this hub only, and not kept. The hub answers with a session of its own, in a cookie that scripts cannot read.
        </p>
        {problem && (
          <p class="problem" role="alert">
            {problem}
          </p>
        )}
        <button class="button primary" disabled={asking}>
          {asking ? 'Signing in' : 'Sign in'}
        </button>
      </form>
    </main>
  );
}
