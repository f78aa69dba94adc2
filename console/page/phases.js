// The parts of a stream: the initial state, what was missed, what happens now (docs/protocol.md, "Order of blocks").
import { parseJSON } from './stream.js';

export class Phases {
  constructor() {
    this.connect();
  }

  // connect begins a new connection.
  connect() {
    this.enter('');
    this.last = null;
  }

  enter(name) {
    this.name = name;
    this.count = 0;
    this.gaps = 0;
  }

  // take follows headgate's own events, and says to which part any other one belongs: 'state', 'replayed', or '' for what happens now.
  // After the end of a part, last says how many events and gaps it had.
  take(block) {
    if (!block.dispatch) return '';
    const data = parseJSON(block.data) || {};
    switch (block.type) {
      case '$ready':
        this.enter({ snapshot: 'state', replay: 'replayed' }[data.position] || '');
        return '';
      case '$gap':
        if (data.next === 'snapshot') this.enter('state');
        this.gaps++;
        return '';
      case '$snapshot':
      case '$live':
        this.last = { count: this.count, gaps: this.gaps };
        this.enter('');
        return '';
      default:
    }
    if (block.type.startsWith('$')) return '';
    if (this.name !== '') this.count++;
    return this.name;
  }
}
