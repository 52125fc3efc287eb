// page_talk.js - requests to the server that the page came from, and nobody else.

export class Refusal extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

let key = sessionStorage.getItem('fovea-key') || localStorage.getItem('fovea-key') || '';

export function setKey(value, keep) {
  key = value;
  sessionStorage.setItem('fovea-key', value);
  if (keep) localStorage.setItem('fovea-key', value);
  else localStorage.removeItem('fovea-key');
}

// Asks for a key and resolves once there is one; the page sets it.
let askKey = async () => {};
export function onKeyNeeded(ask) { askKey = ask; }

async function reply(path, body, signal) {
  for (;;) {
    const headers = key ? { Authorization: 'Bearer ' + key } : {};
    const options = body ? { method: 'POST', headers, body: JSON.stringify(body), signal } : { headers, signal };
    let answer;
    try {
      answer = await fetch(path, options);
    } catch (error) {
      if (error.name === 'AbortError') throw error;
      throw new Refusal(0, 'The server can’t be reached.');
    }
    if (answer.ok) return answer;
    if (answer.status === 401) {
      await askKey();
      continue;
    }
    let text = answer.statusText;
    try {
      text = (await answer.json()).error.message;
    } catch { /* no JSON: the status says it */ }
    throw new Refusal(answer.status, text);
  }
}

export async function props() { return (await reply('props')).json(); }
export async function slots() { return (await reply('slots')).json(); }

// The text that the model reads for these messages; null: it can't be known.
export async function prompt(messages, extra) {
  for (const body of extra ? [{ messages, ...extra }, { messages }] : [{ messages }]) {
    try {
      return (await (await reply('apply-template', body)).json()).prompt;
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
    }
  }
  return null;
}

// A whole answer.
export async function chat(body, signal) { return (await reply('v1/chat/completions', body, signal)).json(); }

// Calls `event` with each event of the stream.
export async function stream(body, signal, event) {
  const reader = (await reply('v1/chat/completions', { ...body, stream: true, stream_options: { include_usage: true } }, signal)).body.getReader();
  const decoder = new TextDecoder();
  let rest = '';
  for (;;) {
    const { value, done } = await reader.read();
    rest += decoder.decode(value || new Uint8Array(), { stream: !done });
    const parts = rest.split('\n\n');
    rest = parts.pop();
    for (const part of parts) {
      if (!part.startsWith('data: ') || part === 'data: [DONE]') continue;
      const told = JSON.parse(part.slice(6));
      if (told.error) throw new Refusal(told.error.code, told.error.message);
      event(told);
    }
    if (done) return;
  }
}
