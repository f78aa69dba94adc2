// JSON for people: indented and coloured, token by token, so that numbers of any length and keys that come twice are shown as they came.
import { make } from './dom.js';

const TOKENS = /"(?:\\.|[^"\\])*"|[{}[\],:]|[^\s{}[\],:"]+/g;
const COLOURED = 4000; // tokens; more would make the page slow, and are shown without colours

// pretty gives the nodes to show for a text that is valid JSON.
export function pretty(text) {
  const tokens = text.match(TOKENS) || [];
  const nodes = [];
  let plain = '';
  indent(tokens, (piece, kind) => {
    if (kind === '' || tokens.length > COLOURED) {
      plain += piece;
      return;
    }
    nodes.push(plain, make('span', { class: `json-${kind}`, text: piece }));
    plain = '';
  });
  return [...nodes, plain];
}

// indent calls emit(piece, kind) for each token, with the white space that belongs before or behind it.
function indent(tokens, emit) {
  let depth = 0;
  const line = () => `\n${'  '.repeat(Math.min(depth, 40))}`;
  tokens.forEach((token, i) => {
    const [before, next] = [tokens[i - 1], tokens[i + 1]];
    if (token === '{' || token === '[') {
      if (next === '}' || next === ']') return emit(token, '');
      depth++;
      return emit(token + line(), '');
    }
    if (token === '}' || token === ']') {
      if (before === '{' || before === '[') return emit(token, '');
      depth--;
      return emit(line() + token, '');
    }
    if (token === ',') return emit(token + line(), '');
    if (token === ':') return emit(': ', '');
    if (token[0] === '"') return emit(token, next === ':' ? 'key' : 'text');
    return emit(token, /^[tfn]/.test(token) ? 'word' : 'number');
  });
}
