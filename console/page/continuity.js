// Whether anything is missing, or came twice: by headgate's ids, which only ever go forward, and by numbers in the events' own data
// that count up by one.
import { count } from './dom.js';
import { parseJSON } from './stream.js';

const COUNTS = /^(order|n|no|nr|num|number|seq|sequence|id|index|offset|revision|counter)$/i; // fields whose names say that they count
const RUN = 10; // so many events from the first one on, without an exception, make a field one that does

export class Continuity {
  constructor() {
    this.reset();
  }

  reset() {
    this.byId = 0; // events whose id went forward
    this.twice = 0;
    this.missing = 0;
    this.gaps = 0;
    this.field = null; // the one that counts
    this.begin();
  }

  // begin forgets where the stream was: what follows stands for itself, be it a state or what is behind a gap that was announced.
  begin() {
    this.at = new Map(); // tag -> sequence
    this.candidates = null; // field -> its value in the last event; null = no event yet
    this.run = 0;
    this.from = this.value = null;
  }

  // gap is a hole that was announced.
  gap() {
    this.gaps++;
    this.begin();
  }

  // event takes an event that belongs to no state.
  event(block) {
    if (block.hasId) this.id(block.id);
    const numbers = numbersOf(block.data);
    if (this.field === null) this.find(numbers);
    else if (numbers.has(this.field)) this.number(numbers.get(this.field));
  }

  // id compares with the last one, entry by entry: 1~tag.sequence[~tag.sequence…].
  id(id) {
    let forward = false;
    for (const entry of id.split('~').slice(1)) {
      const [tag, text] = entry.split('.');
      const sequence = parseInt(text, 36);
      const before = this.at.get(tag);
      if (before === undefined || sequence > before) forward = true;
      this.at.set(tag, sequence);
    }
    if (forward) this.byId++;
    else this.twice++;
  }

  // find drops the fields that do not count up by one with each event. A number that others use too has holes of its own, so one
  // exception is enough.
  find(numbers) {
    if (this.candidates !== null) numbers = new Map([...numbers].filter(([field, value]) => this.candidates.get(field) + 1 === value));
    this.candidates = numbers;
    this.run++;
    if (this.run < RUN || numbers.size === 0) return;
    [[this.field, this.value]] = numbers;
    this.from = this.value - RUN + 1;
  }

  number(value) {
    if (this.value === null) this.from = value;
    else if (value > this.value + 1) this.missing += value - this.value - 1;
    else if (value <= this.value) this.twice++;
    this.value = value;
  }

  // says is the judgement: {text, kind}, good only where nothing is missing.
  says() {
    const range = this.value === null ? '' : `${this.field || 'number'} ${count(this.from)} to ${count(this.value)}`;
    const wrong = [];
    if (this.missing > 0) wrong.push(`${count(this.missing)} missing`);
    if (this.twice > 0) wrong.push(`${count(this.twice)} twice`);
    if (wrong.length > 0) return { text: `${wrong.join(', ')}${range ? `: ${range}` : ''}`, kind: 'warn' };
    if (range === '' && this.byId === 0) return { text: '–', kind: '' };
    const text = range ? `No hole: ${range}` : `${count(this.byId)} in order, none twice`;
    if (this.gaps > 0) return { text: `${text}; ${this.gaps === 1 ? '1 gap was' : `${count(this.gaps)} gaps were`} announced`, kind: '' };
    return { text, kind: 'good' };
  }
}

// numbersOf are the whole numbers of an event that may be a count: its data, or a field of it, inside an envelope or not.
function numbersOf(text) {
  let value = parseJSON(text);
  if (value && typeof value === 'object' && 'data' in value && ('subject' in value || 'key' in value)) value = value.data;
  if (Number.isInteger(value)) return new Map([['', value]]);
  if (!value || typeof value !== 'object') return new Map();
  return new Map(Object.entries(value).filter(([name, n]) => COUNTS.test(name) && Number.isInteger(n)));
}
