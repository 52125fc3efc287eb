// page_keep.js - conversations in this browser's IndexedDB, and as JSON.

let opened = null;

function promised(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

function open() {
  if (!opened) {
    const request = indexedDB.open('fovea', 1);
    request.onupgradeneeded = () => request.result.createObjectStore('conversations', { keyPath: 'id' });
    opened = promised(request);
  }
  return opened;
}

async function store(mode) { return (await open()).transaction('conversations', mode).objectStore('conversations'); }

export async function all() {
  const list = await promised((await store('readonly')).getAll());
  return list.sort((a, b) => b.changed - a.changed);
}

export async function put(conversation) { await promised((await store('readwrite')).put(conversation)); }
export async function remove(id) { await promised((await store('readwrite')).delete(id)); }

export async function exported() { return JSON.stringify({ format: 'fovea conversations 1', conversations: await all() }); }

// ---- import: what is not of this form is refused, and nothing is taken ----

const isText = (value) => typeof value === 'string';
const isList = (value, check) => Array.isArray(value) && value.every(check);
const isDocument = (value) => value && isText(value.name) && isText(value.text);
const isPassage = (value) => isList(value, Number.isFinite) && value.length === 3;
const isRead = (value) => value && isText(value.t) && isList(value.p, isPassage) && (!value.l || isList(value.l, (list) => isList(list, isPassage)));
const isPlace = (value) => value && [value.message, value.document, value.begin, value.end].every(Number.isInteger);
const isVersion = (value) => value && isText(value.text) && isList(value.reads, isRead) && isList(value.places, isPlace);

function isMessage(value) {
  if (!value) return false;
  if (value.role === 'user') return isText(value.text) && isList(value.documents, isDocument);
  return value.role === 'assistant' && isList(value.versions, isVersion) && value.versions.length > 0 &&
    Number.isInteger(value.at) && value.at >= 0 && value.at < value.versions.length;
}

function isConversation(value) {
  return value && isText(value.id) && isText(value.title) && Number.isFinite(value.changed) && isList(value.messages, isMessage) &&
    isList(value.documents, isDocument);
}

// How many there were. One of an id that is here already is replaced if the other one is newer.
export async function imported(text) {
  let file = null;
  try {
    file = JSON.parse(text);
  } catch { /* refused below */ }
  if (!file || file.format !== 'fovea conversations 1' || !isList(file.conversations, isConversation))
    throw new Error('This is no file of conversations.');
  const here = new Map((await all()).map((one) => [one.id, one]));
  for (const one of file.conversations)
    if (!here.has(one.id) || here.get(one.id).changed < one.changed) await put(one);
  return file.conversations.length;
}
