// The few helpers that the page needs. Everything that is shown goes through textContent.

export const $ = (id) => document.getElementById(id);

// make builds an element: make('p', {class: 'hint', text: 'shown as text'}, ...children).
export function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === false) continue;
    if (name === 'text') node.textContent = value;
    else node.setAttribute(name, value === true ? '' : value);
  }
  node.append(...children);
  return node;
}

const clock = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' });

// time is the local time of day with milliseconds.
export function time(ms) {
  return `${clock.format(ms)}.${String(ms % 1000).padStart(3, '0')}`;
}

const whole = new Intl.NumberFormat('en');

export const count = (n) => whole.format(n);

export function bytes(n) {
  if (n < 1000) return `${n} B`;
  for (const unit of ['kB', 'MB', 'GB']) {
    n /= 1000;
    if (n < 999.5 || unit === 'GB') return `${n < 10 ? n.toFixed(1) : Math.round(n)} ${unit}`;
  }
  return '';
}

// copy puts text on the clipboard, and says on the button how it went.
export async function copy(text, button) {
  const label = button.dataset.label || button.textContent;
  button.dataset.label = label;
  button.textContent = (await write(text)) ? 'Copied' : 'Select and copy by hand';
  setTimeout(() => { button.textContent = label; }, 1500);
}

async function write(text) {
  try {
    await navigator.clipboard.writeText(text); // only in secure contexts: HTTPS and loopback
    return true;
  } catch {
    const area = make('textarea', { class: 'visually-hidden', 'aria-hidden': 'true' });
    area.value = text;
    const before = document.activeElement;
    document.body.append(area);
    area.select();
    const done = document.execCommand('copy');
    area.remove();
    if (before) before.focus();
    return done;
  }
}
