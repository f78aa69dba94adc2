// Streams of headgate over fetch, for what a browser's EventSource cannot do: bearer tokens that are renewed, a look at why a stream
// was refused or ended, and a watch over connections that have gone silent.
//
// One file without dependencies, for browsers and Node 18 or newer. What comes over the wire stands in docs/protocol.md.

const FIRST_RETRY = 2000; // milliseconds, half more or less
const MAX_BACKOFF = 60_000;
const LONGEST_TIMER = 2 ** 31 - 1; // setTimeout takes 32 bits, and fires at once beyond them
const SILENCE = 45_000; // three heartbeats as headgate sends them by default

const TRY_AGAIN = new Set([408, 425, 429, 500, 502, 503, 504]); // every other status is an answer that another request would get too

// headgate's own events and who is told of them. What else begins with $ is for later versions, and passed over.
const OWN = { $ready: 'onReady', $snapshot: 'onSnapshot', $live: 'onLive', $gap: 'onGap', $expiring: 'onExpiring', $end: 'onEnd' };

/**
 * @typedef {{reason: string, error?: StreamError}} Closed Why a stream is over for good: `done` and the like from headgate's $end,
 *   `finished` (204), `refused` with the error, or `closed` by the caller.
 *
 * @typedef {object} Options
 * @property {string | ((about: {renew: boolean, signal: AbortSignal}) => string | Promise<string>)} [token] A token, or what gives one. It
 *   is asked for the first request, with `renew` when headgate has said that the token ends or that it is no good (401), and its answer
 *   is kept until then.
 * @property {string} [lastEventId] where to go on
 * @property {AbortSignal} [signal] closes the stream
 * @property {RequestCredentials} [credentials] of fetch, where there is no token
 * @property {number} [retry] milliseconds between two attempts, until the stream says otherwise
 * @property {number} [silence] milliseconds without a byte after which a connection counts as dead: a few heartbeats; 0 = for ever
 * @property {(event: {type: string, data: string, lastEventId: string}) => void} [onEvent] an event of the application
 * @property {(ready: {connection: string, route: string, position: string}) => void} [onReady]
 * @property {(snapshot: {count: number}) => void} [onSnapshot] and `onLive`, without data
 * @property {(gap: {reason: string, certain: boolean, source: string, from?: number, to?: number, next: string}) => void} [onGap]
 * @property {(expiring: {in: number}) => void} [onExpiring]
 * @property {(end: {reason: string, cause?: string, reconnect: boolean}) => void} [onEnd]
 * @property {(state: 'connecting' | 'open' | 'waiting' | 'closed', detail: object) => void} [onState] `waiting` comes with `{why, wait,
 *   error}`, `closed` with what `closed` gives
 */

/** Opens a stream and keeps it open until it is over. @param {string | URL} url @param {Options} [options] */
export function connect(url, options = {}) {
  return new Stream(url, options);
}

/** A refusal: `status` and, where headgate wrote it, the `problem` document (RFC 9457), whose `detail` says what to do about it. */
export class StreamError extends Error {
  constructor(status, problem) {
    super(`${status} ${problem.title ?? ''}: ${problem.detail ?? 'not an event stream'}`);
    this.name = 'StreamError';
    this.status = status;
    this.problem = problem;
  }
}

export class Stream {
  #url;
  #options;
  #request = null; // AbortController of the running attempt
  #wake = () => {}; // ends the wait for the next one
  #retry;
  #failures = 0; // since there was last a stream
  #token; // the one in use; undefined = to be asked for
  #renew = false; // the next one that is asked for must be a new one
  #asking = null; // {answer, abort} while one is asked for
  #renewal = 0; // timer
  #warned = false; // this connection has had its $expiring
  #end = null; // data of $end
  #over = null; // Closed
  #finish;

  /** The id that the next request goes on from. */
  lastEventId;

  /** Resolves with a {@link Closed} when the stream is over for good. @type {Promise<Closed>} */
  closed = new Promise((resolve) => { this.#finish = resolve; });

  constructor(url, options) {
    this.#url = new URL(url, globalThis.location?.href);
    this.#options = options;
    this.#retry = options.retry ?? FIRST_RETRY * (0.5 + Math.random());
    this.lastEventId = options.lastEventId ?? '';
    if (options.signal?.aborted) this.close();
    else options.signal?.addEventListener('abort', this.#aborted);
    this.#run();
  }

  /** Closes the stream. No callback is called any more. */
  close() {
    this.#stop({ reason: 'closed' });
  }

  #aborted = () => this.close();

  #stop(over) {
    if (this.#over) return;
    this.#over = over;
    clearTimeout(this.#renewal);
    this.#options.signal?.removeEventListener('abort', this.#aborted);
    this.#request?.abort();
    this.#unask();
    this.#wake();
    this.#finish(over);
  }

  async #run() {
    await null; // whoever has called connect has the stream by now
    while (!this.#over) {
      const { over, why, wait, error } = await this.#attempt();
      if (this.#over) return;
      if (over) {
        this.#tell('onState', 'closed', over);
        this.#stop(over);
        return;
      }
      this.#tell('onState', 'waiting', { why, wait, error });
      await this.#sleep(wait);
    }
  }

  // attempt is one connection from its beginning to its end. It says what follows: {over} or {why, wait, error}.
  async #attempt() {
    const request = new AbortController();
    this.#request = request;
    this.#end = null;
    this.#warned = false;
    this.#tell('onState', 'connecting', {});
    const watch = new Watch(this.#options.silence ?? SILENCE, request);
    try {
      const response = await this.#ask(request.signal);
      watch.seen();
      if (!isStream(response)) return await this.#refused(response);
      this.#tell('onState', 'open', {});
      await this.#read(response.body.getReader(), watch);
      if (this.#end?.reconnect === false) return { over: { reason: this.#end.reason } };
      if (this.#end) return { why: this.#end.cause ?? this.#end.reason, wait: this.#retry }; // headgate has spread it over its clients
      return { why: 'cut', wait: this.#backoff() };
    } catch (error) {
      if (watch.silent) this.#unask();
      return { why: watch.silent ? 'silent' : 'failed', wait: this.#backoff(), error };
    } finally {
      watch.stop();
      clearTimeout(this.#renewal);
      request.abort(); // nothing of it goes on beside the next one
    }
  }

  // ask makes the request. A token that is no good is replaced once: who gets a second 401 would get a third.
  async #ask(signal) {
    const response = await this.#fetch(signal);
    if (response.status !== 401 || typeof this.#options.token !== 'function') return response;
    await response.body?.cancel();
    this.#forget();
    return this.#fetch(signal);
  }

  async #fetch(signal) {
    const headers = { Accept: 'text/event-stream' };
    const token = await this.#bearer(signal);
    if (token) headers.Authorization = `Bearer ${token}`;
    if (this.lastEventId !== '') headers['Last-Event-ID'] = bytesOf(this.lastEventId);
    return fetch(this.#url, {
      headers,
      signal,
      cache: 'no-store',
      redirect: 'manual', // a token is for the address that it was given for
      credentials: token ? 'omit' : this.#options.credentials ?? 'same-origin', // a cookie beside a token is one too many
    });
  }

  async #bearer(signal) {
    const { token } = this.#options;
    if (typeof token !== 'function') return token;
    if (this.#token === undefined) await unlessAborted((this.#asking ?? this.#inquire(token)).answer, signal);
    return this.#token;
  }

  // inquire asks for a token, once at a time and beyond the end of a connection: a session that gives its next token once only would
  // lose it to the second question.
  #inquire(token) {
    const abort = new AbortController();
    const asking = { abort };
    this.#asking = asking;
    asking.answer = (async () => token({ renew: this.#renew, signal: abort.signal }))().then((fresh) => {
      if (this.#asking === asking) [this.#token, this.#renew] = [fresh, false];
    }).finally(() => {
      if (this.#asking === asking) this.#asking = null;
    });
    asking.answer.catch(() => {}); // nobody may be waiting for it any more
    return asking;
  }

  // unask gives up a question that is not answered.
  #unask() {
    this.#asking?.abort.abort();
    this.#asking = null;
  }

  // forget makes the next request ask for another token.
  #forget() {
    [this.#token, this.#renew] = [undefined, true];
  }

  // renewSoon gets the next token while the old one is still good, so that the reconnection need not wait for it: at a random moment, for
  // those who got theirs together not to come for the next one together. When it fails, the next request asks again.
  #renewSoon(seconds, signal) {
    this.#warned = true;
    if (typeof this.#options.token !== 'function') return;
    this.#forget();
    clearTimeout(this.#renewal);
    this.#renewal = setTimeout(() => { this.#bearer(signal).catch(() => {}); }, timer(Math.random() * seconds * 250));
  }

  async #refused(response) {
    if (response.status === 204) return { over: { reason: 'finished' } };
    const error = new StreamError(response.status, await problemOf(response));
    if (!TRY_AGAIN.has(response.status)) return { over: { reason: 'refused', error } };
    return { why: 'refused', wait: Math.max(this.#backoff(), retryAfter(response) * (1 + Math.random() / 4)), error };
  }

  async #read(reader, watch) {
    const parser = new Parser((block) => this.#block(block), this.lastEventId, (wait) => { if (!this.#end) this.#retry = wait; });
    while (!this.#end) { // nothing comes behind it
      const { done, value } = await reader.read();
      if (done) return;
      watch.seen();
      parser.push(value);
    }
  }

  #block({ type, data, lastEventId }) {
    if (this.#over || this.#end) return;
    this.lastEventId = lastEventId;
    if (data === null) return;
    if (!type.startsWith('$')) return this.#tell('onEvent', { type, data, lastEventId });
    const said = parseJSON(data) ?? {};
    if (type === '$ready') this.#failures = 0;
    if (type === '$expiring') this.#renewSoon(Number(said.in) || 0, this.#request.signal);
    if (type === '$end') {
      this.#end = said;
      if (said.reason === 'token-expired' && !this.#warned) this.#forget(); // else the next one is there, or on its way
    }
    if (Object.hasOwn(OWN, type)) this.#tell(OWN[type], said);
  }

  #backoff() {
    const first = Math.max(this.#retry, 1); // nothing, doubled, stays nothing
    const most = Math.max(first, Math.min(first * 2 ** ++this.#failures, MAX_BACKOFF));
    return this.#retry + Math.random() * (most - this.#retry); // never sooner than the stream has asked for
  }

  #sleep(wait) {
    return new Promise((resolve) => {
      const id = setTimeout(resolve, timer(wait));
      this.#wake = () => {
        clearTimeout(id);
        resolve();
      };
    });
  }

  // tell calls a callback. What it throws is its own affair and ends no stream.
  #tell(name, ...what) {
    if (this.#over) return;
    try {
      this.#options[name]?.(...what);
    } catch (error) {
      if (globalThis.reportError) globalThis.reportError(error);
      else console.error(error);
    }
  }
}

// Watch ends a request on which nothing has come for too long: the network of a laptop that slept, a proxy that forgot us. It looks at
// the clock now and then, since timers stand still while a machine sleeps.
class Watch {
  #last = Date.now();
  #timer = 0;
  silent = false;

  constructor(silence, request) {
    if (silence <= 0) return;
    this.#timer = setInterval(() => {
      if (Date.now() - this.#last < silence) return;
      this.silent = true;
      request.abort();
    }, timer(silence / 4));
  }

  seen() {
    this.#last = Date.now();
  }

  stop() {
    clearInterval(this.#timer);
  }
}

/**
 * The event stream parser of the HTML Living Standard, section 9.2.6. It gives every block, also those for which an EventSource would fire
 * nothing: `data` is null then. A `retry` counts as soon as its line has ended, also where its block never does.
 */
export class Parser {
  #onBlock;
  #onRetry;
  #decoder = new TextDecoder(); // which drops one byte order mark at the start (Encoding Standard, section 6.1)
  #rest = ''; // of a line whose end has not come yet
  #afterCR = false; // an LF that follows belongs to it
  #lines = 0;
  #type = '';
  #data = [];
  #id; // counts from the end of its block on

  /** @param {(block: {type: string, data: string | null, lastEventId: string}) => void} onBlock
   * @param {string} [lastEventId] @param {(milliseconds: number) => void} [onRetry] */
  constructor(onBlock, lastEventId = '', onRetry = () => {}) {
    this.#onBlock = onBlock;
    this.#onRetry = onRetry;
    this.#id = lastEventId;
  }

  /** Takes the next bytes, however they were cut. @param {Uint8Array} bytes */
  push(bytes) {
    let text = this.#decoder.decode(bytes, { stream: true });
    if (text === '') return;
    if (this.#afterCR && text[0] === '\n') text = text.slice(1);
    this.#afterCR = text.endsWith('\r');
    let at = 0;
    for (const end of text.matchAll(/\r\n|\r|\n/g)) {
      this.#line(this.#rest + text.slice(at, end.index));
      this.#rest = '';
      at = end.index + end[0].length;
    }
    this.#rest += text.slice(at);
  }

  #line(line) {
    if (line === '') return this.#block();
    this.#lines++;
    const colon = line.indexOf(':'); // in front: a comment, a field without a name, which means nothing
    const name = colon === -1 ? line : line.slice(0, colon);
    const value = colon === -1 ? '' : line.slice(colon + (line[colon + 1] === ' ' ? 2 : 1));
    if (name === 'data') this.#data.push(value);
    else if (name === 'event') this.#type = value;
    else if (name === 'id' && !value.includes('\0')) this.#id = value;
    else if (name === 'retry' && /^[0-9]+$/.test(value) && Number.isSafeInteger(Number(value))) this.#onRetry(Number(value));
  }

  #block() {
    if (this.#lines === 0) return;
    const data = this.#data.length === 0 ? null : this.#data.join('\n');
    const block = { type: this.#type || 'message', data, lastEventId: this.#id };
    [this.#lines, this.#type, this.#data] = [0, '', []];
    this.#onBlock(block);
  }
}

function isStream(response) {
  const [type] = (response.headers.get('Content-Type') ?? '').split(';');
  return response.status === 200 && type.trim().toLowerCase() === 'text/event-stream' && response.body !== null;
}

async function problemOf(response) {
  const type = response.headers.get('Content-Type') ?? '';
  return (type.startsWith('application/problem+json') && parseJSON(await response.text())) || {};
}

// retryAfter is in milliseconds, 0 where there is none: seconds or a date (RFC 9110, section 10.2.3).
function retryAfter(response) {
  const text = response.headers.get('Retry-After') ?? '';
  const wait = /^[0-9]+$/.test(text) ? Number(text) * 1000 : Date.parse(text) - Date.now();
  return wait > 0 ? wait : 0;
}

// bytesOf makes a header value of an id: UTF-8 (HTML Living Standard, section 9.2.3), each byte as one character, as fetch wants it.
function bytesOf(id) {
  return Array.from(new TextEncoder().encode(id), (byte) => String.fromCharCode(byte)).join('');
}

const timer = (wait) => Math.min(wait, LONGEST_TIMER);

// unlessAborted waits for what a caller's function promises, and no longer than for the signal.
async function unlessAborted(promise, signal) {
  signal.throwIfAborted();
  let stop;
  const aborted = new Promise((_, reject) => {
    stop = () => reject(signal.reason);
    signal.addEventListener('abort', stop);
  });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener('abort', stop);
  }
}

function parseJSON(text) {
  try {
    const value = JSON.parse(text);
    return value !== null && typeof value === 'object' ? value : undefined;
  } catch {
    return undefined;
  }
}
