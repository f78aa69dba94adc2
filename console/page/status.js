// How the connection is: the line above the counters, and the tab's title, which is seen while another tab is in front.
import { $ } from './dom.js';
import { span } from './token.js';

const NAME = 'headgate console';

export class Status {
  constructor() {
    this.route = '';
    this.gaps = 0;
    this.since = 0; // of the connection that is open
    this.until = 0; // the next attempt
    this.why = '';
    this.name = 'idle';
    setInterval(() => this.tick(), 500);
  }

  // show takes a state of the stream, with what it says about it.
  show(name, detail) {
    this.name = name;
    this.since = name === 'open' ? Date.now() : 0;
    this.until = detail.until || 0;
    this.why = reason(name, detail);
    $('state').dataset.state = name;
    $('state-text').textContent = this.why;
    $('announce').textContent = this.until ? `${this.why}, reconnecting` : this.why;
    this.tick();
  }

  // begin is another stream.
  begin(route) {
    this.route = route;
    this.gaps = 0;
  }

  gap(note) {
    this.gaps++;
    $('announce').textContent = note;
    this.tick();
  }

  tick() {
    if (this.until) $('state-text').textContent = `${this.why}. Reconnecting in ${Math.max(0, Math.ceil((this.until - Date.now()) / 1000))} s`;
    $('state-for').textContent = this.since ? `for ${span((Date.now() - this.since) / 1000)}` : '';
    const mark = this.name === 'open' ? '●' : '○';
    const title = this.name === 'idle' ? NAME : `${mark}${this.gaps ? ` ▲${this.gaps}` : ''} ${this.route} – ${NAME}`;
    if (document.title !== title) document.title = title;
  }
}

function reason(name, detail) {
  switch (name) {
    case 'connecting': return 'Connecting';
    case 'open': return 'Connected';
    case 'cut': return 'Cut: reconnect when you like';
    case 'ended': return detail.why;
    case 'refused': return `Refused with ${detail.status}`;
    case 'waiting': return detail.end ? `Ended by headgate (${detail.end.cause || detail.end.reason})` : detail.why;
    default: return 'Not connected';
  }
}
