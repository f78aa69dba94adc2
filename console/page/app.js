// The page: form, stream, counters and table brought together.
import { $, copy, make } from './dom.js';
import { Continuity } from './continuity.js';
import { download } from './download.js';
import { Form } from './form.js';
import { Log } from './log.js';
import { Meter } from './meter.js';
import { describe } from './notices.js';
import { Phases } from './phases.js';
import { setUpPublish } from './publish.js';
import { keep, setting } from './settings.js';
import * as snippets from './snippets.js';
import { Status } from './status.js';
import { Stream, parseJSON } from './stream.js';
import { setUpTheme } from './theme.js';
import { Token } from './token.js';

const TYPES = 12; // event types in the EventSource snippet

const info = await (await fetch('routes.json')).json();
const meter = new Meter();
const phases = new Phases();
const status = new Status();
const continuity = new Continuity();
const log = new Log(() => {
  meter.show();
  const { text, kind } = continuity.says();
  $('continuity').textContent = text;
  $('continuity').className = kind;
  $('last').textContent = stream && stream.lastId ? stream.lastId : 'none';
});
const types = new Set();
let stream = null;
let state = 'idle';
let tab = setting('snippet', 'curl');
let form = null;
let token = null;

function show(name, detail) {
  state = name;
  status.show(name, detail);
  if (name === 'waiting') note('waiting', status.why);
  if (name === 'cut') {
    note('cut', `Connection cut by you${stream.lastId ? `, after ${stream.lastId}` : ''}`);
    if (form.route.ids) form.position(stream.lastId);
  }
  if (name === 'open') {
    form.forget();
    token.fresh();
  }
  if (name === 'ended') note('ended', detail.why);
  if (name === 'connecting') {
    $('problem').hidden = true;
    phases.connect();
    if (stream.attempt > 1) meter.reconnects++;
  }
  buttons();
}

// again says whether the second button connects rather than cuts.
const again = () => ['waiting', 'cut', 'ended', 'refused'].includes(state);

const running = () => ['connecting', 'open', 'waiting', 'cut'].includes(state);

function buttons() {
  const other = running() && form.request().url !== stream.url;
  $('connect').textContent = other ? 'Switch' : running() ? 'Disconnect' : 'Connect';
  $('connect').classList.toggle('primary', other || !running());
  $('cut').textContent = again() ? 'Reconnect' : 'Cut';
  $('cut').setAttribute('aria-disabled', String(!running() && !again()));
}

function note(type, text, data = '') {
  log.add({ at: Date.now(), kind: 'note', type, id: '', data: data || text, note: text });
}

function block(b) {
  const at = Date.now();
  const phase = phases.take(b);
  const seen = describe(b, phases.last);
  judge(b, seen.kind, phase);
  if (b.dispatch) meter.event(b.size);
  else meter.quiet(b.size, seen.type === 'heartbeat' ? at : 0);
  if (b.dispatch && b.type === '$expiring') token.expiring(Number(parseJSON(b.data)?.in) || 0);
  if (b.dispatch && b.type === '$end' && parseJSON(b.data)?.reason === 'token-expired') token.ended();
  if (seen.kind === 'gap') {
    meter.gaps++;
    status.gap(seen.note);
  }
  if (seen.kind === 'event' && types.size < TYPES && !types.has(b.type)) {
    types.add(b.type);
    snippet();
  }
  log.add({ at, type: b.type, id: b.hasId ? b.id : '', data: b.data, phase, ...seen });
}

// judge counts what the phases are made of, and follows the stream for holes. A state stands for itself, and so does what is behind a gap.
function judge(b, kind, phase) {
  if (kind === 'gap') continuity.gap();
  if (b.type === '$snapshot') continuity.begin();
  if (kind !== 'event') return;
  if (phase === 'state') meter.state++;
  else continuity.event(b);
  if (phase === 'replayed') meter.replayed++;
}

function head(response) {
  const lines = [...response.headers].map(([name, value]) => `${name}: ${value}`);
  const from = stream.lastId ? `, after ${stream.lastId}` : '';
  const { pathname, search } = new URL(stream.target);
  note('connected', `${response.status} ${response.headers.get('Content-Type')} from ${pathname}${search}${from}`, lines.join('\n'));
}

function problem(p) {
  const more = [`Status ${p.status}`];
  if (p.retryAfter) more.push(`Retry-After ${p.retryAfter}`);
  if (p.instance) more.push(`request ${p.instance}`);
  if (p.type && p.type !== 'about:blank') more.push(p.type);
  $('problem').replaceChildren(
    make('h2', { text: p.title }),
    make('p', { text: p.detail }),
    make('p', { class: 'hint mono', text: more.join(' · ') }),
    make('p', { class: 'hint', text: 'A browser’s EventSource would be closed for good by this answer, and could not read it.' }));
  $('problem').hidden = false;
  log.add({ at: Date.now(), kind: 'refused', type: String(p.status), id: '', data: `${p.title}: ${p.detail}` });
}

function connect() {
  const missing = form.problem() || token.problem();
  $('form-error').textContent = missing;
  $('form-error').hidden = missing === '';
  if (missing) return;
  if (stream) stream.stop();
  const request = form.request();
  meter.reset();
  continuity.reset();
  types.clear();
  status.begin(form.route.name);
  stream = new Stream(request.url, request, { state: show, block, head, problem, token: () => token.text });
  $('state-url').textContent = $('state-url').title = stream.target;
  save(true);
  stream.open();
}

function save(connected) {
  form.save(connected);
  keep('stream', String(form.state()));
}

// reconnect goes on behind the last id, or where the box says.
function reconnect() {
  if (state === 'cut' && form.lastId !== stream.lastId && form.request().url === stream.url) {
    stream.moveTo(form.lastId);
    continuity.begin();
  }
  stream.open();
}

function snippet() {
  const request = { ...form.request(), token: token.text !== '' };
  if (types.size > 0 && stream.url === request.url) request.types = [...types];
  $('snippet').textContent = {
    curl: () => snippets.curl(request),
    EventSource: () => snippets.eventSource(request),
    fetch: () => snippets.viaFetch(request),
    nats: () => snippets.nats(request, info.natsURL),
  }[tab]();
}

// resumed is the request that goes on behind what has been seen.
function resumed() {
  const request = { ...form.request(), token: token.text !== '' };
  if (stream && stream.url === request.url && stream.lastId !== '') request.lastId = stream.lastId;
  return request;
}

// setUpKeys are for whoever has the page open all day: / searches, p pauses. Not where somebody writes.
function setUpKeys() {
  document.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest('input, textarea, select')) return;
    if (event.key === '/') $('filter').focus();
    else if (event.key === 'p') log.pause(!log.paused);
    else return;
    event.preventDefault();
  });
}

function setUpTabs() {
  const names = info.natsURL ? ['curl', 'EventSource', 'fetch', 'nats'] : ['curl', 'EventSource', 'fetch'];
  const tabs = names.map((name) => make('button', { type: 'button', role: 'tab', id: `tab-${name}`, 'aria-controls': 'snippet-panel', text: name }));
  const select = (i, focus) => {
    tab = names[i];
    if (focus !== undefined) keep('snippet', tab);
    tabs.forEach((node, j) => {
      node.setAttribute('aria-selected', String(i === j));
      node.tabIndex = i === j ? 0 : -1;
    });
    $('snippet-panel').setAttribute('aria-labelledby', tabs[i].id);
    if (focus) tabs[i].focus();
    snippet();
  };
  tabs.forEach((node, i) => {
    node.addEventListener('click', () => select(i, false));
    node.addEventListener('keydown', (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (step) select((i + step + tabs.length) % tabs.length, true);
    });
  });
  $('tabs').append(...tabs);
  select(Math.max(0, names.indexOf(tab)));
  $('copy').addEventListener('click', (event) => copy($('snippet').textContent, event.currentTarget));
}

function setUp() {
  $('insecure').hidden = !info.insecure;
  $('version').textContent = info.version || '';
  setUpTheme(() => meter.draw());
  setUpKeys();
  token = new Token(info, () => snippet());
  form = new Form(info.routes, () => {
    if (!form) return;
    snippet();
    buttons();
    if (!running()) save(false);
  });
  setUpPublish(info.routes, () => token.text);
  if (form.routes.length === 0) {
    $('form-error').textContent = 'No route of this gateway opens a stream.';
    $('form-error').hidden = false;
    return;
  }
  setUpTabs();
  $('form').addEventListener('submit', (event) => {
    event.preventDefault();
    if (running() && form.request().url === stream.url) {
      stream.close();
      form.forget();
      save(false);
    } else connect();
  });
  $('cut').addEventListener('click', () => {
    if (again()) reconnect();
    else if (running()) stream.cut();
  });
  $('copy-curl').addEventListener('click', (event) => copy(snippets.curl(resumed()), event.currentTarget));
  $('download').addEventListener('click', () => download(log.wanted(), form.route.name));
  // What the address says is stronger than what was picked last, and only an address connects.
  if (form.load(location.hash.slice(1))) connect();
  else if (location.hash === '') form.load(setting('stream', ''));
}

setUp();
