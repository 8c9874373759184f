import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";

/** A process that answers one line to each line, such as the C peer. */
export interface Peer {
  /** Sends a command, gives the answer's words. */
  ask(command: string): Promise<string[]>;
  /** Ends the process. */
  close(): void;
}

/** Starts a process that answers line by line. */
export function startPeer(
  program: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv = process.env,
  fd?: number,
): Peer {
  const child: ChildProcess = spawn(program, args, {
    stdio: ["pipe", "pipe", "inherit", ...(fd === undefined ? [] : [fd])],
    env,
  });
  const lines = createInterface({ input: child.stdout! });
  const waiting: { resolve: (words: string[]) => void; reject: (error: Error) => void }[] = [];
  lines.on("line", (line) => waiting.shift()?.resolve(line.trim().split(" ")));
  child.on("exit", (code, signal) => {
    for (const { reject } of waiting.splice(0)) reject(new Error(`${program} ended (${code ?? signal})`));
  });
  return {
    ask: (command) =>
      new Promise((resolve, reject) => {
        waiting.push({ resolve, reject });
        child.stdin!.write(`${command}\n`);
      }),
    close: () => {
      child.stdin!.end();
      child.kill();
    },
  };
}
