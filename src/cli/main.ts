#!/usr/bin/env node
import { BpfError } from "../errors.ts";
import { commands, printHelp, UsageError } from "./commands.ts";
import { readVersion } from "./version.ts";

const EXIT_FAILURE = 1;
const EXIT_USAGE = 2;

async function main(args: readonly string[]): Promise<number> {
  const [first, ...rest] = args;
  if (first === undefined || first === "--help" || first === "-h" || first === "help") {
    printHelp(first === undefined ? process.stderr : process.stdout);
    return first === undefined ? EXIT_USAGE : 0;
  }
  if (first === "--version" || first === "-V") {
    process.stdout.write(`${readVersion()}\n`);
    return 0;
  }
  const command = commands.find((candidate) => candidate.name === first);
  if (command === undefined) throw new UsageError(`There is no command "${first}"`, first);
  const run = await command.load();
  return run(rest);
}

function report(error: unknown): number {
  if (error instanceof UsageError) {
    process.stderr.write(`rawbpf: ${error.message}\n`);
    return EXIT_USAGE;
  }
  if (error instanceof BpfError) {
    process.stderr.write(`rawbpf: ${error.message.replace(/\n/g, "\n  ")}\n`);
    return EXIT_FAILURE;
  }
  process.stderr.write(`rawbpf: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
  return EXIT_FAILURE;
}

// Someone who closes the pipe (`| head`) has seen enough.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code === "EPIPE") process.exit(0);
  throw error;
});

main(process.argv.slice(2)).then(
  (code) => {
    process.exitCode = code;
  },
  (error: unknown) => {
    process.exitCode = report(error);
  },
);
