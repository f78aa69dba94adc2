// What to connect to: a route, its parameters or subjects, a position; and its shape in the page's address.
import { $, make } from './dom.js';

// fill replaces {name} in a path or a subject template. A value that is missing stays as its placeholder when encode is not given.
export function fill(template, values, encode) {
  return template.replace(/\{([^}.]+)(?:\.\.\.)?\}/g, (placeholder, name) => {
    const value = values[name] || '';
    if (encode) return encode(value);
    return value === '' ? placeholder : value;
  });
}

// Params is a list of inputs for the parameters of a route.
export class Params {
  constructor(box, prefix) {
    this.box = box;
    this.prefix = prefix;
  }

  show(route, values) {
    const before = { ...this.values(), ...values };
    this.inputs = route.params.map((param) => {
      const id = `${this.prefix}-${param.name}`;
      const input = make('input', { id, name: param.name, spellcheck: 'false', autocapitalize: 'off', autocomplete: 'off', required: true });
      input.value = before[param.name] || param.example || '';
      input.pattern = param.pattern || '';
      const field = make('div', { class: 'field' }, make('label', { for: id, text: param.name }), input);
      if (param.pattern) field.append(make('p', { class: 'hint' }, 'Must match ', make('code', { text: param.pattern })));
      return input;
    });
    this.box.replaceChildren(...this.inputs.map((input) => input.parentElement));
  }

  values() {
    return Object.fromEntries((this.inputs || []).map((input) => [input.name, input.value.trim()]));
  }

  // missing says what stands in the way of a request, or ''. What a value must look like is for the gateway to decide, so that its
  // answer can be seen; only a path with a hole in it could never reach the route.
  missing() {
    const empty = (this.inputs || []).find((input) => input.value.trim() === '');
    for (const input of this.inputs || []) input.toggleAttribute('aria-invalid', input === empty);
    if (!empty) return '';
    empty.focus();
    return `Give a value for ${empty.name}.`;
  }
}

export class Form {
  constructor(routes, onChange) {
    this.routes = routes.filter((route) => route.stream);
    this.params = new Params($('params'), 'p');
    this.onChange = onChange;
    $('route').append(...this.routes.map((route) => make('option', { value: route.name, text: route.name })));
    $('route').addEventListener('change', () => this.pick());
    $('form').addEventListener('input', () => this.changed());
    if (this.routes.length > 0) this.pick();
  }

  get route() {
    return this.routes.find((route) => route.name === $('route').value);
  }

  pick(values = {}) {
    const { route } = this;
    $('path').textContent = `GET ${route.path}${route.required ? ' · needs a token' : ''}`;
    this.params.show(route, values);
    const open = Boolean(route.allow);
    $('subjects-field').hidden = !open;
    if (open) {
      $('allow').replaceChildren(...route.allow.map((pattern) => this.allowed(pattern)));
      $('subjects').value = route.allow[0];
    }
    $('resume').hidden = !route.ids && !route.since;
    $('last-id-field').hidden = !route.ids;
    $('since-field').hidden = !route.since;
    $('since').value = '';
    this.position('');
    this.changed();
  }

  // allowed is a pattern that adds itself to the subjects.
  allowed(pattern) {
    const button = make('button', { type: 'button', class: 'token', text: pattern, 'aria-label': `Add subject ${pattern}` });
    button.addEventListener('click', () => {
      $('subjects').value = [...this.subjects(), pattern].join('\n');
      this.changed();
    });
    return button;
  }

  subjects() {
    return $('subjects').value.split(/[\s,]+/).filter((subject) => subject !== '');
  }

  // position shows where a stream got to, for the next request to begin there, or elsewhere when it is changed.
  position(id) {
    $('last-id').value = id;
    this.filled = id;
    if (id !== '') $('resume').open = true;
  }

  // forget takes back what position has shown, unless it has been changed since.
  forget() {
    if (this.filled !== '' && $('last-id').value === this.filled) this.position('');
  }

  get lastId() {
    return this.route.ids ? $('last-id').value.trim() : '';
  }

  // request is what the form says now: {url, lastId, since, subjects, types}.
  request() {
    const { route } = this;
    const values = this.params.values();
    const url = new URL(fill(route.path, values, encodeURIComponent), location.origin);
    const named = route.allow ? this.subjects() : [];
    for (const subject of named) url.searchParams.append('subject', subject);
    const subjects = route.allow ? named : (route.subjects || []).map((template) => fill(template, values));
    const types = route.event ? [route.event] : [];
    return { url: url.href, lastId: this.lastId, since: route.since ? $('since').value.trim() : '', subjects, types };
  }

  // problem says what is missing for a request, or ''.
  problem() {
    const missing = this.params.missing();
    if (missing === '' && this.route.allow && this.subjects().length === 0) {
      $('subjects').focus();
      return 'Name at least one subject.';
    }
    return missing;
  }

  changed() {
    $('form-error').hidden = true;
    this.onChange();
  }

  // state is what was picked, without a position.
  state() {
    const state = new URLSearchParams({ route: this.route.name });
    for (const [name, value] of Object.entries(this.params.values())) state.append(`p.${name}`, value);
    if (this.route.allow) for (const subject of this.subjects()) state.append('subject', subject);
    return state;
  }

  // save puts the form into the page's address, so that a stream can be reloaded, kept and sent to a colleague.
  save(connected) {
    const state = this.state();
    const { lastId, since } = this.request();
    if (lastId !== '' && lastId !== this.filled) state.append('id', lastId);
    if (since !== '') state.append('since', since);
    if (connected) state.append('connect', '1');
    history.replaceState(null, '', `#${state}`);
  }

  // load reads it back, and says whether it asks to connect.
  load(text) {
    const state = new URLSearchParams(text);
    if (!this.routes.some((route) => route.name === state.get('route'))) return false;
    $('route').value = state.get('route');
    const values = {};
    for (const [name, value] of state) if (name.startsWith('p.')) values[name.slice(2)] = value;
    this.pick(values);
    if (this.route.allow && state.has('subject')) $('subjects').value = state.getAll('subject').join('\n');
    if (this.route.ids) $('last-id').value = state.get('id') || '';
    if (this.route.since) $('since').value = state.get('since') || '';
    $('resume').open = state.has('id') || state.has('since');
    this.changed();
    return state.get('connect') === '1';
  }
}
