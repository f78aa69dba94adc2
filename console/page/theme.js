// Light, dark, or as the system is.
import { $ } from './dom.js';
import { keep, setting } from './settings.js';

export function setUpTheme(onChange) {
  const box = $('theme');
  const apply = () => {
    document.documentElement.dataset.theme = box.value;
    onChange();
  };
  box.value = setting('theme', 'auto');
  if (box.selectedIndex < 0) box.value = 'auto';
  box.addEventListener('change', () => {
    keep('theme', box.value);
    apply();
  });
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', onChange);
  apply();
}
