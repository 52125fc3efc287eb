// page_settings.js - what the page asks the server for, in the dialog and in localStorage.

const NAME = 'fovea-settings';
const TEXTS = ['system', 'temperature', 'seed', 'tokens', 'policy', 'other', 'quality', 'theme'];
const field = (name) => document.getElementById('set-' + name);

const settings = { budget: 12, reads: true, thinking: false };
for (const name of TEXTS) settings[name] = '';
try {
  Object.assign(settings, JSON.parse(localStorage.getItem(NAME) || '{}'));
} catch { /* another program's: the defaults */ }

export const thinks = { known: false }; // whether the model's template has the switch
export const get = () => settings;

function show() {
  document.documentElement.dataset.theme = settings.theme;
  field('budget').closest('label').hidden = settings.policy !== 'fovea';
  field('other').closest('label').hidden = settings.policy !== 'other';
  document.getElementById('budget-out').textContent = settings.budget + ' %';
}

export function open(dialog) {
  for (const name of [...TEXTS, 'budget']) field(name).value = settings[name];
  field('reads').checked = settings.reads;
  field('thinking').checked = settings.thinking;
  document.getElementById('thinking-row').hidden = !thinks.known;
  show();
  dialog.showModal();
}

export function wire(dialog) {
  show();
  dialog.addEventListener('input', () => {
    for (const name of TEXTS) settings[name] = field(name).value.trim();
    settings.budget = Number(field('budget').value);
    settings.reads = field('reads').checked;
    settings.thinking = field('thinking').checked;
    localStorage.setItem(NAME, JSON.stringify(settings));
    show();
  });
}

function policy() {
  if (settings.policy === 'fovea') return 'fovea:budget=' + settings.budget / 100;
  return settings.policy === 'other' ? settings.other : settings.policy;
}

// Members of "fovea"; passages: that each token tells, 0: none.
function fovea(passages, layers) {
  const made = {};
  if (policy()) made.attention = policy();
  if (Number(settings.quality) > 0) made.quality = Number(settings.quality);
  if (passages > 0) made.reads = { passages, layers };
  return Object.keys(made).length > 0 ? { fovea: made } : {};
}

// Fields that change the prompt's text.
export function template() { return thinks.known ? { chat_template_kwargs: { enable_thinking: settings.thinking } } : {}; }

// The fields of a request besides its messages.
export function fields() {
  const seed = settings.seed === '' ? crypto.getRandomValues(new Uint32Array(1))[0] : Number(settings.seed);
  const made = { seed, ...template(), ...fovea(settings.reads ? 24 : 0, false) };
  if (settings.temperature !== '') made.temperature = Number(settings.temperature);
  if (settings.tokens !== '') made.max_tokens = Number(settings.tokens);
  return made;
}

// As an answer's fields, of a document that is read before anything is asked.
export function readingFields() { return { max_tokens: 0, ...template(), ...fovea(0, false) }; }
