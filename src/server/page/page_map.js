// page_map.js - the reading map: the prompt as a strip and as text, shaded by what an answer read, by word and by layer.
import { make } from './page_text.js';

const by = (id) => document.getElementById(id);
const percent = (share) => (100 * share).toFixed(share < 0.0995 ? 1 : 0) + ' %';

// Places are of characters, a browser's texts have units of 16 bits: the unit of each character, and the end.
function unitsOf(text) {
  const units = [];
  let at = 0;
  for (const character of text) {
    units.push(at);
    at += character.length;
  }
  units.push(at);
  return units;
}

// Where the contents of messages are in the prompt, in characters: [{message, document, begin, end}].
// contents: a list of parts for each message, {document, text}; -1 is the message's own text, below it none that is shown.
export function placesOf(prompt, contents) {
  const places = [];
  let from = 0, characters = 0, counted = 0;
  const count = (unit) => {
    for (const character of prompt.slice(counted, unit)) characters += character.length > 0;
    counted = unit;
    return characters;
  };
  contents.forEach(({ message, parts }) => {
    for (const part of parts) {
      const text = part.text.trim(), at = text ? prompt.indexOf(text, from) : -1;
      if (at < 0) continue;
      const begin = count(at);
      from = at + text.length;
      if (message >= 0 && part.document >= -1) places.push({ message, document: part.document, begin, end: count(from) });
    }
  });
  return places;
}

// Tokens of each word, which begins with white space, as in `fovea run --show-reads`.
export function wordsOf(reads) {
  const words = [];
  reads.forEach((read, token) => {
    const last = words[words.length - 1];
    if (!last || (/^\s/.test(read.t) && last.text.trim())) words.push({ text: read.t, tokens: [token] });
    else {
      last.text += read.t;
      last.tokens.push(token);
    }
  });
  return words;
}

// Share of each passage, by its begin: the mean over tokens. layer: -1 is all of them.
export function sharesOf(reads, tokens, layer) {
  const shares = new Map();
  for (const token of tokens)
    for (const [begin, , share] of layer < 0 ? reads[token].p : (reads[token].l || [])[layer] || [])
      shares.set(begin, (shares.get(begin) || 0) + share / tokens.length);
  return shares;
}

export class ReadingMap {
  constructor(askLayers) {
    this.layer = -1;
    this.pinned = -1;
    this.shown = null;
    by('close-map').addEventListener('click', () => this.close());
    by('ask-layers').addEventListener('click', () => askLayers(this.shown));
    by('layer').addEventListener('change', () => {
      this.layer = Number(by('layer').value);
      this.shade(this.pinned);
    });
    by('words').addEventListener('keydown', (event) => this.move(event));
    by('words').addEventListener('mouseover', (event) => this.shade(this.wordAt(event.target), false));
    by('words').addEventListener('mouseleave', () => this.shade(this.pinned));
    by('words').addEventListener('click', (event) => this.pin(this.wordAt(event.target)));
    by('words').addEventListener('focusin', (event) => this.pin(this.wordAt(event.target)));
    by('map').addEventListener('keydown', (event) => { if (event.key === 'Escape') this.close(); });
    by('strip').addEventListener('click', (event) => this.goTo(event.offsetX / by('strip').clientWidth * this.length));
    new ResizeObserver(() => this.draw()).observe(by('strip'));
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.draw());
  }

  // shown: {conversation, version, sections: [{title, text, begin}], length}; begin and length in characters.
  open(shown, opener) {
    const same = this.shown && this.shown.version === shown.version;
    Object.assign(this, { shown, length: shown.length, opener, words: wordsOf(shown.version.reads) });
    if (!same) this.pinned = -1;
    const layers = (shown.version.reads.find((read) => read.l) || { l: [] }).l.length;
    if (this.layer >= layers) this.layer = -1;
    by('layer').replaceChildren(make('option', { value: '-1' }, 'All layers'),
      ...Array.from({ length: layers }, (_, i) => make('option', { value: String(i) }, 'Layer ' + (i + 1))));
    by('layer').value = String(this.layer);
    by('layer').hidden = layers === 0;
    by('ask-layers').hidden = layers > 0 || !shown.canAsk;
    by('words').replaceChildren(...this.words.map((word, i) => make('span',
      { role: 'option', id: 'word-' + i, 'data-word': i, tabindex: i === 0 ? '0' : '-1', 'aria-selected': 'false' }, word.text)));
    this.layText();
    by('map').hidden = false;
    document.body.classList.add('with-map');
    this.shade(this.pinned);
    if (!same) by('close-map').focus({ preventScroll: true });
  }

  close() {
    if (by('map').hidden) return;
    by('map').hidden = true;
    document.body.classList.remove('with-map');
    this.shown = null;
    if (this.opener && this.opener.isConnected) this.opener.focus();
    else by('question').focus();
  }

  // Sections of text, in which each passage that anything read is an element of its own.
  layText() {
    const ends = new Map();
    for (const read of this.shown.version.reads)
      for (const list of [read.p, ...(read.l || [])]) for (const [begin, end] of list) ends.set(begin, end);
    const pages = [...ends].sort((a, b) => a[0] - b[0]);
    this.passages = new Map(); // begin -> {begin, end, elements, text}
    by('text').replaceChildren(...this.shown.sections.flatMap((section) => {
      const units = unitsOf(section.text), end = section.begin + units.length - 1, body = make('div', { class: 'body' });
      let at = section.begin;
      const slice = (from, to) => section.text.slice(units[from - section.begin], units[to - section.begin]);
      for (const [first, last] of pages) {
        const from = Math.max(first, at), to = Math.min(last, end);
        if (to <= from) continue;
        if (from > at) body.append(slice(at, from));
        const element = make('span', { class: 'passage', 'data-begin': first }, slice(from, to));
        body.append(element);
        const passage = this.passages.get(first) || { begin: first, end: last, elements: [], text: '' };
        passage.elements.push(element);
        passage.text += element.textContent;
        this.passages.set(first, passage);
        at = to;
      }
      if (at < end) body.append(slice(at, end));
      return [make('h3', {}, section.title), body];
    }));
  }

  wordAt(element) {
    const word = element.closest ? element.closest('[data-word]') : null;
    return word ? Number(word.dataset.word) : -1;
  }

  pin(word) {
    if (word < 0 || word === this.pinned) return;
    this.pinned = word;
    this.shade(word);
  }

  move(event) {
    const count = this.words.length, from = this.wordAt(event.target);
    const to = { ArrowRight: from + 1, ArrowDown: from + 1, ArrowLeft: from - 1, ArrowUp: from - 1, Home: 0, End: count - 1 }[event.key];
    if (event.key === 'Escape' && this.pinned >= 0) {
      this.pinned = -1;
      this.shade(-1);
      event.stopPropagation();
    }
    if (to === undefined) return;
    event.preventDefault();
    const word = by('words').children[Math.min(Math.max(to, 0), count - 1)];
    if (word) word.focus();
  }

  // By one word, or -1: by all.
  shade(word) {
    if (!this.shown) return;
    const reads = this.shown.version.reads;
    const tokens = word < 0 ? reads.map((_, i) => i) : this.words[word].tokens;
    this.shares = sharesOf(reads, tokens, this.layer);
    this.most = Math.max(0, ...this.shares.values());
    for (const [begin, passage] of this.passages) {
      const share = this.shares.get(begin) || 0;
      for (const element of passage.elements) {
        element.style.setProperty('--weight', this.most > 0 ? (share / this.most).toFixed(3) : '0');
        element.dataset.share = share.toPrecision(4);
      }
    }
    for (const [i, element] of [...by('words').children].entries()) {
      element.setAttribute('aria-selected', String(i === word));
      element.tabIndex = i === Math.max(this.pinned, 0) ? 0 : -1;
    }
    this.showTop(word);
    this.draw();
  }

  showTop(word) {
    const top = [...this.shares].filter(([begin]) => this.passages.has(begin)).sort((a, b) => b[1] - a[1]).slice(0, 3);
    const all = [...this.shares.values()].reduce((sum, share) => sum + share, 0);
    by('top').replaceChildren(...top.map(([begin, share]) => make('li', {}, make('button',
      { type: 'button', class: 'plain', onclick: () => this.goTo(begin) }, make('b', {}, percent(share)), ' ' + this.passages.get(begin).text.trim()))));
    const who = word < 0 ? 'The answer' : '“' + this.words[word].text.trim() + '”';
    by('map-rest').textContent = top.length === 0 ? who + ' read nothing here: only its beginning and the newest 64 tokens.'
      : who + ': ' + percent(all) + ' of what was read is shown here; the rest is in the first tokens, the newest 64, and what was read less.';
    if (top.length > 0 && word >= 0) this.goTo(top[0][0]);
    else by('text').scrollTop = 0;
    if (word >= 0 && word === this.pinned && top.length > 0) by('words').children[word].setAttribute('aria-description', 'read most: ' + this.passages.get(top[0][0]).text.trim());
  }

  goTo(character) {
    let best = null;
    for (const passage of this.passages.values()) if (passage.begin <= character || !best) best = passage;
    if (!best || best.elements.length === 0) return;
    const box = by('text'), element = best.elements[0];
    box.scrollTop = element.offsetTop - box.clientHeight / 3; // of the box, which is positioned
  }

  draw() {
    const strip = by('strip'), ratio = window.devicePixelRatio || 1;
    if (!this.shown || strip.clientWidth === 0) return;
    const width = Math.round(strip.clientWidth * ratio), height = Math.round(strip.clientHeight * ratio);
    if (strip.width !== width) strip.width = width;
    if (strip.height !== height) strip.height = height;
    const style = getComputedStyle(strip), context = strip.getContext('2d'), scale = width / Math.max(1, this.length);
    context.clearRect(0, 0, width, height);
    context.fillStyle = style.getPropertyValue('--mark');
    for (const passage of this.passages.values()) {
      context.globalAlpha = this.most > 0 ? (this.shares.get(passage.begin) || 0) / this.most : 0;
      context.fillRect(passage.begin * scale, 0, Math.max((passage.end - passage.begin) * scale, ratio), height);
    }
    context.globalAlpha = 1;
    context.fillStyle = style.getPropertyValue('--line');
    for (const section of this.shown.sections) context.fillRect(Math.round(section.begin * scale), 0, ratio, height);
  }
}
