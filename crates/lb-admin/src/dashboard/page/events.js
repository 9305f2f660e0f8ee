// What happened, the newest first.

import { $, attribute, h, sync, text } from "./dom.js";
import { clock } from "./format.js";

export function drawEvents(model) {
  const list = $("events");
  sync(list, model.events, (event) => event.number, create, () => {});
  attribute(list, "data-empty", model.events.length === 0 ? "Nothing has happened since the program began." : null);
}

function create(event) {
  const time = h("time", { datetime: new Date(event.at * 1000).toISOString() });
  text(time, clock(event.at));
  return h("li", { "data-bad": event.bad === true }, time, h("span", { class: "kind" }, event.kind.replaceAll("_", " ")), h("span", {}, event.text));
}
