// page_text.js - answers as elements: paragraphs, code, nothing else. Text of models is set as text, never as markup.

export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (name === 'class') element.className = value;
    else if (value === true) element.setAttribute(name, '');
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

// `code` and **bold** within a line.
function inline(text) {
  return text.split(/(`[^`\n]+`|\*\*[^*\n]+\*\*)/).filter(Boolean).map((part) => {
    if (part.length > 2 && part.startsWith('`') && part.endsWith('`')) return make('code', {}, part.slice(1, -1));
    if (part.length > 4 && part.startsWith('**') && part.endsWith('**')) return make('strong', {}, part.slice(2, -2));
    return part;
  });
}

function codeBlock(code, language) {
  const copy = make('button', { type: 'button', class: 'plain copy', onclick: () => copyText(code, copy) }, 'Copy');
  return make('figure', { class: 'code' }, make('figcaption', {}, language || 'text', copy), make('pre', { tabindex: '0' }, make('code', {}, code)));
}

export async function copyText(text, button) {
  const before = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = 'Copied';
  } catch {
    button.textContent = 'Not allowed';
  }
  setTimeout(() => { button.textContent = before; }, 1500);
}

function paragraph(text) {
  const heading = /^#{1,6} +(.+)$/.exec(text);
  return heading ? make('p', { class: 'heading' }, ...inline(heading[1])) : make('p', {}, ...inline(text));
}

// Replaces what is in `element`.
export function render(element, text) {
  const parts = [];
  let rest = text;
  while (rest) {
    const fence = /(^|\n)```([^\n`]*)\n/.exec(rest);
    const before = fence ? rest.slice(0, fence.index) : rest;
    parts.push(...before.split(/\n{2,}/).filter((one) => one.trim()).map((one) => paragraph(one.replace(/^\n+|\s+$/g, ''))));
    if (!fence) break;
    const code = rest.slice(fence.index + fence[0].length), end = code.search(/(^|\n)```/);
    parts.push(codeBlock(end < 0 ? code : code.slice(0, end), fence[2].trim()));
    rest = end < 0 ? '' : code.slice(end).replace(/^\n?```[^\n]*/, '');
  }
  element.replaceChildren(...parts);
}
