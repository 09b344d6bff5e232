import { render } from 'preact';
import { App } from './app';
import { store } from './store';
import { applyTheme, storedTheme } from './ui/theme';
import './style.css';

applyTheme(storedTheme());
store.start();
render(<App />, document.getElementById('app')!);
