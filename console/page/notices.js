// What headgate's own events mean, in words. The names and fields are those of docs/protocol.md.
import { parseJSON } from './stream.js';

const GAPS = {
  expired: 'it is older than what is kept',
  reset: 'the source is a new one',
  rewound: 'the source went back in its sequence',
  'unknown-position': 'the id is not one that this replica knows',
  reconnect: 'the connection to NATS was lost for a while',
  overflow: 'messages came in faster than they could be taken',
  limit: 'a replay has a bound',
  slow: 'this client was too slow',
  rate: 'this client’s rate was used up',
  invalid: 'the message breaks the route’s rule',
  'too-large': 'the message is larger than the route allows',
};

// describe gives a block its kind in the table, and a sentence where the data alone would not say enough.
export function describe(block) {
  if (!block.dispatch) return beat(block);
  const data = parseJSON(block.data) || {};
  switch (block.type) {
    case '$ready':
      return { kind: 'ready', note: `Subscribed and confirmed by NATS: ${data.route || 'stream'}, ${data.position || 'live'}` };
    case '$live':
      return { kind: 'ready', note: 'Caught up: everything from here on is live' };
    case '$snapshot':
      return { kind: 'ready', note: `The initial state is complete: ${data.count} events` };
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

function gap(data) {
  const what = data.certain === false ? 'Events may be missing' : 'Events are missing';
  const range = data.from === undefined ? '' : data.from === data.to ? `, number ${data.from}` : `, ${data.from} to ${data.to ?? '?'}`;
  const next = data.next === 'snapshot' ? 'A fresh snapshot follows.' : 'It goes on live.';
  return `${what}${data.source ? ` from ${data.source}` : ''}${range}: ${GAPS[data.reason] || data.reason}. ${next}`;
}
