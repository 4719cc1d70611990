// How far the work is: a bar that moves on a terminal, and a line now and then anywhere else (a log, a pipe).

const WIDTH = 24;
/** Between two looks at a terminal, in milliseconds. */
const EVERY = 50;
/** Shares at which a log gets a line. */
const STEPS = 4;

export class Progress {
  #stream;
  #last = { what: "", time: 0, step: -1 };
  #shown = false;

  constructor(stream) {
    this.#stream = stream;
  }

  show(what, share, detail) {
    const part = Math.min(Math.max(share, 0), 1);
    if (this.#stream.isTTY) this.#draw(what, part, detail);
    else this.#log(what, part, detail);
  }

  /** Takes the bar off the terminal. */
  clear() {
    if (this.#shown) this.#stream.write("\r\x1b[K");
    this.#shown = false;
  }

  end(message) {
    this.clear();
    this.#stream.write(`${message}\n`);
  }

  #draw(what, part, detail) {
    const now = Date.now();
    if (what === this.#last.what && part < 1 && now - this.#last.time < EVERY) return;
    this.#last = { what, time: now, step: -1 };
    const full = Math.round(part * WIDTH);
    const line = `${what} [${"=".repeat(full)}${" ".repeat(WIDTH - full)}] ${String(Math.floor(part * 100)).padStart(3)} %  ${detail}`;
    // A line that wraps could not be taken back.
    this.#stream.write(`\r\x1b[K${line.slice(0, (this.#stream.columns || 80) - 1)}`);
    this.#shown = true;
  }

  #log(what, part, detail) {
    const step = Math.floor(part * STEPS);
    if (what === this.#last.what && step <= this.#last.step) return;
    this.#last = { what, time: 0, step };
    this.#stream.write(`${what}: ${detail}\n`);
  }
}
