// The publish box: POST to a route that has a publish subject.
import { $, copy, make } from './dom.js';
import { Params, fill } from './form.js';
import { keep, setting } from './settings.js';
import { curlPublish } from './snippets.js';
import { parseJSON, readProblem } from './stream.js';

// setUpPublish asks for the token() with each request: a publish has the same caller as the stream.
export function setUpPublish(routes, token) {
  const entrances = routes.filter((route) => route.publish);
  if (entrances.length === 0) return;
  const params = new Params($('publish-params'), 'q');
  const picked = () => entrances.find((route) => route.name === $('publish-route').value);
  const url = () => new URL(fill(picked().path, params.values(), encodeURIComponent), location.origin).href;
  const kind = () => (parseJSON($('body').value) === undefined ? 'text/plain' : 'application/json');
  const show = () => { $('publish-subject').textContent = `to ${fill(picked().publish, params.values())}`; };

  $('publish').hidden = false;
  $('publish-route').append(...entrances.map((route) => make('option', { value: route.name, text: route.name })));
  if (entrances.some((route) => route.name === setting('publish', ''))) $('publish-route').value = setting('publish', '');
  $('publish-route').addEventListener('change', () => {
    keep('publish', $('publish-route').value);
    params.show(picked(), {});
    show();
  });
  $('publish').addEventListener('input', show);
  $('publish').addEventListener('submit', (event) => {
    event.preventDefault();
    const missing = params.missing();
    if (missing) answer(missing, false);
    else send(url(), $('body').value, kind(), token());
  });
  $('body').addEventListener('keydown', (event) => {
    if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) $('publish').requestSubmit();
  });
  $('copy-publish').addEventListener('click', (event) => copy(curlPublish(url(), $('body').value, kind(), token() !== ''), event.currentTarget));
  params.show(picked(), {});
  show();
}

function answer(text, good) {
  $('publish-answer').textContent = text;
  $('publish-answer').classList.toggle('bad', !good);
}

async function send(url, body, kind, token) {
  answer('Publishing…', true);
  const start = performance.now();
  try {
    const headers = { 'Content-Type': kind };
    if (token !== '') headers.Authorization = `Bearer ${token}`; // RFC 6750, section 2.1
    // As for a stream: no cookie beside a token, and a token is for this address alone.
    const response = await fetch(url, { method: 'POST', body, headers, redirect: token === '' ? 'follow' : 'error', credentials: token === '' ? 'same-origin' : 'omit' });
    const took = `${Math.round(performance.now() - start)} ms`;
    if (response.ok) {
      const stored = parseJSON(await response.text());
      answer(`${response.status}: ${stored && stored.stream ? `stored in ${stored.stream} as ${stored.seq}` : 'published'} (${took})`, true);
      return;
    }
    const problem = await readProblem(response);
    answer(`${problem.status} ${problem.title}: ${problem.detail}`, false);
  } catch (error) {
    answer(`The request failed: ${error.message}`, false);
  }
}
