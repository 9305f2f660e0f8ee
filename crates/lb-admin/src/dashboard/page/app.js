// Puts the page together: the stream feeds the model, the model is drawn, and what people press is asked of the server.

import { data, hasToken, path, setToken } from "./api.js";
import { ask } from "./ask.js";
import { $, attribute, show, text } from "./dom.js";
import { drawEvents } from "./events.js";
import { startExplainer } from "./explain.js";
import { clock } from "./format.js";
import { Model, nameOf } from "./model.js";
import { drawPlots } from "./plots.js";
import { drawPolicy, startPolicy } from "./policy.js";
import { Services } from "./services.js";
import { Stream } from "./stream.js";
import { Table } from "./table.js";
import { startTheme } from "./theme.js";

const model = new Model();
let lost = null;
let planned = false;

/** Draws soon: once, however much changed, and not while nobody looks. */
function changed() {
  if (planned) return;
  planned = true;
  requestAnimationFrame(() => {
    planned = false;
    draw();
  });
}

function draw() {
  services.draw(model);
  table.draw(model);
  drawPlots(model);
  drawEvents(model);
  drawPolicy(model);
  show($("mode"), model.now > 0 && !model.mayChange);
  for (const element of document.querySelectorAll(".of-service")) text(element, model.service ?? "no service");
  document.title = model.service === null ? "evenkeel" : `${model.service} – evenkeel`;
}

const services = new Services((name) => choose(name));
const table = new Table(act, changed);
const stream = new Stream({
  message(kind, message) {
    if (kind !== "snapshot" && kind !== "change") return;
    const before = model.service;
    model.apply(kind, message);
    if (model.service !== before) startPolicy(model, say);
    changed();
  },
  live() {
    lost = null;
    tellLink();
  },
  lost(why) {
    lost ??= { since: Date.now() / 1000 };
    lost.why = why;
    tellLink();
  },
  refused(error) {
    if (error.status === 401) ask(error.message, () => stream.follow(model.service));
    else problem(error.message);
  },
});

function tellLink() {
  const link = $("link");
  attribute(link, "data-lost", lost !== null);
  attribute(document.body, "data-lost", lost !== null);
  text(link, lost === null ? "live" : `no contact since ${clock(lost.since)}: ${lost.why}; trying again`);
}

function choose(name) {
  if (name !== model.service) stream.follow(name);
}

/** Drains, disables or enables an endpoint; the stream tells what comes of it. */
async function act(action, endpoint) {
  const name = nameOf(endpoint);
  if (!model.mayChange) return say($("said"), `${name}: this page may look but not change anything.`);
  try {
    await data("POST", "/instances" + path(model.service, endpoint.key, action));
    const done = { drain: "gets no new calls", disable: "gets no new calls, and no connection", enable: "is taken back" };
    say($("said"), `${name} ${done[action]}.`);
  } catch (error) {
    say($("said"), `${name}: ${error.message}`, true);
  }
}

/** Says what came of something, where it was asked. */
function say(element, words, bad = false) {
  attribute(element, "data-bad", bad);
  text(element, words);
}

function problem(words) {
  show($("problem"), words !== "");
  text($("problem"), words);
}

startTheme();
startExplainer(model);
show($("forget"), hasToken());
$("forget").addEventListener("click", () => {
  setToken(null);
  location.reload();
});
new ResizeObserver(changed).observe($("plot-rate"));
stream.follow(null);
