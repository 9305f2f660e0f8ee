// Requests to this server: with the token, if there is one, and with errors as people can read them.

const PREFIX = "/api/v1/loadbalancer";
const KEPT_AS = "evenkeel.token";

let token = stored();

function stored() {
  try {
    return sessionStorage.getItem(KEPT_AS);
  } catch {
    return null;
  }
}

export const hasToken = () => token !== null;

/** Uses this token from now on, and forgets it with the tab; `null` forgets it now. */
export function setToken(value) {
  token = value;
  try {
    if (value === null) sessionStorage.removeItem(KEPT_AS);
    else sessionStorage.setItem(KEPT_AS, value);
  } catch {
    // A browser without storage asks again after a reload.
  }
}

/** The path to a service or an endpoint of it. Names are data, whatever slashes and dots they hold. */
export function path(...parts) {
  return parts.map((part) => "/" + encodeURIComponent(part).replace(/^\.+$/, (dots) => "%2E".repeat(dots.length))).join("");
}

export class Refused extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

/** The answer to a request; anything but success is thrown as `Refused`. */
export async function request(method, where, { body, signal } = {}) {
  const headers = { accept: "application/json" };
  if (token !== null) headers.authorization = `Bearer ${token}`;
  if (body !== undefined) headers["content-type"] = "application/json";
  const sent = { method, headers, signal, body: body === undefined ? undefined : JSON.stringify(body), cache: "no-store" };
  const response = await fetch(PREFIX + where, sent);
  if (!response.ok) throw new Refused(response.status, await detail(response));
  return response;
}

/** The same, for an answer that is data or nothing. */
export async function data(method, where, options) {
  const answer = await (await request(method, where, options)).text();
  return answer === "" ? null : JSON.parse(answer);
}

async function detail(response) {
  try {
    const problem = await response.json();
    return problem.detail || problem.title || response.statusText;
  } catch {
    return response.statusText || `status ${response.status}`;
  }
}
