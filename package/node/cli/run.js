// From the command line to a command and its exit code: 0 done, 1 failed, 2 misused, 130 stopped by Ctrl-C.
import { readFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import { COMMANDS, help } from "./commands.js";
import { writeOutput } from "./files.js";
import { Misuse } from "./values.js";

/** How long work that was stopped may take to end by itself, in milliseconds. */
const GRACE = 2000;

export async function run(line) {
  // Nobody may be reading what is said here; the work goes on all the same.
  process.stderr.on("error", () => {});
  const stop = new AbortController();
  let grace;
  const interrupt = (signal) => {
    stop.abort();
    // What waits for something that knows no signal (a pipe that nobody writes to) is ended by the system, as it would
    // have been without this: `process.exit` would wait for it too.
    grace ??= setTimeout(() => {
      unlisten();
      process.kill(process.pid, signal);
    }, GRACE).unref();
  };
  const unlisten = () => process.off("SIGINT", interrupt).off("SIGTERM", interrupt);
  process.on("SIGINT", interrupt).on("SIGTERM", interrupt);
  try {
    return await obey(line, stop.signal);
  } catch (error) {
    if (stop.signal.aborted) {
      say("stopped.");
      return 130;
    }
    say(sentence(error));
    if (error instanceof Misuse) process.stderr.write('"residual-stream --help" lists commands and options.\n');
    return error instanceof Misuse ? 2 : 1;
  } finally {
    clearTimeout(grace);
    unlisten();
  }
}

async function obey(line, signal) {
  const [name, ...rest] = line;
  if (name === undefined || line.includes("--help") || line.includes("-h")) {
    await writeOutput("-", await help(), signal);
    return name === undefined ? 2 : 0;
  }
  if (name === "--version") {
    const { version } = JSON.parse(await readFile(new URL("../../package.json", import.meta.url), "utf8"));
    await writeOutput("-", `${version}\n`, signal);
    return 0;
  }
  const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  if (!command) throw new Misuse(`"${name}" is no command: it is ${Object.keys(COMMANDS).join(" or ")}.`);
  await command.run(given(name, command, rest), signal);
  return 0;
}

/** The options as given, each of its kind; one that is needed and missing is named. */
function given(name, { options, needs }, rest) {
  let values;
  try {
    ({ values } = parseArgs({ args: rest, options, strict: true, allowPositionals: false }));
  } catch (error) {
    throw new Misuse(`${name}: ${error.message.split("\n")[0].replace(/\.? To specify .*$/, ".")}`);
  }
  for (const need of needs) if (values[need] === undefined) throw new Misuse(`${name}: --${need} is missing.`);
  return values;
}

function say(message) {
  process.stderr.write(`residual-stream: ${message}\n`);
}

/** One sentence, as the package's errors are; for others (a full disk, say) what Node says of them. */
function sentence(error) {
  return error?.message ?? String(error);
}
