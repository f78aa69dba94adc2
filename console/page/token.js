// The token box. What is pasted stays in this page: it is decoded here, shown as text, and sent in Authorization of the stream's requests.
import { $ } from './dom.js';
import { parseJSON } from './stream.js';

const MOST = 16 << 10; // bytes that headgate takes

// decode reads a JWT (RFC 7519, section 3) without checking anything: {header, claims}, or {problem}.
export function decode(text) {
  if (!/^[\w.~+/-]+=*$/.test(text)) return { problem: 'A token has letters, digits and -._~+/ only.' }; // RFC 6750, section 2.1
  if (text.length > MOST) return { problem: `A token has at most ${MOST} bytes, and this one ${text.length}.` };
  const parts = text.split('.');
  if (parts.length !== 3) return { problem: `A JWT has three parts with dots between them, and this has ${parts.length}.` };
  const [header, claims] = parts.slice(0, 2).map(part);
  if (!header || !claims) return { problem: 'This is no JWT: its parts are not JSON in base64url.' };
  return { header, claims };
}

function part(text) {
  try {
    const bytes = Uint8Array.from(atob(text.replaceAll('-', '+').replaceAll('_', '/')), (c) => c.charCodeAt(0));
    const value = parseJSON(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
    return value && typeof value === 'object' && !Array.isArray(value) ? value : null;
  } catch {
    return null;
  }
}

// span is a time in words: 2 h 5 min, 59 s.
export function span(seconds) {
  const s = Math.max(0, Math.round(seconds));
  const units = [[Math.floor(s / 86400), 'd'], [Math.floor(s / 3600) % 24, 'h'], [Math.floor(s / 60) % 60, 'min'], [s % 60, 's']];
  const from = units.findIndex(([n]) => n > 0);
  return (from === -1 ? [[0, 's']] : units.slice(from, from + 2)).map(([n, unit]) => `${n} ${unit}`).join(' ');
}

// life is what is left of a token: {text, kind}.
export function life({ exp, nbf }, now) {
  if (typeof exp !== 'number') return { text: 'It has no exp: headgate refuses it.', kind: 'bad' };
  if (typeof nbf === 'number' && nbf > now) return { text: `Not good before ${span(nbf - now)} from now.`, kind: 'warn' };
  if (exp <= now) return { text: `Expired ${span(now - exp)} ago.`, kind: 'bad' };
  return { text: `Good for ${span(exp - now)}.`, kind: exp - now < 60 ? 'warn' : 'good' };
}

export class Token {
  // onChange is told when another token is in the box.
  constructor(info, onChange) {
    this.onChange = onChange;
    this.said = null; // of the stream: {text, until}
    $('token-field').hidden = !info.identity;
    $('token-command').textContent = info.tokenCommand || '';
    $('token-make').hidden = !info.tokenCommand;
    $('token').addEventListener('input', () => {
      this.said = null;
      this.show();
      onChange();
    });
    setInterval(() => this.tick(), 1000);
    this.show();
  }

  // text is what is sent; a pasted header field will do, and so does a token that was wrapped.
  get text() {
    return $('token').value.replace(/^\s*(authorization:\s*)?bearer\s/i, '').replace(/\s+/g, '');
  }

  // problem says why it cannot be sent, or ''. A token that headgate refuses can: its answer is worth seeing.
  problem() {
    return this.text === '' || /^[\w.~+/-]+=*$/.test(this.text) ? '' : decode(this.text).problem;
  }

  // expiring is headgate's $expiring: the stream ends in so many seconds.
  expiring(seconds) {
    this.say('Paste a new one: the stream goes on with it. It ends in', Date.now() + seconds * 1000);
  }

  // ended is its $end token-expired.
  ended() {
    this.say('The stream has ended with its token. A new one goes on where it was.', 0);
  }

  // fresh is a new connection.
  fresh() {
    this.said = null;
    this.tick();
  }

  say(text, until) {
    this.said = { text, until };
    $('announce').textContent = text;
    this.tick();
  }

  show() {
    const { text } = this;
    const { header, claims, problem } = text === '' ? {} : decode(text);
    this.claims = claims;
    $('token-problem').textContent = problem || '';
    $('token-problem').hidden = !problem;
    $('token-decoded').hidden = !claims;
    $('token-header').textContent = claims ? `alg ${header.alg ?? 'none'}${header.kid === undefined ? '' : `, kid ${header.kid}`}; the signature is for headgate to check` : '';
    $('token-claims').textContent = claims ? JSON.stringify(claims, null, 2) : '';
    this.tick();
  }

  tick() {
    const left = this.claims ? life(this.claims, Date.now() / 1000) : { text: '', kind: '' };
    $('token-life').textContent = left.text;
    $('token-life').className = `life ${left.kind}`;
    const { said } = this;
    $('token-said').hidden = !said;
    $('token-said').textContent = said ? said.text + (said.until ? ` ${span((said.until - Date.now()) / 1000)}.` : '') : '';
  }
}
