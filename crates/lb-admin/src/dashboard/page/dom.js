// Elements from data. Text goes in as text and never as markup, so a name may be as hostile as it likes; the page's policy for trusted
// types lets no other way work.

const SVG = "http://www.w3.org/2000/svg";

export const $ = (id) => document.getElementById(id);

/** An element. Properties that are functions listen to the event of that name; `null` and `false` leave an attribute out. */
export function h(tag, properties = {}, ...children) {
  return fill(document.createElement(tag), properties, children);
}

/** The same for drawings. */
export function s(tag, properties = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), properties, children);
}

function fill(element, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else attribute(element, name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** Sets or removes an attribute, and touches nothing if it is so already. */
export function attribute(element, name, value) {
  if (value === null || value === undefined || value === false) element.removeAttribute(name);
  else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value === true ? "" : value);
}

/** Sets the text, and touches nothing if it is so already: a selection in it survives, and nothing is announced twice. */
export function text(element, value) {
  if (element.textContent !== value) element.textContent = value;
}

export function show(element, visible) {
  element.hidden = !visible;
}

/** Makes `parent` have one child per item, in order. Children are kept by key, so that focus and hover stay where they are. */
export function sync(parent, items, key, create, update) {
  const kept = (parent.kept ??= new Map());
  const wanted = new Set(items.map(key));
  for (const [name, child] of kept) {
    if (!wanted.has(name)) {
      child.remove();
      kept.delete(name);
    }
  }
  let next = parent.firstChild;
  for (const item of items) {
    let child = kept.get(key(item));
    if (!child) kept.set(key(item), (child = create(item)));
    if (child === next) next = next.nextSibling;
    else parent.insertBefore(child, next);
    update(child, item);
  }
}
