// The stream of the form as something to paste elsewhere.
import { positioned } from './stream.js';

// quote makes one word of a POSIX shell.
export function quote(text) {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

const string = (text) => JSON.stringify(text);

// since is the address for clients that send an id as a header field.
const since = (request) => positioned(request.url, request.lastId ? {} : request);

export function curl(request) {
  const token = request.token ? ' -H "Authorization: Bearer $TOKEN"' : '';
  const id = request.lastId ? ` -H ${quote(`Last-Event-ID: ${request.lastId}`)}` : '';
  return `curl -N${token}${id} ${quote(since(request))}`;
}

export function curlPublish(url, body, kind, token) {
  return `curl${token ? ' -H "Authorization: Bearer $TOKEN"' : ''} -H ${quote(`Content-Type: ${kind}`)} --data-binary ${quote(body)} ${quote(url)}`;
}

export function eventSource(request) {
  const lines = [
    ...(request.token ? ['// An EventSource sends no token: use a cookie, or examples/client/headgate.js.'] : []),
    // A browser gives the id itself when it reconnects; only the first position is ours to say.
    `const source = new EventSource(${string(positioned(request.url, request))});`,
    '',
    "source.onopen = () => console.log('connected');",
    "source.onerror = () => console.log(source.readyState === EventSource.CLOSED ? 'refused' : 'reconnecting');",
    '',
  ];
  const types = request.types.length > 0 ? request.types : ['message'];
  for (const type of types) {
    lines.push(`source.addEventListener(${string(type)}, (event) => {`, '  console.log(event.type, event.lastEventId, event.data);', '});');
  }
  lines.push('', '// Data that is gone: what, and why.', "source.addEventListener('$gap', (event) => console.warn(JSON.parse(event.data)));");
  return lines.join('\n');
}

export function viaFetch(request) {
  const headers = [`Accept: 'text/event-stream'`];
  if (request.token) headers.push('Authorization: `Bearer ${token}`');
  if (request.lastId) headers.push(`'Last-Event-ID': ${string(request.lastId)}`);
  return `const response = await fetch(${string(since(request))}, {
  headers: { ${headers.join(', ')} },
});
if (response.status !== 200) throw new Error((await response.json()).detail);

const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
let text = '';
for (;;) {
  const { done, value } = await reader.read();
  if (done) break; // reconnect with the last id
  text += value;
  const blocks = text.split('\\n\\n');
  text = blocks.pop();
  for (const block of blocks) {
    const event = { type: 'message', data: [] };
    for (const line of block.split('\\n')) {
      const [, name, data] = /^(\\w*): ?(.*)$/.exec(line) || [];
      if (name === 'data') event.data.push(data);
      else if (name === 'event') event.type = data;
      else if (name === 'id') event.id = data;
    }
    if (event.data.length > 0) console.log(event.type, event.id, event.data.join('\\n'));
  }
}`;
}

// nats publishes to what the stream follows; wildcards get a word in their place.
export function nats(request, server) {
  const subject = (request.subjects[0] || '').split('.').map((token) => (token === '*' || token === '>' ? 'demo' : token)).join('.');
  return `nats -s ${quote(server)} pub ${quote(subject)} ${quote('{"text":"Hello from NATS"}')}`;
}
