import { render } from 'preact';
import { App } from './app';
import { store } from './store';
import { Guard } from './ui/guard';
import { applyTheme, storedTheme } from './ui/theme';
import './style.css';

applyTheme(storedTheme());
store.start();
render(
  <Guard what="The page">
    <App />
  </Guard>,
  document.getElementById('app')!,
);
