// The endpoints: one row each, kept while it lives, so that a button under a finger stays where it is.

import { sparkline } from "./charts.js";
import { $, attribute, h, s, show, sync, text } from "./dom.js";
import { count, duration, percent } from "./format.js";
import { nameOf, standing, takesCalls, why } from "./model.js";
import { badge, setBadge } from "./shapes.js";

/** Rows shown at first, and added by "Show more": as many as a browser lays out without a pause. */
const PAGE = 50;

const names = new Intl.Collator(undefined, { numeric: true });
const byName = (one, other) => names.compare(nameOf(one), nameOf(other)) || names.compare(one.key, other.key);
const byNumber = (field) => (one, other) => (other[field] ?? -1) - (one[field] ?? -1);
const ILL = { unhealthy: 0, unknown: 1, healthy: 2 };
const RANK = { bad: 0, off: 1, wait: 2, idle: 3, good: 4 };

/** `order` sorts what is of interest first. */
const COLUMNS = [
  { id: "name", title: "Endpoint", order: byName },
  { id: "state", title: "State", order: (one, other) => RANK[standing(one).tone] - RANK[standing(other).tone] || (why(other) !== "") - (why(one) !== "") },
  { id: "health", title: "Health", order: (one, other) => ILL[one.health] - ILL[other.health] },
  { id: "load", title: "Load", order: byNumber("load"), number: true },
  { id: "inFlight", title: "In flight", order: byNumber("inFlight"), number: true },
  { id: "latency", title: "Latency", order: byNumber("latency"), number: true },
  { id: "p99", title: "p99", order: byNumber("p99"), number: true },
  { id: "share", title: "Share", order: byNumber("shareOfPicks"), number: true },
  { id: "errors", title: "Failing", order: byNumber("errorRate"), number: true },
  { id: "actions", title: "Actions" },
];

export class Table {
  #sort = "name";
  #limit = PAGE;
  /** The order shown, kept while somebody is in the table: rows must not move from under a pointer. */
  #order = [];
  #busy = false;

  /** `act(action, endpoint)` is called for a button. */
  constructor(act, changed) {
    this.act = act;
    this.body = h("tbody", { role: "rowgroup" });
    const heads = COLUMNS.map((column) => this.#head(column, changed));
    this.heads = heads;
    const head = h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, ...heads));
    const table = h("table", { class: "endpoints", role: "table", "aria-labelledby": "endpoints-title" }, head, this.body);
    $("table").append(table);
    this.body.addEventListener("pointerenter", () => (this.#busy = true));
    this.body.addEventListener("pointerleave", () => (this.#busy = false));
    $("sort").append(...COLUMNS.filter((column) => column.order).map((column) => h("option", { value: column.id }, column.title)));
    $("sort").addEventListener("change", (event) => this.#sortBy(event.target.value, changed));
    const again = () => ((this.#limit = PAGE), (this.#order = []), changed());
    $("filter").addEventListener("input", again);
    $("filter-state").addEventListener("change", again);
    $("filter-form").addEventListener("submit", (event) => event.preventDefault());
    $("more").addEventListener("click", () => ((this.#limit += PAGE), changed()));
  }

  #head(column, changed) {
    const kind = `${column.id}${column.number ? " number" : ""}`;
    if (!column.order) return h("th", { scope: "col", role: "columnheader", class: kind }, column.title);
    const button = h("button", { type: "button", click: () => this.#sortBy(column.id, changed) }, column.title);
    const head = h("th", { scope: "col", role: "columnheader", class: kind }, button);
    head.column = column.id;
    return head;
  }

  #sortBy(id, changed) {
    this.#sort = id;
    this.#order = [];
    changed();
  }

  draw(model) {
    const { sorted, all } = this.#wanted(model);
    const rows = sorted.slice(0, this.#limit);
    for (const head of this.heads) {
      if (head.column) attribute(head, "aria-sort", head.column === this.#sort ? (head.column === "name" ? "ascending" : "descending") : "none");
    }
    $("sort").value = this.#sort;
    sync(this.body, rows, (endpoint) => endpoint.key, () => this.#row(), (row, endpoint) => this.#update(row, endpoint, model));
    const matching = sorted.length === all ? "" : `, ${count(sorted.length)} match`;
    text($("shown"), all === 0 ? "There are no endpoints." : `${count(rows.length)} of ${count(all)} shown${matching}.`);
    show($("more"), sorted.length > rows.length);
    show(this.body.parentElement, all > 0);
  }

  #wanted(model) {
    const all = [...model.endpoints.values()];
    const word = $("filter").value.trim().toLowerCase();
    const state = $("filter-state").value;
    const wanted = all.filter((endpoint) => matches(endpoint, word, state));
    const order = COLUMNS.find((column) => column.id === this.#sort).order;
    const held = this.#order.length > 0 && (this.#busy || this.body.contains(document.activeElement));
    const place = held ? new Map(this.#order.map((key, index) => [key, index])) : null;
    const sorted = wanted.sort(place ? (one, other) => (place.get(one.key) ?? Infinity) - (place.get(other.key) ?? Infinity) || 0 : (one, other) => order(one, other) || byName(one, other));
    this.#order = sorted.map((endpoint) => endpoint.key);
    return { sorted, all: all.length };
  }

  #row() {
    const row = h("tr", { role: "row" });
    const cells = (row.cells_ = {});
    for (const column of COLUMNS) {
      cells[column.id] = h("td", { role: "cell", class: `${column.id}${column.number ? " number" : ""}`, "data-label": column.title });
      row.append(cells[column.id]);
    }
    cells.name.append((row.title_ = h("strong")), (row.about = h("span", { class: "note" })));
    cells.state.append((row.badge = badge()), (row.why = h("span", { class: "note why" })));
    cells.load.append((row.load = h("span")), (row.meter = h("span", { class: "meter", "aria-hidden": "true" }, h("span"))));
    cells.latency.append((row.spark = s("svg", { class: "spark", width: 72, height: 20, "aria-hidden": "true" })), (row.latency = h("span")));
    row.buttons = ["drain", "disable", "enable"].map((action) => h("button", { type: "button", "data-action": action, click: () => this.act(action, row.endpoint) }, action[0].toUpperCase() + action.slice(1)));
    cells.actions.append(...row.buttons);
    return row;
  }

  #update(row, endpoint, model) {
    row.endpoint = endpoint;
    const [cells, is, name] = [row.cells_, standing(endpoint), nameOf(endpoint)];
    attribute(row, "data-key", endpoint.key);
    attribute(row, "data-tone", is.tone);
    text(row.title_, name);
    text(row.about, about(endpoint));
    setBadge(row.badge, is);
    text(cells.health, titled(endpoint.health));
    text(row.load, endpoint.load === undefined ? "–" : percent(endpoint.load));
    show(row.meter, endpoint.load !== undefined);
    row.meter.firstChild.style.width = `${Math.min(endpoint.load ?? 0, 1) * 100}%`;
    attribute(row.meter, "data-high", (endpoint.load ?? 0) > 0.8);
    text(cells.inFlight, count(endpoint.inFlight ?? 0));
    text(row.latency, duration(endpoint.latency));
    sparkline(row.spark, endpoint.latencies);
    text(cells.p99, duration(endpoint.p99));
    text(cells.share, percent(endpoint.shareOfPicks));
    text(cells.errors, percent(endpoint.errorRate));
    text(row.why, why(endpoint));
    const out = endpoint.excluded === "drained" || endpoint.excluded === "disabled";
    row.buttons.forEach((button) => this.#button(button, name, model.mayChange, out));
  }

  #button(button, name, mayChange, out) {
    const action = button.dataset.action;
    attribute(button, "aria-label", `${button.textContent} ${name}`);
    // A button that has the focus stays, or the keyboard would lose its place.
    const fits = action === "enable" ? out : !out;
    show(button, fits || button === document.activeElement);
    attribute(button, "aria-disabled", fits && mayChange ? null : "true");
  }
}

function titled(word) {
  return word === undefined ? "–" : word[0].toUpperCase() + word.slice(1);
}

function about(endpoint) {
  const parts = [endpoint.id === undefined ? null : endpoint.key, endpoint.locality, endpoint.priority ? `priority ${endpoint.priority}` : null, endpoint.weight === 1 ? null : `weight ${endpoint.weight}`];
  return parts.filter((part) => part).join(" · ");
}

function matches(endpoint, word, state) {
  if (state === "ready" && !takesCalls(endpoint)) return false;
  if (state === "not" && takesCalls(endpoint)) return false;
  if (state === "failing" && endpoint.state !== "TRANSIENT_FAILURE") return false;
  if (word === "") return true;
  const words = [nameOf(endpoint), endpoint.key, endpoint.locality, standing(endpoint).word, endpoint.health === "unhealthy" ? endpoint.health : "", why(endpoint)];
  return words.some((text) => text?.toLowerCase().includes(word));
}
