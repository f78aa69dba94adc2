// The event stream parser of the HTML Living Standard, section 9.2.6, except that it also shows what an EventSource hides:
// comments, blocks that only carry an id, and retry.

// Parser cuts text into blocks and gives each to onBlock as {type, data, dispatch, id, hasId, retry, comment, size}. dispatch says
// whether an EventSource would fire an event for it; id is the last event id after the block.
export class Parser {
  constructor(onBlock) {
    this.onBlock = onBlock;
    this.rest = '';
    this.afterCR = false;
    this.lastId = '';
    this.clear();
  }

  clear() {
    this.type = '';
    this.data = [];
    this.id = null;
    this.retry = null;
    this.comment = null;
    this.size = 0;
  }

  // push takes the next piece of text, however it was cut.
  push(text) {
    if (this.afterCR && text !== '') {
      if (text[0] === '\n') text = text.slice(1);
      this.afterCR = false;
    }
    const s = this.rest + text;
    let at = 0;
    let cr = s.indexOf('\r');
    for (;;) {
      // The search for CR is remembered: streams hardly ever have one, and looking again for each line would be quadratic.
      if (cr !== -1 && cr < at) cr = s.indexOf('\r', at);
      const lf = s.indexOf('\n', at);
      if (lf === -1 && cr === -1) break;
      const end = cr !== -1 && (lf === -1 || cr < lf) ? cr : lf;
      this.line(s.slice(at, end));
      at = end + 1;
      if (end === cr) {
        if (at === s.length) this.afterCR = true;
        else if (s[at] === '\n') at++;
      }
    }
    this.rest = s.slice(at);
  }

  line(line) {
    if (line === '') return this.block();
    this.size += line.length + 1;
    const colon = line.indexOf(':');
    if (colon === 0) {
      this.comment = line.slice(1);
      return undefined;
    }
    const name = colon === -1 ? line : line.slice(0, colon);
    let value = colon === -1 ? '' : line.slice(colon + 1);
    if (value[0] === ' ') value = value.slice(1);
    if (name === 'data') this.data.push(value);
    else if (name === 'event') this.type = value;
    else if (name === 'id' && !value.includes('\0')) this.id = value;
    else if (name === 'retry' && /^[0-9]+$/.test(value)) this.retry = Number(value);
    return undefined;
  }

  block() {
    if (this.id !== null) this.lastId = this.id;
    if (this.size > 0) {
      this.onBlock({
        type: this.type || 'message',
        data: this.data.join('\n'),
        dispatch: this.data.length > 0,
        id: this.lastId,
        hasId: this.id !== null,
        retry: this.retry,
        comment: this.comment,
        size: this.size + 1,
      });
    }
    this.clear();
  }
}
