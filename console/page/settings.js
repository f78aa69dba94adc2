// What the page remembers in this browser from one visit to the next: how things are shown, and what was picked last. Tokens, positions
// and bodies are not among it.
const KEY = 'headgate-console';
const NAMES = ['theme', 'beats', 'wrap', 'snippet', 'stream', 'publish'];

function read() {
  try {
    const kept = JSON.parse(localStorage.getItem(KEY));
    return kept && typeof kept === 'object' ? kept : {};
  } catch {
    return {}; // switched off, or written by something else
  }
}

// setting is what was kept under a name, if it is of the same type as otherwise.
export function setting(name, otherwise) {
  const value = read()[name];
  return typeof value === typeof otherwise ? value : otherwise;
}

// keep remembers a value under one of NAMES. Another tab may have kept something else meanwhile, which stays.
export function keep(name, value) {
  if (!NAMES.includes(name)) throw new Error(`settings: ${name} is not kept`);
  try {
    localStorage.setItem(KEY, JSON.stringify({ ...read(), [name]: value }));
  } catch {
    // Full or switched off: the page works all the same.
  }
}
