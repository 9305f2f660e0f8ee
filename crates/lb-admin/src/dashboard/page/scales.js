// From numbers to places: scales and their ticks.

/** A linear scale from 0 to a round number not below `most`, and three to five ticks on it. */
export function linear(most, length) {
  const target = most > 0 ? most : 1;
  const power = 10 ** Math.floor(Math.log10(target / 4));
  const step = [1, 2, 2.5, 5, 10].map((unit) => unit * power).find((step) => target / step <= 4.0001);
  const top = Math.ceil(target / step - 1e-9) * step;
  const ticks = Array.from({ length: Math.round(top / step) + 1 }, (_, index) => index * step);
  return { at: (value) => (Math.min(value, top) / top) * length, ticks };
}

/** A logarithmic scale over whole decades that hold `least` and `most`, both above 0, with a tick at each decade, or more where few. */
export function logarithmic(least, most, length) {
  const low = Math.floor(Math.log10(least) + 1e-9);
  const high = Math.max(Math.ceil(Math.log10(most) - 1e-9), low + 1);
  const units = high - low > 2 ? [1] : [1, 2, 5];
  const ticks = [];
  for (let decade = low; decade <= high; decade += 1) {
    for (const unit of units) if (decade < high || unit === 1) ticks.push(unit * 10 ** decade);
  }
  const at = (value) => ((Math.log10(Math.max(value, 10 ** low)) - low) / (high - low)) * length;
  return { at, ticks };
}
