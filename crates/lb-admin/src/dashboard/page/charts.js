// Plots, drawn anew at every change: a dozen rows or a few hundred points each.
//
// Series differ by dashes, shapes and words as well as by colour, and lines bear their names. Every plot says its gist in its label, for
// those who do not see it.

import { attribute, h, s, text } from "./dom.js";
import { linear, logarithmic } from "./scales.js";

const LABEL = 52;
const FOOT = 20;
const ROW = 22;

/** Prepares a figure: a title, a drawing as wide as there is room, and a note below. */
function frame(figure, title, height) {
  if (!figure.drawing) {
    figure.drawing = s("svg", { role: "img", class: "plot" });
    figure.note = h("p", { class: "note" });
    figure.append(h("figcaption", {}, title), figure.drawing, figure.note);
  }
  const width = Math.max(figure.clientWidth - 26, 220);
  attribute(figure.drawing, "width", width);
  attribute(figure.drawing, "height", height);
  return { svg: figure.drawing, width, height };
}

function finish(figure, children, gist, note = "") {
  figure.drawing.replaceChildren(...children);
  attribute(figure.drawing, "aria-label", gist);
  text(figure.note, note);
}

/**
 * Lines over time. `series`: `{ name, value: (point) => number | null, tone, dash }`; `band`: the names of two fields between which
 * the plane is shaded; `unit`: how a value is written.
 */
export function timePlot(figure, title, points, now, seconds, { series, band, unit, gist, note }) {
  const { width, height } = frame(figure, title, 150);
  const [plotWidth, plotHeight] = [width - LABEL - 58, height - FOOT - 8];
  const values = points.flatMap((point) => [...series.map((line) => line.value(point)), band ? point[band[1]] : null]);
  const most = Math.max(...values.filter((value) => value !== null), 0);
  const scale = linear(most, plotHeight);
  const x = (at) => LABEL + plotWidth * (1 - (now - at) / seconds);
  const y = (value) => 8 + plotHeight - scale.at(value);
  const ticks = most > 0 ? scale.ticks : [0];
  const children = ticks.map((tick) => gridline(LABEL, LABEL + plotWidth, y(tick), unit(tick)));
  for (const [ago, word] of [[seconds, `${seconds / 60} min ago`], [seconds / 2, `${seconds / 120} min ago`], [0, "now"]]) {
    const anchor = ago === seconds ? "start" : ago === 0 ? "end" : "middle";
    children.push(s("text", { x: x(now - ago), y: height - 4, "text-anchor": anchor, class: "axis" }, word));
  }
  if (band) children.push(s("path", { d: ribbon(points, band, x, y), class: "band" }));
  const last = points.at(-1);
  const ends = [];
  for (const line of series) {
    children.push(s("path", { d: trace(points, line.value, x, y), class: `line ${line.tone}`, "stroke-dasharray": line.dash ?? null }));
    const value = last ? line.value(last) : null;
    if (value !== null) ends.push({ y: y(value), line });
  }
  for (const { y: place, line } of spread(ends)) {
    children.push(s("text", { x: LABEL + plotWidth + 6, y: place + 4, class: `name ${line.tone}` }, line.name));
  }
  finish(figure, children, gist, most > 0 ? note : "No calls in the time shown.");
}

/** A path that is interrupted where nothing is known. */
function trace(points, value, x, y) {
  let pen = "M";
  let path = "";
  for (const point of points) {
    const here = value(point);
    if (here === null) pen = "M";
    else {
      path += `${pen}${x(point.at).toFixed(1)} ${y(here).toFixed(1)}`;
      pen = "L";
    }
  }
  return path;
}

function ribbon(points, [low, high], x, y) {
  const known = points.filter((point) => point[low] !== null);
  if (known.length < 2) return "";
  const edge = (list, field) => list.map((point) => `${x(point.at).toFixed(1)} ${y(point[field]).toFixed(1)}`).join("L");
  return `M${edge(known, high)}L${edge(known.toReversed(), low)}Z`;
}

/** Moves labels up that would lie on each other. */
function spread(ends) {
  ends.sort((one, other) => other.y - one.y);
  for (let index = 1; index < ends.length; index += 1) ends[index].y = Math.min(ends[index].y, ends[index - 1].y - 13);
  return ends;
}

function gridline(from, to, y, word) {
  return s("g", {},
    s("line", { x1: from, x2: to, y1: y, y2: y, class: "grid" }),
    s("text", { x: from - 6, y: y + 4, "text-anchor": "end", class: "axis" }, word));
}

/** How wide names may be beside rows. */
const names = (width) => Math.min(170, width * 0.36);

/** A name that fits, whole in its tooltip. */
function rowName(name, width, y) {
  const fits = Math.floor(width / 6.7);
  const short = name.length > fits ? name.slice(0, fits - 1) + "…" : name;
  return s("text", { x: width - 8, y: y + 4, "text-anchor": "end", class: "axis row-name" }, short, s("title", {}, name));
}

/** Bars from 0, one per row: `{ name, value }`. `even` is marked by a line. */
export function barPlot(figure, title, rows, { unit, even, evenWord, gist, note }) {
  const { width, height } = frame(figure, title, rows.length * ROW + FOOT + 14);
  const left = names(width);
  const plotWidth = width - left - 56;
  const most = Math.max(...rows.map((row) => row.value), even ?? 0, 0.0001);
  const at = (value) => left + (value / most) * plotWidth;
  const children = [s("line", { x1: left, x2: left, y1: 14, y2: 14 + rows.length * ROW, class: "base" })];
  const values = [];
  rows.forEach((row, index) => {
    const y = 14 + index * ROW + ROW / 2;
    const bar = { x: left, y: y - 6, width: Math.max(at(row.value) - left, 0), height: 12, class: "bar" };
    children.push(rowName(row.name, left, y), s("rect", bar));
    values.push(s("text", { x: at(row.value) + 6, y: y + 4, class: "value" }, unit(row.value)));
  });
  if (even && rows.length > 1) {
    const line = { x1: at(even), x2: at(even), y1: 12, y2: 14 + rows.length * ROW, class: "mark" };
    children.push(s("line", line), s("text", { x: at(even), y: 9, "text-anchor": at(even) > width - 60 ? "end" : "middle", class: "axis" }, evenWord));
  }
  attribute(figure.drawing, "height", height - FOOT + 6);
  finish(figure, [...children, ...values], gist, note);
}

/** Three marks per row on one logarithmic scale: a dot at p50, a stroke at p90, a triangle at p99. */
export function quantilePlot(figure, title, rows, { unit, gist, note }) {
  const { width, height } = frame(figure, title, Math.max(rows.length, 1) * ROW + FOOT + 22);
  const left = names(width);
  const plotWidth = width - left - 24;
  const children = rows.length > 0 ? legend(left) : [];
  if (rows.length > 0) {
    const scale = logarithmic(Math.min(...rows.map((row) => row.p50)), Math.max(...rows.map((row) => row.p99)), plotWidth);
    const [top, bottom] = [20, 20 + rows.length * ROW];
    // Where there is no room for all words, whole decades have theirs.
    const all = scale.ticks.length * 52 <= plotWidth;
    scale.ticks.forEach((tick) => {
      const x = left + scale.at(tick);
      children.push(s("line", { x1: x, x2: x, y1: top, y2: bottom, class: "grid" }));
      if (all || Number.isInteger(Math.round(Math.log10(tick) * 1e6) / 1e6)) children.push(s("text", { x, y: height - 6, "text-anchor": "middle", class: "axis" }, unit(tick)));
    });
    rows.forEach((row, index) => children.push(...quantileRow(row, left, (value) => left + scale.at(value), top + index * ROW + ROW / 2)));
  }
  finish(figure, children, gist, rows.length > 0 ? note : "No call has succeeded in the last minute.");
}

function quantileRow(row, left, at, y) {
  const [p50, p90, p99] = [at(row.p50), at(row.p90), at(row.p99)];
  return [
    rowName(row.name, left, y),
    s("line", { x1: p50, x2: p99, y1: y, y2: y, class: "range" }),
    ...marks(p50, p90, p99, y),
  ];
}

function marks(p50, p90, p99, y) {
  return [
    s("circle", { cx: p50, cy: y, r: 4, class: "mark-50" }),
    s("line", { x1: p90, x2: p90, y1: y - 5, y2: y + 5, class: "mark-90" }),
    s("path", { d: `M${p99 - 4} ${y - 5}l8 5l-8 5z`, class: "mark-99" }),
  ];
}

function legend(left) {
  const word = (x, name) => s("text", { x, y: 11, class: "axis" }, name);
  const [dot, stroke, triangle] = marks(left + 6, left + 56, left + 102, 7);
  return [dot, word(left + 14, "p50"), stroke, word(left + 64, "p90"), triangle, word(left + 112, "p99")];
}

/** A line as small as a word, from 0 to its own highest value; the number beside it says how high. */
export function sparkline(svg, values) {
  const [width, height] = [72, 20];
  const most = Math.max(...values.filter((value) => value !== null), 0);
  const x = (index) => width - 3 - (values.length - 1 - index) * (width / 60);
  const points = values.map((value, index) => ({ at: index, value }));
  const path = most > 0 ? trace(points, (point) => point.value, x, (value) => height - 2 - (value / most) * (height - 5)) : "";
  if (!svg.line) svg.append((svg.line = s("path", { class: "line main" })));
  attribute(svg.line, "d", path);
}
