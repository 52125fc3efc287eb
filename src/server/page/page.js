// page.js - the page's state: conversations, the one that is open, the answer that is being written.
import * as keep from './page_keep.js';
import * as settings from './page_settings.js';
import * as talk from './page_talk.js';
import { documentChip, drawEnd, drawLog } from './page_log.js';
import { placesOf, ReadingMap } from './page_map.js';
import { make } from './page_text.js';

const by = (id) => document.getElementById(id);
const say = (text) => { by('status').textContent = text; };
const state = { list: [], open: null, model: '', running: null, reading: null, progress: '' };

// ---- what is said ----

let noticeTimer = 0;
function notice(text) {
  by('notice').textContent = text;
  clearTimeout(noticeTimer);
  noticeTimer = setTimeout(() => { by('notice').textContent = ''; }, 8000);
}

function fresh() {
  return { id: crypto.randomUUID ? crypto.randomUUID() : String(Date.now()) + Math.random(), title: 'New conversation', changed: Date.now(), messages: [], documents: [] };
}

async function save(conversation) {
  conversation.changed = Date.now();
  const first = conversation.messages.find((message) => message.role === 'user');
  const name = (first && (first.text || (first.documents[0] || {}).name)) || (conversation.documents[0] || {}).name;
  if (name) conversation.title = name.slice(0, 60);
  if (!state.list.includes(conversation)) state.list.unshift(conversation);
  drawList();
  try {
    await keep.put(conversation);
  } catch (error) {
    notice('This browser does not keep the conversation: ' + error.message);
  }
}

// ---- messages for the server ----

const AROUND = -2; // what is around a document: in no section of the map
const around = (text) => ({ document: AROUND, text });
const within = (one, i) => [around('<document name="' + one.name + '">\n'), { document: i, text: one.text }, around('\n</document>\n\n')];
const partsOf = (documents, text) => [...documents.flatMap(within), { document: -1, text }];
const joined = (parts) => parts.map((part) => part.text).join('');

// The messages before `end`, as the server takes them and by parts.
function conversationTo(conversation, end) {
  const instructions = settings.get().system, made = [];
  if (instructions) made.push({ role: 'system', message: -1, parts: [{ document: -1, text: instructions }] });
  conversation.messages.slice(0, end).forEach((message, i) => {
    const parts = message.role === 'user' ? partsOf(message.documents, message.text) : [{ document: -1, text: message.versions[message.at].text }];
    made.push({ role: message.role, message: i, parts });
  });
  return made;
}

const asMessages = (contents) => contents.map(({ role, parts }) => ({ role, content: joined(parts) }));

// ---- answers ----

function take(version, event) {
  const choice = event.choices && event.choices[0];
  if (choice) {
    version.text += (choice.delta && choice.delta.content) || '';
    version.thought += (choice.delta && choice.delta.reasoning_content) || '';
    const short = (list) => list.map((one) => [one.begin, one.end, one.share]);
    for (const one of choice.reads || []) version.reads.push({ t: one.token, p: short(one.passages), ...(one.layers ? { l: one.layers.map(short) } : {}) });
    if (choice.finish_reason) version.stop = choice.finish_reason;
  }
  if (event.usage)
    version.figures = { prompt: event.usage.prompt_tokens, answer: event.usage.completion_tokens, reused: event.fovea.reused_tokens, density: event.fovea.density,
      bytes: event.fovea.bytes_read, attention: event.fovea.attention, rate: event.timings.predicted_per_second, first: version.figures ? version.figures.first : 0 };
}

function blank(asked) { return { text: '', thought: '', reads: [], places: [], length: 0, figures: null, stop: '', error: '', asked }; }

// Streams into `version`; what ends it is noted there.
async function write(version, contents, signal, grown) {
  const began = performance.now();
  let first = 0;
  try {
    await talk.stream({ messages: asMessages(contents), ...version.asked }, signal, (event) => {
      take(version, event);
      if (!first && (version.text || version.thought)) first = performance.now() - began;
      grown();
    });
  } catch (error) {
    if (error.name === 'AbortError') version.stop = 'stopped';
    else version.error = error.message;
  }
  if (version.figures) version.figures.first = first;
  if (version.reads.length === 0) return;
  const prompt = await talk.prompt(asMessages(contents), settings.template()).catch(() => null);
  if (prompt === null) return;
  version.places = placesOf(prompt, contents);
  version.length = [...prompt].length;
}

// The answer at `index` of the open conversation, as a new version.
async function answer(conversation, index) {
  if (state.running) return;
  const message = conversation.messages[index] || { role: 'assistant', at: 0, versions: [] };
  conversation.messages[index] = message;
  const version = blank(settings.fields());
  message.at = message.versions.push(version) - 1;
  state.running = { conversation, index, control: new AbortController() };
  draw();
  say('Answering');
  scrollDown(true);
  let waiting = false;
  await save(conversation);
  await write(version, conversationTo(conversation, index), state.running.control.signal, () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      if (state.open === conversation && state.running) drawEnd(by('log'), message);
      scrollDown(false);
    });
  });
  state.running = null;
  await save(conversation);
  if (state.open === conversation) draw();
  scrollDown(false);
  say(version.error || 'Answer: ' + version.text);
}

// The same answer once more, with what each layer read.
async function askLayers(shown) {
  const { conversation, index, version } = shown;
  if (state.running || !version.asked.fovea) return;
  const again = blank({ ...version.asked, max_tokens: Math.max(1, version.figures.answer), fovea: { ...version.asked.fovea, reads: { passages: 12, layers: true } } });
  state.running = { conversation, index: -1, control: new AbortController() };
  by('ask-layers').disabled = true;
  by('ask-layers').textContent = 'Reading again';
  draw();
  await write(again, conversationTo(conversation, index), state.running.control.signal, () => {});
  state.running = null;
  by('ask-layers').disabled = false;
  by('ask-layers').textContent = 'By layer';
  if (again.error || again.stop === 'stopped') notice(again.error || 'Stopped.');
  else if (again.text.trim() !== version.text.trim()) notice('The model has answered something else this time: there are no layers of that answer.');
  else {
    version.reads = again.reads.map((read, i) => ({ ...read, p: (version.reads[i] || read).p }));
    await save(conversation);
    if (by('map').hidden === false) openMap(index, null);
  }
  draw();
}

// ---- documents ----

async function addFiles(files) {
  for (const file of files) {
    let text = null;
    try {
      text = new TextDecoder('utf-8', { fatal: true }).decode(await file.arrayBuffer());
    } catch { /* refused below */ }
    if (text === null || text.includes('\0')) notice(file.name + ' is no text: it must be UTF-8.');
    else if (text.trim()) state.open.documents.push({ name: file.name, text: text.trim() });
  }
  await save(state.open);
  draw();
  readDocuments(state.open);
}

// The server reads the documents now, and keeps what it read: the question then starts at once.
async function readDocuments(conversation) {
  if (state.reading) state.reading.abort();
  state.reading = null;
  state.progress = '';
  drawDocuments();
  if (conversation.documents.length === 0) return;
  const control = new AbortController(), parts = partsOf(conversation.documents, '');
  state.reading = control;
  const timer = setInterval(async () => {
    const list = await talk.slots().catch(() => []), slot = list.filter((one) => one.is_processing).sort((a, b) => b.n_prompt_tokens - a.n_prompt_tokens)[0];
    if (state.reading !== control || !slot) return;
    state.progress = 'read ' + slot.n_prompt_tokens_processed.toLocaleString('en') + ' of ' + slot.n_prompt_tokens.toLocaleString('en') + ' tokens';
    drawDocuments();
  }, 400);
  state.progress = 'reading';
  drawDocuments();
  try {
    const messages = asMessages([...conversationTo(conversation, conversation.messages.length), { role: 'user', parts }]);
    const done = await talk.chat({ messages, ...settings.readingFields() }, control.signal);
    if (state.reading === control) {
      state.progress = 'read: ' + done.usage.prompt_tokens.toLocaleString('en') + ' tokens';
      say('The document is read');
    }
  } catch (error) {
    if (state.reading === control) {
      state.progress = 'not read';
      notice(error.message);
    }
  }
  clearInterval(timer);
  if (state.reading === control) drawDocuments();
}

// ---- drawing ----

function scrollDown(always) {
  const log = by('log');
  if (always || log.scrollHeight - log.scrollTop - log.clientHeight < 160) log.scrollTop = log.scrollHeight;
}

function drawDocuments() {
  by('documents').replaceChildren(...state.open.documents.map((one, i) => documentChip(one, i === state.open.documents.length - 1 ? state.progress : '', () => {
    state.open.documents.splice(i, 1);
    save(state.open);
    draw();
    readDocuments(state.open);
  })));
}

function drawList() {
  by('list').replaceChildren(...state.list.map((one) => make('li', { class: one === state.open ? 'open' : '' },
    make('button', { type: 'button', class: 'plain title', 'aria-current': one === state.open ? 'true' : null, onclick: () => openConversation(one) }, one.title),
    make('button', { type: 'button', class: 'plain', 'aria-label': 'Delete ' + one.title, onclick: () => forget(one) }, '×'))));
}

const actions = {
  redraw: () => draw(),
  edit(index, text) {
    if (state.running) return;
    state.open.messages[index].text = text;
    state.open.messages.length = index + 1;
    answer(state.open, index + 1);
  },
  again: (index) => answer(state.open, index),
  version(index, at) {
    state.open.messages[index].at = at;
    state.open.messages.length = index + 1;
    save(state.open);
    draw();
  },
  map: (index, opener) => openMap(index, opener),
};

function draw() {
  const running = state.running && state.running.conversation === state.open ? state.running.index : -1;
  drawLog(by('log'), state.open, state.model, actions, running);
  drawDocuments();
  drawList();
  by('send').textContent = state.running ? 'Stop' : 'Send';
  document.title = state.open.messages.length > 0 ? state.open.title + ' – fovea' : 'fovea';
}

function openMap(index, opener) {
  const conversation = state.open, message = conversation.messages[index], version = message.versions[message.at];
  const titles = { user: 'Question', assistant: 'Answer' };
  const sections = version.places.map((place) => {
    const from = conversation.messages[place.message], one = place.document >= 0 ? from.documents[place.document] : null;
    const text = one ? one.text : from.role === 'user' ? from.text : from.versions[from.at].text;
    return { title: one ? one.name : titles[from.role], text: text.trim(), begin: place.begin };
  });
  sections.push({ title: 'This answer', text: version.reads.map((read) => read.t).join(''), begin: version.length });
  map.open({ conversation, index, version, sections, length: version.length + version.text.length, canAsk: Boolean(version.asked && version.asked.fovea && version.figures) }, opener);
}

const map = new ReadingMap(askLayers);

// ---- conversations ----

function openConversation(conversation) {
  if (state.reading) state.reading.abort();
  state.reading = null;
  state.progress = '';
  state.open = conversation;
  localStorage.setItem('fovea-open', conversation.id);
  document.body.classList.remove('with-list');
  by('menu').setAttribute('aria-expanded', 'false');
  map.close();
  draw();
  scrollDown(true);
  by('question').focus();
}

async function forget(conversation) {
  if (!confirm('Delete “' + conversation.title + '”?')) return;
  if (state.running && state.running.conversation === conversation) state.running.control.abort();
  state.list = state.list.filter((one) => one !== conversation);
  await keep.remove(conversation.id);
  if (conversation === state.open) openConversation(state.list[0] || fresh());
  drawList();
}

async function exportAll() {
  const link = make('a', { href: URL.createObjectURL(new Blob([await keep.exported()], { type: 'application/json' })), download: 'fovea-conversations.json' });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

async function importFile(file) {
  try {
    const count = await keep.imported(await file.text());
    state.list = await keep.all();
    openConversation(state.list.find((one) => one.id === state.open.id) || state.list[0] || state.open);
    notice(count === 1 ? 'One conversation came in.' : count + ' conversations came in.');
  } catch (error) {
    notice(error.message);
  }
}

// ---- wiring ----

function ask(event) {
  event.preventDefault();
  if (state.running) {
    state.running.control.abort();
    return;
  }
  const text = by('question').value.trim(), documents = state.open.documents;
  if (!text) return;
  by('question').value = '';
  grow();
  state.open.documents = [];
  state.progress = '';
  state.open.messages.push({ role: 'user', text, documents });
  answer(state.open, state.open.messages.length);
}

function grow() {
  const area = by('question');
  area.style.height = 'auto';
  area.style.height = Math.min(area.scrollHeight, 200) + 'px';
}

function wire() {
  by('ask').addEventListener('submit', ask);
  by('question').addEventListener('input', grow);
  by('question').addEventListener('keydown', (event) => {
    if (event.key === 'Enter' && !event.shiftKey && !event.isComposing && !state.running) ask(event);
  });
  document.addEventListener('keydown', (event) => {
    if (event.key === 'Escape' && state.running && !document.querySelector('dialog[open]')) state.running.control.abort();
  });
  by('new').addEventListener('click', () => openConversation(fresh()));
  by('menu').addEventListener('click', () => by('menu').setAttribute('aria-expanded', String(document.body.classList.toggle('with-list'))));
  by('export').addEventListener('click', exportAll);
  for (const [button, input, use] of [['import', 'import-file', (files) => importFile(files[0])], ['attach', 'attach-file', addFiles]]) {
    by(button).addEventListener('click', () => by(input).click());
    by(input).addEventListener('change', async () => {
      if (by(input).files.length > 0) await use([...by(input).files]);
      by(input).value = '';
    });
  }
  by('open-settings').addEventListener('click', () => settings.open(by('settings')));
  settings.wire(by('settings'));
  by('settings').addEventListener('close', () => { if (state.open.documents.length > 0) readDocuments(state.open); });
  wireDrop();
}

function wireDrop() {
  const holdsFiles = (event) => event.dataTransfer && [...event.dataTransfer.types].includes('Files');
  let depth = 0;
  const show = (by_) => { depth = Math.max(0, depth + by_); by('drop').hidden = depth === 0; };
  addEventListener('dragenter', (event) => { if (holdsFiles(event)) show(1); });
  addEventListener('dragleave', (event) => { if (holdsFiles(event)) show(-1); });
  addEventListener('dragover', (event) => { if (holdsFiles(event)) event.preventDefault(); });
  addEventListener('drop', (event) => {
    if (!holdsFiles(event)) return;
    event.preventDefault();
    depth = 0;
    by('drop').hidden = true;
    addFiles([...event.dataTransfer.files]);
  });
}

let keyAsked = null;
talk.onKeyNeeded(() => {
  if (!keyAsked)
    keyAsked = new Promise((resolve) => {
      const dialog = by('ask-key');
      dialog.showModal();
      dialog.addEventListener('close', () => {
        talk.setKey(by('key').value.trim(), by('key-keep').checked);
        keyAsked = null;
        resolve();
      }, { once: true });
    });
  return keyAsked;
});

// Whether this server takes the template's switch: asked once, of nothing.
async function takesSwitch() {
  try {
    await talk.chat({ messages: [{ role: 'user', content: 'a' }], max_tokens: 0, chat_template_kwargs: { enable_thinking: true } });
    return true;
  } catch {
    return false;
  }
}

async function begin() {
  wire();
  state.open = fresh();
  try {
    state.list = await keep.all();
  } catch (error) {
    notice('This browser keeps no conversations: ' + error.message);
  }
  const last = localStorage.getItem('fovea-open');
  openConversation(state.list.find((one) => one.id === last) || state.open);
  try {
    const props = await talk.props();
    state.model = props.model_alias;
    by('model').textContent = props.model_alias;
    by('model').title = props.default_generation_settings.n_ctx.toLocaleString('en') + ' tokens, attention ' + props.default_generation_settings.attention;
    settings.thinks.known = props.chat_template.includes('enable_thinking') && await takesSwitch();
    draw();
  } catch (error) {
    notice(error.message);
  }
}

begin();
