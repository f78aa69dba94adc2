// One stream over fetch, behaving as an EventSource does: it reconnects after the network's end with the last id, and stops at
// an answer other than 200. Unlike an EventSource it can say why.
import { Parser } from './sse.js';

const DEFAULT_RETRY = 3000; // milliseconds until the stream says otherwise

// Stream reports to handlers: state(name, detail), block(block), head(response), problem(problem). It asks them for the token().
// States: idle, connecting, open, waiting (detail.until), cut, ended, refused.
export class Stream {
  // first is what the first request says besides: {lastId, since}. A page cannot set header fields there, so it goes into the address.
  constructor(url, first, handlers) {
    this.url = url;
    this.target = positioned(url, first);
    this.lastId = ''; // what the stream has said
    this.handlers = handlers;
    this.retry = DEFAULT_RETRY;
    this.attempt = 0;
    this.abort = null;
    this.timer = 0;
    this.end = null;
  }

  // open connects, at once.
  async open() {
    this.stop();
    const abort = new AbortController();
    this.abort = abort;
    this.attempt++;
    this.end = null;
    this.handlers.state('connecting', {});
    try {
      const headers = { Accept: 'text/event-stream' };
      if (this.lastId !== '') headers['Last-Event-ID'] = this.lastId;
      const token = this.handlers.token();
      if (token !== '') headers.Authorization = `Bearer ${token}`; // RFC 6750, section 2.1
      // A cookie beside a token is one identity too many, and a token is for this address alone.
      const response = await fetch(this.target, { headers, cache: 'no-store', signal: abort.signal, redirect: token === '' ? 'follow' : 'error', credentials: token === '' ? 'same-origin' : 'omit' });
      if (await this.accepted(response)) {
        this.handlers.head(response);
        this.handlers.state('open', {});
        await this.read(response.body.getReader());
        this.ended('The stream has ended');
      }
    } catch (error) {
      if (!abort.signal.aborted) this.ended(`The connection failed: ${error.message}`);
    }
  }

  // accepted says whether the answer is a stream, and reports it when it is not.
  async accepted(response) {
    const kind = response.headers.get('Content-Type') || '';
    if (response.status === 200 && kind.startsWith('text/event-stream')) return true;
    this.abort = null;
    if (response.status === 204) {
      this.handlers.state('ended', { why: 'Finished: 204 says that nothing more will come' });
      return false;
    }
    this.handlers.problem(await readProblem(response));
    this.handlers.state('refused', { status: response.status });
    return false;
  }

  async read(reader) {
    const decoder = new TextDecoder();
    const parser = new Parser((block) => this.block(block));
    parser.lastId = this.lastId;
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      parser.push(decoder.decode(value, { stream: true }));
      if (parser.retry !== null) this.retry = parser.retry; // it counts at once, also where its block never ends
    }
  }

  block(block) {
    this.lastId = block.id;
    if (block.retry !== null) this.retry = block.retry;
    if (block.dispatch && block.type === '$end') this.end = parseJSON(block.data) || {};
    this.handlers.block(block);
  }

  // moveTo makes the next request begin elsewhere: behind an id, or with '' as if there had been none.
  moveTo(lastId) {
    this.target = this.url;
    this.lastId = lastId;
  }

  // ended decides what follows a connection that is gone.
  ended(why) {
    this.abort = null;
    if (this.end && this.end.reconnect === false) {
      this.handlers.state('ended', { why: `Ended by headgate: ${this.end.reason}` });
      return;
    }
    this.handlers.state('waiting', { why, end: this.end, until: Date.now() + this.retry });
    this.timer = setTimeout(() => this.open(), this.retry);
  }

  // cut drops the connection and stays away until open is called.
  cut() {
    this.stop();
    this.handlers.state('cut', {});
  }

  // close ends the stream for good.
  close() {
    this.stop();
    this.handlers.state('idle', {});
  }

  stop() {
    clearTimeout(this.timer);
    if (this.abort) this.abort.abort();
    this.abort = null;
  }
}

// positioned is the address of a first request that begins at an id or a time.
export function positioned(url, { lastId = '', since = '' }) {
  const at = new URL(url);
  if (lastId !== '') at.searchParams.set('last-event-id', lastId);
  else if (since !== '') at.searchParams.set('since', since);
  return at.href;
}

export function parseJSON(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

// readProblem makes a problem document (RFC 9457) of any answer that is not what was asked for.
export async function readProblem(response) {
  const text = (await response.text().catch(() => '')).slice(0, 4000);
  const kind = response.headers.get('Content-Type') || '';
  const body = kind.includes('json') ? parseJSON(text) : undefined;
  const known = body && typeof body === 'object' ? body : {};
  return {
    status: response.status,
    title: String(known.title || response.statusText || 'Unexpected answer'),
    detail: String(known.detail || (known.title ? '' : text) || `Content-Type: ${kind || 'none'}`),
    type: String(known.type || ''),
    instance: String(known.instance || ''),
    retryAfter: response.headers.get('Retry-After') || '',
  };
}
