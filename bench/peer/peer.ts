import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
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

/**
 * Compiles the C peer with the system's compiler.
 *
 * @returns its path, or `undefined` where there is no compiler; removed when the process ends
 */
export function compilePeer(): string | undefined {
  const source = ["bench/peer/peer.c", "../bench/peer/peer.c"].find((path) => existsSync(path));
  if (source === undefined) throw new Error("bench/peer/peer.c is not there: run the benchmarks from the repository");
  const folder = mkdtempSync(join(tmpdir(), "rawbpf-bench-"));
  process.on("exit", () => rmSync(folder, { recursive: true, force: true }));
  const output = join(folder, "peer");
  const compiled = spawnSync("cc", ["-O2", "-o", output, source], { stdio: ["ignore", "ignore", "inherit"] });
  if (compiled.error !== undefined) return undefined;
  if (compiled.status !== 0) throw new Error("The C peer does not compile");
  return output;
}
