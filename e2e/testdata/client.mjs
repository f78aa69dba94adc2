// Notes everything that the client library tells, in order, as {name, what}.
const CALLBACKS = ['onEvent', 'onReady', 'onSnapshot', 'onLive', 'onGap', 'onExpiring', 'onEnd', 'onState'];

// Errors become objects, so that they can be looked at from outside.
const plain = (value) => JSON.parse(JSON.stringify(value, (_, v) => (v instanceof Error ? { ...v, message: v.message } : v)));

export function record({ connect, Parser }) {
  globalThis.seen = [];
  globalThis.begin = (url, options = {}) => {
    const note = (name) => (what, detail) => {
      seen.push({ name, what: plain(what), ...(detail && plain(detail)) });
      options[name]?.(what, detail);
    };
    const callbacks = Object.fromEntries(CALLBACKS.map((name) => [name, note(name)]));
    globalThis.stream = connect(url, { ...options, ...callbacks });
    stream.closed.then((closed) => seen.push({ name: 'closed', what: plain(closed) }));
  };
  // states are onState's, with why they wait.
  globalThis.states = () => seen.filter((s) => s.name === 'onState').map((s) => s.what + (s.why ? ` ${s.why}` : ''));
  globalThis.first = (name) => seen.find((s) => s.name === name)?.what;
  globalThis.all = (name) => seen.filter((s) => s.name === name).map((s) => s.what);
  // parse gives the blocks of a stream that comes in pieces, cut at these places.
  globalThis.parse = (bytes, cuts) => {
    const blocks = [];
    let retry = null;
    const parser = new Parser((block) => {
      blocks.push({ ...block, retry });
      retry = null;
    }, '', (wait) => { retry = wait; });
    let at = 0;
    for (const cut of [...cuts, bytes.length]) {
      parser.push(Uint8Array.from(bytes.slice(at, cut)));
      at = cut;
    }
    return blocks;
  };
}
