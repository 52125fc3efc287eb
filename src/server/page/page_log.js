// page_log.js - messages as elements: questions with their documents, answers with versions and figures.
import { copyText, make, render } from './page_text.js';

const number = new Intl.NumberFormat('en', { maximumFractionDigits: 1 });

function bytes(count) {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let unit = 0;
  while (count >= 1000 && unit < units.length - 1) {
    count /= 1000;
    unit++;
  }
  return number.format(count) + ' ' + units[unit];
}

export function documentChip(one, note, remove) {
  return make('li', { class: 'document' }, make('span', { class: 'name' }, one.name),
    make('span', { class: 'note' }, note || bytes(new Blob([one.text]).size)),
    ...(remove ? [make('button', { type: 'button', class: 'plain', 'aria-label': 'Remove ' + one.name, onclick: remove }, '×')] : []));
}

function question(message, index, actions) {
  const body = make('div', { class: 'bubble' }, message.text);
  const edit = make('button', { type: 'button', class: 'plain', onclick: () => editing(element, message, index, actions) }, 'Edit');
  const element = make('article', { class: 'user', 'aria-label': 'You' },
    ...(message.documents.length > 0 ? [make('ul', { class: 'documents' }, ...message.documents.map((one) => documentChip(one)))] : []), body,
    make('div', { class: 'tools' }, edit));
  return element;
}

function editing(element, message, index, actions) {
  const area = make('textarea', { 'aria-label': 'Edit your question', rows: String(Math.min(8, message.text.split('\n').length + 1)) });
  area.value = message.text;
  const form = make('form', { class: 'edit' }, area, make('div', { class: 'buttons' },
    make('button', { type: 'button', class: 'plain', onclick: () => actions.redraw() }, 'Cancel'), make('button', { type: 'submit' }, 'Ask again')));
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    if (area.value.trim()) actions.edit(index, area.value.trim());
  });
  element.querySelector('.bubble').replaceWith(form);
  element.querySelector('.tools').remove();
  area.focus();
}

function figures(version) {
  const f = version.figures, parts = [];
  if (version.stop === 'stopped') parts.push('stopped');
  if (version.stop === 'length') parts.push('cut at the limit of tokens');
  if (f) {
    if (f.rate > 0) parts.push(number.format(f.rate) + ' tokens/s');
    parts.push(number.format(f.prompt) + ' tokens in, ' + number.format(f.answer) + ' out');
    if (f.reused > 0) parts.push(number.format(f.reused) + ' reused');
    parts.push(number.format(100 * f.density) + ' % of keys read', bytes(f.bytes) + ' of cache read');
    if (f.first > 0) parts.push((f.first < 1000 ? Math.round(f.first) + ' ms' : number.format(f.first / 1000) + ' s') + ' to the first token');
  }
  const element = make('div', { class: 'figures' }, parts.join(' · '));
  if (f) {
    element.dataset.reused = f.reused;
    element.title = f.attention + ', seed ' + (version.asked || {}).seed;
  }
  return element;
}

function tools(message, index, last, actions) {
  const version = message.versions[message.at], row = make('div', { class: 'tools' });
  const step = (by) => make('button', { type: 'button', class: 'plain', 'aria-label': by < 0 ? 'Answer before' : 'Answer after',
    disabled: message.at + by < 0 || message.at + by >= message.versions.length, onclick: () => actions.version(index, message.at + by) }, by < 0 ? '‹' : '›');
  if (message.versions.length > 1) row.append(step(-1), make('span', {}, message.at + 1 + ' of ' + message.versions.length), step(1));
  if (version.text) row.append(make('button', { type: 'button', class: 'plain', onclick: (event) => copyText(version.text, event.target) }, 'Copy'));
  if (last) row.append(make('button', { type: 'button', class: 'plain again', onclick: () => actions.again(index) }, 'Regenerate'));
  if (version.places.length > 0 && version.reads.some((read) => read.p.length > 0))
    row.append(make('button', { type: 'button', class: 'plain open-map', onclick: (event) => actions.map(index, event.target) }, 'Reading map'));
  return row;
}

function answer(message, index, last, actions, running) {
  const version = message.versions[message.at], body = make('div', { class: 'text' });
  render(body, version.text);
  const element = make('article', { class: 'assistant', 'aria-label': 'Answer', 'aria-busy': String(running) });
  if (version.thought) element.append(make('details', {}, make('summary', {}, 'Thoughts'), make('div', { class: 'thought' }, version.thought)));
  element.append(body);
  if (version.error) element.append(make('p', { class: 'error' }, version.error));
  if (running && !version.text && !version.thought) body.append(make('p', { class: 'waiting' }, 'Reading'));
  if (!running) element.append(figures(version), tools(message, index, last, actions));
  return element;
}

// Replaces what is in `log`. running: the index of the answer that is being written, or -1.
export function drawLog(log, conversation, model, actions, running) {
  if (conversation.messages.length === 0) {
    log.replaceChildren(make('div', { class: 'empty' }, make('h2', {}, model ? 'Ask ' + model : 'Ask'),
      make('p', {}, 'Drop a text file: it is read once, and every question about it starts at once. The reading map then shows which passages each word of an answer read.')));
    return;
  }
  log.replaceChildren(...conversation.messages.map((message, i) => message.role === 'user' ? question(message, i, actions)
    : answer(message, i, i === conversation.messages.length - 1, actions, i === running)));
}

// Only the text of the answer at the end, while it grows.
export function drawEnd(log, message) {
  const element = log.lastElementChild, version = message.versions[message.at];
  if (!element || !element.classList.contains('assistant')) return;
  if (version.text) render(element.querySelector('.text'), version.text);
  const thought = element.querySelector('.thought');
  if (thought) thought.textContent = version.thought;
  else if (version.thought) element.prepend(make('details', { open: true }, make('summary', {}, 'Thoughts'), make('div', { class: 'thought' }, version.thought)));
}
