import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { toolPath } from "../../support/harness.ts";

/** A program that does with libbpf what is to be compared. */
export interface LibbpfPeer {
  /** Folder of its own, for its files too. */
  readonly folder: string;
  /** Runs it. @returns its exit status */
  run(...files: string[]): number | null;
  /** Removes the folder. */
  remove(): void;
}

/**
 * Compiles a C program against libbpf: that which `scripts/debian-tools.sh` fetched, else the system's.
 *
 * @returns `undefined` when there is no compiler, no libbpf, or one that lacks what the program uses
 */
export function compileWithLibbpf(source: string): LibbpfPeer | undefined {
  const folder = mkdtempSync(join(tmpdir(), "rawbpf-"));
  const program = join(folder, "peer");
  const args = ["-x", "c", "-", "-Werror=implicit-function-declaration", "-o", program, "-lbpf"];
  const remove = (): void => rmSync(folder, { recursive: true });
  for (const compiler of [toolPath("libbpf-cc"), "gcc"]) {
    if (compiler === undefined) continue;
    if (spawnSync(compiler, args, { input: source, stdio: ["pipe", "ignore", "ignore"] }).status !== 0) continue;
    const run = (...files: string[]): number | null => spawnSync(program, files, { stdio: "ignore" }).status;
    return { folder, run, remove };
  }
  remove();
  return undefined;
}
