#!/usr/bin/env node
// The command `residual-stream`: recorded traces, and pictures of them, made on an author's own machine.
// node/cli/ has a file for each of its commands; nothing of the engine is loaded before one needs it.
import { run } from "./node/cli/run.js";

process.exitCode = await run(process.argv.slice(2));
