// The services: one row each, and the one that is looked at.

import { $, attribute, h, sync, text } from "./dom.js";
import { count, percent, span } from "./format.js";
import { badge, setBadge } from "./shapes.js";

const TITLES = ["Service", "State", "Taking calls", "In flight", "Waiting", "Failed", "Policy", "Resolver"];

const STATES = {
  READY: { word: "Ready", shape: "disc", tone: "good" },
  CONNECTING: { word: "Connecting", shape: "half", tone: "wait" },
  IDLE: { word: "Idle", shape: "ring", tone: "idle" },
  TRANSIENT_FAILURE: { word: "Failing", shape: "triangle", tone: "bad" },
  SHUTDOWN: { word: "Ended", shape: "ring", tone: "idle" },
};

export class Services {
  /** `choose(name)` is called for a service somebody wants to see. */
  constructor(choose) {
    this.choose = choose;
    this.body = h("tbody", { role: "rowgroup" });
    this.none = h("p", {}, "There are no services: the program has no channel that this server knows.");
    const heads = TITLES.map((title) => h("th", { scope: "col", role: "columnheader" }, title));
    const head = h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, ...heads));
    this.table = h("table", { class: "services", role: "table", "aria-labelledby": "services-title" }, head, this.body);
    $("services").append(this.table, this.none);
  }

  draw(model) {
    const services = [...model.services.values()];
    sync(this.body, services, (service) => service.name, () => this.#row(), (row, service) => this.#update(row, service, model));
    this.table.hidden = services.length === 0;
    this.none.hidden = services.length > 0;
  }

  #row() {
    const row = h("tr", { role: "row" });
    row.cells_ = TITLES.map((title) => h("td", { role: "cell", "data-label": title }));
    row.append(...row.cells_);
    row.button = h("button", { type: "button", click: () => this.choose(row.service.name) });
    row.target = h("span", { class: "note" });
    row.cells_[0].append(row.button, row.target);
    row.cells_[1].append((row.badge = badge()));
    return row;
  }

  #update(row, service, model) {
    row.service = service;
    const current = service.name === model.service;
    const { totals } = service;
    const ended = totals.succeeded + totals.failed;
    attribute(row.button, "aria-current", current ? "true" : null);
    attribute(row, "data-current", current);
    text(row.button, service.name);
    text(row.target, service.target);
    setBadge(row.badge, STATES[service.state] ?? STATES.IDLE);
    const cells = row.cells_.slice(2);
    text(cells[0], `${count(totals.takingCalls)} of ${count(totals.endpoints)}`);
    text(cells[1], count(totals.inFlight));
    text(cells[2], count(service.waiting));
    text(cells[3], ended > 0 ? `${percent(totals.failed / ended)} of ${count(ended)}` : "–");
    text(cells[4], service.policy);
    text(cells[5], resolver(service.resolver));
  }
}

function resolver(status) {
  if (status.staleFor !== null && status.staleFor !== undefined) return `stale for ${span(status.staleFor)}: ${status.error}`;
  return status.refusedConfig ? `service config refused: ${status.refusedConfig}` : "answers";
}
