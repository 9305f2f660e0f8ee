// Numbers as people read them: three digits that count, and the unit.

const THIN = "\u202f";

/** 1234567 as `1 234 567`. */
export function count(value) {
  return Math.round(value).toString().replace(/\B(?=(\d{3})+$)/g, THIN);
}

function digits(value) {
  const size = Math.abs(value);
  if (size === 0) return "0";
  return size >= 100 ? count(value) : size >= 10 ? value.toFixed(1) : value.toFixed(2);
}

/** Seconds as `840 µs`, `1.20 ms`, `24.0 ms`, `1.30 s`, `2 min`. */
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 0.0009995) return `${digits(seconds * 1e6)}${THIN}µs`;
  if (seconds < 0.9995) return `${digits(seconds * 1e3)}${THIN}ms`;
  return seconds < 120 ? `${digits(seconds)}${THIN}s` : `${Math.round(seconds / 60)}${THIN}min`;
}

/** A length of time that a clock shows: `8 s`, `3 min`, `2 h`. */
export function span(seconds) {
  if (seconds < 120) return `${Math.floor(seconds)}${THIN}s`;
  return seconds < 7200 ? `${Math.floor(seconds / 60)}${THIN}min` : `${Math.floor(seconds / 3600)}${THIN}h`;
}

/** A share as `25.0 %`. */
export function percent(share) {
  if (share === null || share === undefined) return "–";
  const value = share * 100;
  return `${value === 0 || value >= 99.95 ? value.toFixed(0) : value.toFixed(value < 0.1 ? 2 : 1)}${THIN}%`;
}

/** How often in a second. */
export function rate(perSecond) {
  return `${digits(perSecond)}/s`;
}

/** A number without a unit, such as a score. */
export function number(value) {
  return Number.isInteger(value) ? count(value) : Number.isFinite(value) ? digits(value) : String(value);
}

/** The time of day of a moment given in seconds since 1970. */
export function clock(seconds) {
  return new Date(seconds * 1000).toLocaleTimeString([], { hour12: false });
}
