// The shapes that tell states apart without colour.

import { attribute, h, s, text } from "./dom.js";

const PATHS = {
  disc: "M8 2a6 6 0 1 0 0 12a6 6 0 1 0 0-12z",
  ring: "M8 2a6 6 0 1 0 0 12a6 6 0 1 0 0-12zm0 2.2a3.8 3.8 0 1 1 0 7.6a3.8 3.8 0 1 1 0-7.6z",
  half: "M8 2a6 6 0 1 0 0 12a6 6 0 1 0 0-12zm0 2a4 4 0 0 1 0 8z",
  square: "M3 3h10v10h-10z",
  triangle: "M8 1.5l7 12.5h-14z",
};

/** A shape and a word. */
export function badge() {
  const path = s("path", { "fill-rule": "evenodd" });
  const word = h("span");
  const element = h("span", { class: "badge" }, s("svg", { viewBox: "0 0 16 16", width: 12, height: 12, "aria-hidden": "true" }, path), word);
  element.path = path;
  element.word = word;
  return element;
}

export function setBadge(element, { word, shape, tone }) {
  text(element.word, word);
  attribute(element, "data-tone", tone);
  attribute(element.path, "d", PATHS[shape]);
}
