// From the command line to a command and its exit code: 0 done, 1 failed, 2 misused, 130 stopped by Ctrl-C.
import { readFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import { COMMANDS, HELP } from "./commands.js";
import { Misuse } from "./values.js";

export async function run(line) {
  const stop = new AbortController();
  const interrupt = () => stop.abort();
  process.once("SIGINT", interrupt).once("SIGTERM", interrupt);
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
    process.off("SIGINT", interrupt).off("SIGTERM", interrupt);
  }
}

async function obey(line, signal) {
  const [name, ...rest] = line;
  if (name === undefined || line.includes("--help") || line.includes("-h")) {
    process.stdout.write(HELP);
    return name === undefined ? 2 : 0;
  }
  if (name === "--version") {
    const { version } = JSON.parse(await readFile(new URL("../../package.json", import.meta.url), "utf8"));
    process.stdout.write(`${version}\n`);
    return 0;
  }
  const command = COMMANDS[name];
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
