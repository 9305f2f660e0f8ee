// Where a call would go, and why: asks the server to explain a pick for given wishes.

import { data, path } from "./api.js";
import { $, attribute, h, text } from "./dom.js";
import { count, number } from "./format.js";

/** Rows shown of an explanation: whoever has more endpoints wants the best ones. */
const MOST_ROWS = 100;

/** A wish: how its field is called, in words and in data, and what its text becomes. */
const list = (value) => value.split(",").map((word) => word.trim()).filter((word) => word !== "");
const WISHES = [
  { id: "session", title: "Session", hint: "user-123" },
  { id: "hashKey", title: "Hash key" },
  { id: "require", title: "Needs capabilities", hint: "gpu, avx", read: list },
  { id: "region", title: "Near region", hint: "eu-west-1" },
  { id: "prefer", title: "Rather at", hint: "endpoints", read: list },
  { id: "exclude", title: "Never at", hint: "endpoints", read: list },
  { id: "loadThreshold", title: "Load at most, %", hint: "80", kind: "number", read: (value) => Number(value) / 100 },
  { id: "cost", title: "Cost", kind: "number", read: Number },
];

export function startExplainer(model) {
  const form = $("explain-form");
  form.append(h("label", {}, "Policy", h("select", { name: "policy", id: "explain-policy" })));
  for (const { id, title, hint, kind } of WISHES) {
    const limits = kind === "number" ? { min: 0, step: 1, inputmode: "numeric" } : {};
    form.append(h("label", {}, title, h("input", { name: id, type: kind ?? "text", placeholder: hint, autocomplete: "off", spellcheck: "false", ...limits })));
  }
  form.append(h("button", { type: "submit" }, "Explain"));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    explain(model, wishes(form));
  });
}

/** What was filled in. */
function wishes(form) {
  const policy = form.elements.policy.value;
  const found = policy === "" ? {} : { policy };
  for (const { id, read } of WISHES) {
    const value = form.elements[id].value.trim();
    if (value !== "") found[id] = read ? read(value) : value;
  }
  return found;
}

async function explain(model, options) {
  const said = $("explain-said");
  attribute(said, "data-bad", null);
  try {
    const answer = await data("POST", "/explain" + path(model.service), { body: options });
    show(answer.endpoints, answer.policy);
  } catch (error) {
    $("explain-table").replaceChildren();
    attribute(said, "data-bad", true);
    text(said, error.message);
  }
}

function show(rows, policy) {
  const fits = rows.filter((row) => !row.excluded).sort((one, other) => other.total - one.total);
  const others = rows.filter((row) => row.excluded);
  const best = fits[0] ? ` The best: ${fits[0].id ?? fits[0].endpoint}.` : "";
  text($("explain-said"), `With ${policy}: ${count(fits.length)} of ${count(rows.length)} endpoints may get this call.${best}`);
  const parts = [...new Set(fits.flatMap((row) => row.parts.map(([name]) => name)))];
  const shown = [...fits, ...others].slice(0, MOST_ROWS);
  const heads = ["Endpoint", "Score", ...parts, "Why"];
  const head = h("tr", {}, ...heads.map((title, index) => h("th", { scope: "col", class: index > 0 && index < heads.length - 1 ? "number" : null }, title.replaceAll("_", " "))));
  const table = h("table", { "aria-labelledby": "explain-title" }, h("thead", {}, head), h("tbody", {}, ...shown.map((row) => line(row, parts))));
  $("explain-table").replaceChildren(table);
}

function line(row, parts) {
  const values = new Map(row.parts);
  const name = h("td", {}, h("strong", {}, row.id ?? row.endpoint), row.id ? h("span", { class: "note" }, row.endpoint) : null);
  const cells = parts.map((part) => h("td", { class: "number" }, values.has(part) ? number(values.get(part)) : ""));
  const score = h("td", { class: "number" }, row.excluded ? "–" : number(row.total));
  return h("tr", { class: row.excluded ? "out" : null }, name, score, ...cells, h("td", {}, row.excluded ? `not: ${reason(row.excluded)}` : row.reason));
}

/** A condition that kept an endpoint out, as the server's data has it: a word, or a word with what it is about. */
function reason(excluded) {
  if (typeof excluded === "string") return excluded.replaceAll("_", " ");
  const [[kind, about]] = Object.entries(excluded);
  return kind === "hidden" || kind === "refused" ? String(about) : `${kind.replaceAll("_", " ")} ${about}`;
}
