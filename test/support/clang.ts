import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { toolPath } from "./harness.ts";

/** What {@link compileBpf} takes besides the sources. */
export interface CompileOptions {
  /** Byte order of the target. Default little-endian. */
  readonly bigEndian?: boolean;
  /** More arguments. */
  readonly args?: readonly string[];
}

/**
 * Compiles C for BPF with clang.
 *
 * @param files sources by name; `main.c` is compiled, the others can be included
 * @returns the object file
 * @throws Error with what clang wrote
 */
export function compileBpf(files: Readonly<Record<string, string>>, options: CompileOptions = {}): Uint8Array {
  return inDirectory(files, (directory) => {
    const target = `--target=${options.bigEndian === true ? "bpfeb" : "bpfel"}`;
    run(toolPath("clang")!, [target, "-g", "-O2", ...(options.args ?? []), "-c", "main.c", "-o", "main.o"], directory);
    return new Uint8Array(readFileSync(join(directory, "main.o")));
  });
}

/**
 * Compiles C for this machine with gcc, which makes BTF without the help of LLVM.
 *
 * @param files sources by name; `main.c` is compiled, the others can be included
 * @returns the object file
 * @throws Error with what gcc wrote
 */
export function compileGcc(files: Readonly<Record<string, string>>, args: readonly string[] = []): Uint8Array {
  return inDirectory(files, (directory) => {
    run("gcc", ["-gbtf", "-O0", ...args, "-c", "main.c", "-o", "main.o"], directory);
    return new Uint8Array(readFileSync(join(directory, "main.o")));
  });
}

/**
 * Writes files to a directory of their own, which is removed afterwards.
 *
 * @param files contents by name
 * @param work what to do there
 */
export function inDirectory<T>(files: Readonly<Record<string, string>>, work: (directory: string) => T): T {
  const directory = mkdtempSync(join(tmpdir(), "rawbpf-test-"));
  try {
    for (const [name, text] of Object.entries(files)) writeFileSync(join(directory, name), text);
    return work(directory);
  } finally {
    rmSync(directory, { recursive: true });
  }
}

/**
 * Runs a program.
 *
 * @returns what it wrote to stdout
 * @throws Error with what it wrote when it fails
 */
export function run(program: string, args: readonly string[], directory?: string): string {
  const result = spawnSync(program, args, {
    encoding: "utf8",
    maxBuffer: 1 << 30,
    ...(directory === undefined ? {} : { cwd: directory }),
  });
  if (result.error !== undefined) throw result.error;
  if (result.status !== 0) {
    throw new Error(`${program} failed with ${result.status}:\n${(result.stderr + result.stdout).slice(0, 4000)}`);
  }
  return result.stdout;
}
