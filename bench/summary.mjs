// How figures are shown: median, and the smallest and largest beside it.
export const median = (values) => [...values].sort((a, b) => a - b)[values.length >> 1];

export function summary(values, unit, digits = 0) {
  const sorted = [...values].sort((a, b) => a - b);
  const show = (value) => value.toFixed(digits);
  return `${show(median(values))} ${unit} (${show(sorted[0])} to ${show(sorted.at(-1))}, ${sorted.length} runs)`;
}

export const row = (name, value) => console.log(`  ${name.padEnd(44)} ${value}`);
export const megabytes = (bytes, digits = 2) => `${(bytes / 1e6).toFixed(digits)} MB`;
