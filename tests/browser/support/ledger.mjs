// What the stand-in hub was asked and what it sent: counts, ranges, overlaps, answers at the same time.

export class Ledger {
  requests = [];
  #clock = 0;

  note(request, where) {
    const note = {
      where, method: request.method, url: request.url, headers: request.headers, began: ++this.#clock,
      /** Bytes sent, once the answer has ended; */
      sent: undefined,
      /** bytes of the file sent so far, from this one on. */
      start: undefined, count: 0,
    };
    let ended;
    Object.defineProperty(note, "ended", { get: () => ended, enumerable: false });
    // An answer is over for its receiver with the last byte, however long the sender then takes to notice.
    Object.defineProperty(note, "over", { set: () => { ended ??= ++this.#clock; }, get: () => ended !== undefined });
    this.requests.push(note);
    return note;
  }

  /** Requests that were answered with bytes of files whose path ends with `name`, in the order they came. */
  answers(name) {
    return this.requests.filter((note) => note.path?.endsWith(name) && note.method === "GET" && note.start !== undefined);
  }

  /** Bytes sent of a file, so far. */
  sent(name) {
    return this.answers(name).reduce((sum, note) => sum + note.count, 0);
  }

  /** [start, end] of what was asked for of a file; the whole file is [0, Infinity]. */
  ranges(name) {
    return this.answers(name).map(({ headers }) => {
      const range = headers.range?.match(/^bytes=(\d+)-(\d*)$/);
      return range ? [Number(range[1]), range[2] ? Number(range[2]) + 1 : Infinity] : [0, Infinity];
    });
  }

  /** Bytes of a file that were sent at least once, as runs [start, end]. */
  covered(name) {
    return depth(this.answers(name), 1);
  }

  /** Bytes of a file that were sent more than once, as runs [start, end]. */
  overlaps(name) {
    return depth(this.answers(name), 2);
  }

  /** Most answers about a file that were under way at the same time. */
  busiest(name) {
    const events = this.answers(name).flatMap(({ began, ended }) => [[began, 1], [ended ?? Infinity, -1]]);
    events.sort((a, b) => a[0] - b[0]);
    let now = 0, most = 0;
    for (const [, step] of events) most = Math.max(most, (now += step));
    return most;
  }

  /** Whether answers are still under way. */
  get busy() {
    return this.requests.some((note) => note.ended === undefined);
  }
}

function depth(notes, least) {
  const events = notes
    .filter((note) => note.count > 0 && !note.encoded)
    .flatMap(({ start, count }) => [[start, 1], [start + count, -1]]);
  events.sort((a, b) => a[0] - b[0] || b[1] - a[1]);
  const runs = [];
  let now = 0, from;
  for (const [at, step] of events) {
    const before = now;
    now += step;
    if (before < least && now >= least) from = at;
    if (before >= least && now < least && at > from) {
      if (runs.at(-1)?.[1] === from) runs.at(-1)[1] = at;
      else runs.push([from, at]);
    }
  }
  return runs;
}

/** Bytes in runs. */
export function total(runs) {
  return runs.reduce((sum, [from, to]) => sum + to - from, 0);
}

/** Whether a run overlaps with any of others. */
export function meets([from, to], runs) {
  return runs.some(([begin, end]) => from < end && begin < to);
}
