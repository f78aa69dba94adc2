// The log as a file: one JSON object a line, oldest first, for jq, a colleague or a bug report.
import { make } from './dom.js';
import { parseJSON } from './stream.js';

// line is one entry. What the page itself has to say (connected, cut, and so on) has a note in place of data.
function line(entry) {
  const { at, kind, type, id, data, note, phase } = entry;
  const own = kind === 'note' || kind === 'refused';
  const value = parseJSON(data);
  return JSON.stringify({
    time: new Date(at).toISOString(),
    ...(own ? { console: type, note: note || data } : { event: type }),
    ...(id ? { id } : {}),
    ...(phase ? { phase } : {}),
    // Numbers that JavaScript cannot hold would change on their way: such data stays the text that it was.
    ...(own || kind === 'beat' ? {} : { data: value !== undefined && JSON.stringify(value) === data ? value : data }),
  });
}

// download gives the entries to the browser as a file.
export function download(entries, route) {
  const text = entries.map((entry) => `${line(entry)}\n`).join('');
  const url = URL.createObjectURL(new Blob([text], { type: 'application/x-ndjson' }));
  const when = new Date().toISOString().slice(0, 19).replaceAll(':', '');
  const link = make('a', { href: url, download: `${route || 'headgate'}-${when}.ndjson` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 60000); // the browser may still be reading
}
