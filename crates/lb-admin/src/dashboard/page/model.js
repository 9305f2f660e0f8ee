// What the page knows: the latest of every service and endpoint, and of the numbers as much past as the plots show.

/** Samples kept of an endpoint: half a minute at two a second, as wide as a sparkline is. */
const SAMPLES = 60;

/** Seconds that the plots over time show. */
export const HISTORY = 120;

/** Seconds over which shares are counted: long enough that a fair policy looks fair at a few calls a second. */
export const SHARE_WINDOW = 10;

/** Seconds over which a rate is counted. */
const RATE_WINDOW = 3;

const MOST_EVENTS = 200;

/** What is remembered of an endpoint at first, besides what the server says of it. */
const NOTHING = () => ({ times: [], picked: [], failures: [], latencies: [] });

export class Model {
  constructor() {
    this.clear();
  }

  clear() {
    this.now = 0;
    this.service = null;
    this.services = new Map();
    this.endpoints = new Map();
    this.events = [];
    this.history = [];
    this.mayChange = false;
  }

  apply(kind, message) {
    if (kind === "snapshot") this.#begin(message);
    this.now = message.now;
    merge(this.services, message.services, "name", () => ({}));
    merge(this.endpoints, message.endpoints, "key", NOTHING);
    for (const event of message.events ?? []) this.events.unshift(event);
    this.events.length = Math.min(this.events.length, MOST_EVENTS);
    this.#sample();
  }

  /** A snapshot tells all there is; what was learned of the same service before stays, for the plots' sake. */
  #begin(message) {
    if (message.service !== this.service) this.clear();
    this.service = message.service;
    this.mayChange = message.mayChange;
    this.events = [];
    const keep = (map, list, key) => {
      const listed = new Set((list?.set ?? []).map((entry) => entry[key]));
      for (const name of map.keys()) if (!listed.has(name)) map.delete(name);
    };
    keep(this.services, message.services, "name");
    keep(this.endpoints, message.endpoints, "key");
  }

  #sample() {
    for (const endpoint of this.endpoints.values()) {
      // Counters that went back are those of a program that began anew.
      if ((endpoint.picks ?? 0) < (endpoint.picked.at(-1) ?? 0)) Object.assign(endpoint, NOTHING());
      push(endpoint.times, this.now);
      push(endpoint.picked, endpoint.picks ?? 0);
      push(endpoint.failures, endpoint.failed ?? 0);
      push(endpoint.latencies, endpoint.latency ?? null);
    }
    this.#share();
    this.#remember();
  }

  #share() {
    let all = 0;
    for (const endpoint of this.endpoints.values()) all += endpoint.recent = since(endpoint, this.now - SHARE_WINDOW, "picked").delta;
    for (const endpoint of this.endpoints.values()) endpoint.shareOfPicks = all > 0 ? endpoint.recent / all : null;
  }

  #remember() {
    let [known, rate, failing, weight, sum, least, most] = [false, 0, 0, 0, 0, Infinity, -Infinity];
    for (const endpoint of this.endpoints.values()) {
      const { delta, seconds } = since(endpoint, this.now - RATE_WINDOW, "picked");
      if (seconds <= 0) continue;
      known = true;
      rate += delta / seconds;
      failing += since(endpoint, this.now - RATE_WINDOW, "failures").delta / seconds;
      if (delta > 0 && endpoint.latency !== undefined) {
        weight += delta;
        sum += delta * endpoint.latency;
        least = Math.min(least, endpoint.latency);
        most = Math.max(most, endpoint.latency);
      }
    }
    const latencies = weight ? { latency: sum / weight, least, most } : { latency: null, least: null, most: null };
    // One look at counters says nothing of a rate; without endpoints it is 0.
    const rates = known || this.endpoints.size === 0 ? { rate, failing } : { rate: null, failing: null };
    this.history.push({ at: this.now, ...rates, ...latencies });
    while (this.history[0].at < this.now - HISTORY) this.history.shift();
  }

  get current() {
    return this.services.get(this.service);
  }
}

/** Takes in changed entries and drops those that are gone. A field that is `null` is no longer there. */
function merge(map, changes, key, create) {
  for (const name of changes?.gone ?? []) map.delete(name);
  for (const entry of changes?.set ?? []) {
    let known = map.get(entry[key]);
    if (!known) map.set(entry[key], (known = create()));
    for (const [field, value] of Object.entries(entry)) {
      if (value === null) delete known[field];
      else known[field] = value;
    }
  }
}

function push(list, value) {
  list.push(value);
  if (list.length > SAMPLES) list.shift();
}

/** How much a counter grew since a moment, and in how many seconds. */
function since(endpoint, moment, counter) {
  const { times } = endpoint;
  let first = times.length - 1;
  while (first > 0 && times[first - 1] >= moment) first -= 1;
  const last = times.length - 1;
  return { delta: endpoint[counter][last] - endpoint[counter][first], seconds: times[last] - times[first] };
}

/** What an endpoint is, in a word and a shape; the colour says it once more. */
export function standing(endpoint) {
  const { state, excluded } = endpoint;
  if (state === "TRANSIENT_FAILURE") return { word: "Failing", shape: "triangle", tone: "bad" };
  if (excluded) return { word: excluded === "drained" ? "Drained" : excluded === "disabled" ? "Disabled" : "Excluded", shape: "square", tone: "off" };
  if (state === "READY") return { word: "Ready", shape: "disc", tone: "good" };
  if (state === "CONNECTING") return { word: "Connecting", shape: "half", tone: "wait" };
  return { word: "Idle", shape: "ring", tone: "idle" };
}

/** Why an endpoint gets no calls, or fewer than its peers. */
export function why(endpoint) {
  const reasons = [];
  if (endpoint.excluded && endpoint.excluded !== standing(endpoint).word.toLowerCase()) reasons.push(endpoint.excluded);
  if (endpoint.limited) reasons.push(`${endpoint.limited}, ${Math.round((endpoint.share ?? 1) * 100)} % of a full share`);
  if (endpoint.breaker) reasons.push(`breaker ${endpoint.breaker}`);
  if (endpoint.error) reasons.push(endpoint.error);
  return reasons.join("; ");
}

export const takesCalls = (endpoint) => endpoint.state === "READY" && !endpoint.excluded;

/** What people call it. */
export const nameOf = (endpoint) => endpoint.id ?? endpoint.key;
