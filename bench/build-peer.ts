import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, renameSync } from "node:fs";
import { basename, join } from "node:path";
import { repository, toolPath, toolsDirectory } from "../test/support/harness.ts";

/** A program of this project's own that does the same with someone else's library. */
export interface BuiltPeer {
  /** Path of the executable. */
  readonly path: string;
  /** What it stands for in a table: `libbpf 1.7.0`. */
  readonly name: string;
}

/** Version of a package in a tree of `scripts/debian-tools.sh`, without epoch and revision. */
function packageVersion(tree: string, name: string): string {
  const list = join(toolsDirectory(), "trees", tree, "packages");
  const text = existsSync(list) ? readFileSync(list, "utf8") : "";
  return new RegExp(`^${name} (?:\\d+:)?([\\d.]+)`, "m").exec(text)?.[1] ?? "";
}

/** Builds a source file once for each content and compiler. */
function build(source: string, compiler: string, args: (output: string) => readonly string[]): string {
  const path = join(repository, source);
  const key = createHash("sha256")
    .update(readFileSync(path))
    .update(compiler)
    .update(args("").join("\0"))
    .digest("hex");
  const folder = join(repository, ".cache/peers");
  const output = join(folder, `${basename(source).replace(/\.\w+$/, "")}-${key.slice(0, 16)}`);
  if (existsSync(output)) return output;
  mkdirSync(folder, { recursive: true });
  const made = `${output}.${process.pid}`;
  const result = spawnSync(compiler, args(made), { cwd: repository, encoding: "utf8" });
  if (result.status !== 0)
    throw new Error(`Cannot build ${source} with ${compiler}: ${result.error?.message ?? result.stderr}`);
  renameSync(made, output);
  return output;
}

/**
 * Builds a C program that makes its system calls by itself.
 *
 * @param source path of the `.c` file below the repository
 * @returns its path, or `undefined` where there is no C compiler
 * @throws Error when the program does not compile
 */
export function buildPlainPeer(source: string): string | undefined {
  const compiler = toolPath("cc");
  if (compiler === undefined) return undefined;
  return build(source, compiler, (output) => ["-O2", "-o", output, join(repository, source)]);
}

/**
 * Builds a C program against libbpf, linked statically: the newest that `scripts/debian-tools.sh libbpf` fetched.
 *
 * @param source path of the `.c` file below the repository
 * @returns `undefined` where libbpf or a C compiler is not there
 * @throws Error when the program does not compile
 */
export function buildLibbpfPeer(source: string): BuiltPeer | undefined {
  const compiler = toolPath("libbpf-cc");
  if (compiler === undefined) return undefined;
  const libraries = ["-l:libbpf.a", "-lelf", "-lz", "-lzstd"];
  const path = build(source, compiler, (output) => [
    "-O2",
    "-Wall",
    "-o",
    output,
    join(repository, source),
    ...libraries,
  ]);
  return { path, name: `libbpf ${packageVersion("libbpf", "libbpf-dev")}`.trim() };
}

/**
 * Builds a Go program against github.com/cilium/ebpf, as `scripts/debian-tools.sh go` fetched them.
 *
 * @param source path of the `.go` file below the repository, one file, package main
 * @returns `undefined` where Go is not there
 * @throws Error when the program does not compile
 */
export function buildCiliumPeer(source: string): BuiltPeer | undefined {
  const go = join(toolsDirectory(), "bin/go");
  // Only that Go knows where the library is.
  if (!existsSync(go)) return undefined;
  const path = build(source, go, (output) => ["build", "-o", output, join(repository, source)]);
  return { path, name: `cilium/ebpf ${packageVersion("go", "golang-github-cilium-ebpf-dev")}`.trim() };
}
