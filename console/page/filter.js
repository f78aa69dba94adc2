// Which entries of the log are shown: by event, by text, with or without heartbeats. Only how they are shown; all are counted and kept.
import { $, make } from './dom.js';
import { keep, setting } from './settings.js';

const TYPES = 60; // event types to choose from

export class Filter {
  constructor(onChange) {
    this.types = new Set();
    $('show-beats').checked = setting('beats', true);
    $('filter').addEventListener('input', onChange);
    $('filter-type').addEventListener('change', onChange);
    $('show-beats').addEventListener('change', () => {
      keep('beats', $('show-beats').checked);
      onChange();
    });
  }

  // see offers the types of the publishers' events as they come.
  see(entry) {
    if (entry.kind !== 'event' || this.types.has(entry.type) || this.types.size >= TYPES) return;
    this.types.add(entry.type);
    $('filter-type').append(make('option', { value: `=${entry.type}`, text: entry.type }));
  }

  // wanted says whether an entry is shown.
  wanted(entry) {
    if (entry.kind === 'beat' && !$('show-beats').checked) return false;
    const type = $('filter-type').value;
    if (type === 'gaps' && !['gap', 'end', 'refused'].includes(entry.kind)) return false;
    if (type === 'own' && !entry.type.startsWith('$')) return false;
    if (type[0] === '=' && (entry.kind !== 'event' || entry.type !== type.slice(1))) return false;
    const text = $('filter').value.trim().toLowerCase();
    if (text === '') return true;
    return [entry.phase || '', entry.type, entry.id, entry.data, entry.note || ''].some((part) => part.toLowerCase().includes(text));
  }
}
