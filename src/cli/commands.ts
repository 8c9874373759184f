import { closest } from "../bytes/index.ts";

/** Runs a command. @returns its exit code */
export type CommandRun = (args: readonly string[]) => Promise<number>;

/** A command of the `rawbpf` program. Its code is loaded only when it runs. */
export interface Command {
  /** First word of the command line. */
  readonly name: string;
  /** One line for the list of commands. */
  readonly summary: string;
  /** Loads the code. */
  readonly load: () => Promise<CommandRun>;
}

/** Every command, in the order of the help text. */
export const commands: readonly Command[] = [
  {
    name: "demo",
    summary: "show every process that starts, with a program built and loaded by TypeScript alone",
    load: async () => (await import("./demo.ts")).demo,
  },
  {
    name: "doctor",
    summary: "tell what this machine can do with BPF, and what to do about the rest",
    load: async () => (await import("./doctor.ts")).doctor,
  },
];

/** A command line that makes no sense: exit code 2. */
export class UsageError extends Error {
  /**
   * @param message what is wrong
   * @param misspelt the word that was not understood, for a suggestion
   */
  constructor(message: string, misspelt?: string) {
    const near =
      misspelt === undefined
        ? undefined
        : closest(
            misspelt,
            commands.map((command) => command.name),
          );
    const meant = near === undefined ? "" : `; did you mean "${near}"?`;
    super(`${message}${meant}\nTry: rawbpf --help`);
  }
}

/** Writes the list of commands. */
export function printHelp(out: NodeJS.WritableStream): void {
  const width = Math.max(...commands.map((command) => command.name.length));
  out.write(`Usage: rawbpf COMMAND [OPTION...]

Commands:
${commands.map((command) => `  ${command.name.padEnd(width)}  ${command.summary}`).join("\n")}

Options:
  --help, -h     this text; after a command: help on it
  --version, -V  version of rawbpf

Environment:
  RAWBPF_FFI     FFI adapter to use: koffi, node:ffi, bun:ffi, deno, ffi-napi
  NO_COLOR       no colours

Examples:
  sudo rawbpf demo --duration 5
  rawbpf doctor --json
`);
}
