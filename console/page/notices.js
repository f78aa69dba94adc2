// What headgate's own events mean, in words. The names and fields are those of docs/protocol.md.
import { parseJSON } from './stream.js';

const GAPS = {
  expired: 'it is older than what is kept',
  reset: 'the source is a new one',
  rewound: 'the source went back in its sequence',
  'unknown-position': 'the id says nothing certain about this source',
  reconnect: 'the connection to NATS was lost for a while',
  overflow: 'messages came in faster than they could be taken',
  limit: 'more was missed than a replay may have',
  slow: 'this client was too slow',
  rate: 'this client’s rate was used up',
  invalid: 'the message breaks the route’s rule',
  'too-large': 'the message is larger than the route allows',
};

// describe gives a block its kind in the table, and a sentence where the data alone would not say enough. part is the part of the stream
// that it ends, if any: {count, gaps}.
export function describe(block, part) {
  if (!block.dispatch) return beat(block);
  const data = parseJSON(block.data) || {};
  switch (block.type) {
    case '$ready':
      return { kind: 'ready', note: `Subscribed and confirmed by NATS: ${data.route || 'stream'}, ${data.position || 'live'}` };
    case '$live':
      return { kind: 'ready', note: caughtUp(part) };
    case '$snapshot':
      return { kind: 'ready', note: `The initial state is complete: ${data.count === 1 ? '1 event' : `${data.count} events`}` };
    case '$gap':
      return { kind: 'gap', note: gap(data) };
    case '$expiring':
      return { kind: 'end', note: `The identity of this stream ends in ${data.in} s` };
    case '$end':
      return { kind: 'end', note: `Ended by headgate: ${data.reason}${data.cause ? ` (${data.cause})` : ''}${data.reconnect ? ', reconnect' : ', do not reconnect'}` };
    default:
      return { kind: 'event' };
  }
}

function beat(block) {
  if (block.retry !== null) return { kind: 'beat', type: 'retry', note: `Reconnect after ${block.retry} ms` };
  if (block.hasId) return { kind: 'beat', type: 'heartbeat', note: 'The position has moved' };
  return { kind: 'beat', type: 'heartbeat', note: (block.comment || '').trim() || 'Nothing new' };
}

function caughtUp(part) {
  if (!part) return 'Caught up: everything from here on is live';
  const missed = part.count === 1 ? '1 missed event has' : `${part.count} missed events have`;
  const lost = part.gaps === 0 ? 'none was lost' : `${part.gaps === 1 ? 'a gap says' : `${part.gaps} gaps say`} what was lost`;
  return `Caught up: ${missed} been replayed, ${lost}`;
}

// gap says all that a $gap does: reason, certain, source, from, to, next.
function gap(data) {
  const what = data.certain === false ? 'Events may be missing (not certain)' : 'Events are missing (certain)';
  const range = data.from === undefined ? '' : data.from === data.to ? `, number ${data.from}` : `, ${data.from} to ${data.to ?? '?'}`;
  const next = data.next === 'snapshot' ? 'Next: the state anew.' : 'Next: the events behind it.';
  const why = GAPS[data.reason] ? `${data.reason}, ${GAPS[data.reason]}` : data.reason;
  return `${what}${data.source ? ` from ${data.source}` : ''}${range}: ${why}. ${next}`;
}
