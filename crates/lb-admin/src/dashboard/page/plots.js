// Which plots there are, and what they say of a service.

import { barPlot, quantilePlot, timePlot } from "./charts.js";
import { $ } from "./dom.js";
import { count, duration, percent, rate } from "./format.js";
import { HISTORY, nameOf, SHARE_WINDOW, takesCalls } from "./model.js";

/** Rows a plot has at most: what does not fit is summed up or counted. */
const ROWS = 12;

export function drawPlots(model) {
  const { history, now } = model;
  const last = history.findLast((point) => point.rate !== null) ?? { rate: 0, failing: 0, latency: null };
  timePlot($("plot-rate"), "Calls per second", history, now, HISTORY, {
    series: [
      { name: "all", value: (point) => point.rate, tone: "main" },
      { name: "failed", value: (point) => point.failing, tone: "bad", dash: "4 3" },
    ],
    unit: (value) => (Number.isInteger(value) ? count(value) : value.toFixed(2).replace(/0$/, "")),
    gist: `Calls per second: ${rate(last.rate)} now, of which ${rate(last.failing)} fail.`,
    note: `Now ${rate(last.rate)}, failed ${rate(last.failing)}.`,
  });
  timePlot($("plot-latency"), "Latency of successful calls", history, now, HISTORY, {
    series: [{ name: "mean", value: (point) => point.latency, tone: "main" }],
    band: ["least", "most"],
    unit: (value) => (value === 0 ? "0" : duration(value).replace(/\.0+(?=\D)|(\.\d)0(?=\D)/, "$1")),
    gist: `Mean latency: ${duration(last.latency)} now.`,
    note: "Shaded: from the fastest endpoint to the slowest. Means of about 10 s.",
  });
  drawShares([...model.endpoints.values()]);
  drawQuantiles([...model.endpoints.values()]);
}

function drawShares(endpoints) {
  const known = endpoints.filter((endpoint) => endpoint.shareOfPicks !== null);
  known.sort((one, other) => other.shareOfPicks - one.shareOfPicks || compare(nameOf(one), nameOf(other)));
  const rows = known.slice(0, ROWS).map((endpoint) => ({ name: nameOf(endpoint), value: endpoint.shareOfPicks }));
  if (known.length <= ROWS) rows.sort((one, other) => compare(one.name, other.name));
  const first = known[0];
  const rest = known.slice(ROWS);
  const others = rest.reduce((sum, endpoint) => sum + endpoint.shareOfPicks, 0);
  const which = rest.length > 0 ? ` The ${ROWS} with the most; the other ${count(rest.length)} have ${percent(others)} together.` : "";
  barPlot($("plot-share"), "Share of calls", rows, {
    unit: percent,
    even: 1 / Math.max(endpoints.filter(takesCalls).length, 1),
    evenWord: "even",
    gist: first ? `Share of calls: most, ${percent(first.shareOfPicks)}, at ${nameOf(first)}.` : "No calls.",
    note: known.length > 0 ? `Of the last ${SHARE_WINDOW} s.${which}` : `No calls in the last ${SHARE_WINDOW} s.`,
  });
}

function drawQuantiles(endpoints) {
  const known = endpoints.filter((endpoint) => endpoint.p99 > 0);
  known.sort((one, other) => other.p99 - one.p99);
  const rows = known.slice(0, ROWS).map(({ p50, p90, p99, ...endpoint }) => ({ name: nameOf(endpoint), p50, p90, p99 }));
  if (known.length <= ROWS) rows.sort((one, other) => compare(one.name, other.name));
  const slowest = known[0];
  quantilePlot($("plot-quantiles"), "Latency by endpoint", rows, {
    unit: (value) => duration(value).replace(/\.0+(?=\D)/, ""),
    gist: slowest ? `Latency by endpoint: the slowest, ${nameOf(slowest)}, has a p99 of ${duration(slowest.p99)}.` : "No latencies.",
    note: known.length > ROWS ? `The slowest ${ROWS} of ${count(known.length)}, over the last one to two minutes.` : "Over the last one to two minutes.",
  });
}

const compare = new Intl.Collator(undefined, { numeric: true }).compare;
