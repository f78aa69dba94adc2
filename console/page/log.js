// The live table. Entries arrive at any rate; the DOM is touched once per animation frame and holds a bounded number of rows. The
// table holds still while it is paused, scrolled down, or while a row has the focus, so that nobody reads a moving target.
import { $, copy, count, make, time } from './dom.js';
import { Filter } from './filter.js';
import { pretty } from './json.js';
import { keep, setting } from './settings.js';
import { parseJSON } from './stream.js';

const ROWS = 400; // in the DOM
const KEPT = 4000; // in memory at least, for the filter and the download, and at most twice as many
const ROOM = 16 << 20; // characters of data in memory
const SHOWN = 400; // characters of data in a row; the rest is in the detail

export class Log {
  constructor(onFrame) {
    this.onFrame = onFrame;
    this.entries = []; // oldest first
    this.size = 0; // characters in entries
    this.fresh = 0; // entries at the end that are not shown yet
    this.filter = new Filter(() => this.refresh());
    this.paused = false;
    this.scheduled = false;
    this.reread = false; // show everything anew, the filter has changed
    this.rows = $('rows');
    this.grid = $('grid');
    this.grid.addEventListener('scroll', () => this.schedule(), { passive: true });
    this.grid.addEventListener('keydown', (event) => this.key(event));
    this.grid.addEventListener('focusout', () => this.schedule());
    this.rows.addEventListener('click', (event) => this.click(event));
    $('wrap').addEventListener('change', () => this.wrap($('wrap').checked));
    $('clear').addEventListener('click', () => this.clear());
    $('pause').addEventListener('click', () => this.pause(!this.paused));
    $('more').addEventListener('click', () => this.follow());
    this.wrap(setting('wrap', false));
  }

  // add takes {at, kind, type, id, data, note, phase}: note replaces the data in the row, not in the detail.
  add(entry) {
    this.entries.push(entry);
    this.size += entry.data.length;
    this.fresh++;
    this.filter.see(entry);
    this.bound();
    this.schedule();
  }

  // bound forgets the oldest, in large steps: a step for each event would cost more than the event.
  bound() {
    if (this.entries.length < KEPT * 2 && this.size < ROOM * 2) return;
    let first = this.entries.length;
    let room = ROOM;
    while (first > Math.max(0, this.entries.length - KEPT) && room > 0) {
      first--;
      room -= this.entries[first].data.length;
    }
    this.entries = this.entries.slice(first);
    this.size = ROOM - room;
  }

  // wanted are the entries in memory that the filter lets through, oldest first.
  wanted() {
    return this.entries.filter((entry) => this.filter.wanted(entry));
  }

  // wrap shows data in full, over several lines.
  wrap(on) {
    $('wrap').checked = on;
    this.rows.classList.toggle('wrapped', on);
    keep('wrap', on);
  }

  schedule() {
    if (this.scheduled) return;
    this.scheduled = true;
    requestAnimationFrame(() => {
      this.scheduled = false;
      this.frame();
    });
  }

  held() {
    return this.paused || this.grid.scrollTop > 8 || this.rows.contains(document.activeElement) || this.rows.querySelector('.detail') !== null;
  }

  frame() {
    this.onFrame();
    if (this.reread) {
      this.reread = false;
      this.rows.replaceChildren();
      this.fresh = this.entries.length;
    } else if (this.held()) {
      this.tell(this.fresh);
      return;
    }
    this.show();
    this.tell(0);
  }

  // show puts the fresh entries on top. Of a great many only the newest are made into rows at all.
  show() {
    const rows = [];
    const first = Math.max(0, this.entries.length - this.fresh);
    for (let i = this.entries.length - 1; i >= first && rows.length < ROWS; i--) {
      if (this.filter.wanted(this.entries[i])) rows.push(this.row(this.entries[i]));
    }
    this.fresh = 0;
    this.rows.prepend(...rows);
    while (this.rows.childElementCount > ROWS) this.rows.lastElementChild.remove();
    $('empty').hidden = this.rows.childElementCount > 0;
    $('empty-text').textContent = this.entries.length > 0 ? 'The filter lets nothing through that is here.' : 'Pick a route and press Connect. Events appear here as they arrive.';
    $('kept').textContent = this.entries.length > ROWS ? `The newest ${count(ROWS)} rows are shown; filter and download have the newest ${count(this.entries.length)}.` : '';
  }

  tell(waiting) {
    const more = $('more');
    more.hidden = waiting === 0;
    if (waiting > 0) more.textContent = `${count(waiting)} new: show`;
  }

  row(entry) {
    const text = entry.note || brief(entry.data);
    const data = make('span', { class: 'data', role: 'gridcell' });
    if (entry.phase) data.append(make('b', { class: 'phase', text: entry.phase }), ' ');
    data.append(text.slice(0, SHOWN).replace(/\s*\n\s*/g, ' ⏎ '));
    const row = make('div', { class: `row ${entry.kind}${entry.phase ? ` of-${entry.phase}` : ''}`, role: 'row', tabindex: '-1', 'aria-expanded': 'false' },
      make('span', { class: 'time', role: 'gridcell', text: time(entry.at) }),
      make('span', { class: 'id', role: 'gridcell', text: entry.id, title: entry.id || undefined }),
      make('span', { class: 'event', role: 'gridcell' }, make('b', { class: `chip ${hue(entry)}`, text: entry.type })),
      data);
    row.entry = entry;
    return row;
  }

  click(event) {
    const row = event.target.closest('.row');
    if (!row || event.target.closest('button') || String(getSelection()) !== '') return;
    this.toggle(row);
  }

  // toggle opens or closes the detail of a row; one is open at a time.
  toggle(row) {
    const open = row.getAttribute('aria-expanded') === 'true';
    this.close();
    if (open) return;
    row.setAttribute('aria-expanded', 'true');
    row.append(detail(row.entry));
    row.focus({ preventScroll: true });
  }

  close() {
    const open = this.rows.querySelector('[aria-expanded="true"]');
    if (!open) return;
    open.setAttribute('aria-expanded', 'false');
    open.querySelector('.detail').remove();
    this.schedule();
  }

  key(event) {
    const row = event.target.closest('.row');
    if (event.target.closest('button') && event.key !== 'Escape') return;
    const to = {
      ArrowDown: () => (row ? row.nextElementSibling : this.rows.firstElementChild),
      ArrowUp: () => row && (row.previousElementSibling || this.grid),
      Home: () => this.rows.firstElementChild,
      End: () => this.rows.lastElementChild,
    }[event.key];
    if (to) {
      const next = to();
      if (next) next.focus();
    } else if (row && (event.key === 'Enter' || event.key === ' ')) this.toggle(row);
    else if (row && event.key === 'Escape') this.follow();
    else return;
    event.preventDefault();
  }

  pause(on) {
    this.paused = on;
    $('pause').setAttribute('aria-pressed', String(on));
    $('pause').textContent = on ? 'Resume' : 'Pause';
    this.schedule();
  }

  // follow goes back to the newest rows, whatever held the table.
  follow() {
    this.close();
    if (this.rows.contains(document.activeElement) || document.activeElement === $('more')) this.grid.focus({ preventScroll: true });
    this.grid.scrollTop = 0;
    this.pause(false);
  }

  refresh() {
    this.reread = true;
    this.schedule();
  }

  clear() {
    this.entries = [];
    this.size = 0;
    this.refresh();
  }
}

// hue gives each event type one of a few colours, always the same.
function hue(entry) {
  if (entry.kind !== 'event') return '';
  let sum = 0;
  for (const c of entry.type) sum = (sum * 31 + c.codePointAt(0)) >>> 0;
  return `hue${sum % 6}`;
}

// brief puts what differs first: of an envelope, the subject or key and the data.
function brief(data) {
  if (!data.startsWith('{"subject":') && !data.startsWith('{"key":')) return data;
  const envelope = parseJSON(data);
  if (!envelope || envelope.data === undefined) return data;
  const inner = typeof envelope.data === 'string' ? envelope.data : JSON.stringify(envelope.data);
  const from = envelope.source === undefined ? '' : `${envelope.source}: `; // on routes with several sources
  return `${from}${envelope.subject ?? envelope.key}  ${inner}`;
}

function detail(entry) {
  const value = parseJSON(entry.data);
  const shown = value !== null && typeof value === 'object' ? pretty(entry.data) : [entry.data || '(no data)'];
  const button = make('button', { type: 'button', text: 'Copy data' });
  button.addEventListener('click', () => copy(entry.data, button));
  const facts = make('p', { class: 'hint' }, button, ` ${count(entry.data.length)} characters${entry.id ? ', id ' : ''}`);
  if (entry.id) facts.append(make('code', { text: entry.id }));
  return make('div', { class: 'detail', role: 'gridcell' }, make('pre', {}, ...shown), facts);
}
