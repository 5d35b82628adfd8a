// The server's clock: that of the browser may be wrong by hours.
const TRUSTED_MS = 30_000; // a smaller difference is the time of an answer on its way

let ahead = 0; // of the browser's clock, in ms

export function compare(date) {
  // `date`: the header of an answer that arrives now.
  const difference = Date.now() - Date.parse(date);
  if (!Number.isNaN(difference)) ahead = Math.abs(difference) < TRUSTED_MS ? 0 : difference;
}

export const now = () => Date.now() - ahead;
