const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
const compact = new Intl.NumberFormat('en', { notation: 'compact', maximumFractionDigits: 1 });
const oneDigit = new Intl.NumberFormat('en', { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const clock = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit' });

/** A count in full: `15,000`. */
export const integer = (value) => whole.format(value);

/** A count where room is short: `15K`. */
export const short = (value) => (Math.abs(value) < 10_000 ? whole.format(value) : compact.format(value));

/** Events a second. */
export const rate = (value) => (value >= 1_000 ? short(value) : oneDigit.format(value));

/** Milliseconds, in seconds from one second on. */
export const milliseconds = (value) =>
  value >= 1_000 ? `${oneDigit.format(value / 1_000)} s` : `${oneDigit.format(value)} ms`;

/** A percentage that never shows a small share of errors as none. */
export const percent = (value) => (value > 0 && value < 0.05 ? '<0.1 %' : `${oneDigit.format(value)} %`);

/** The time of day of a Date or an RFC 3339 text; empty when it is neither. */
export function timeOfDay(value) {
  const date = new Date(value);
  return Number.isNaN(date.getTime()) ? '' : clock.format(date);
}
