import type { Architecture } from "../backend.ts";

/** Where this process runs, as far as the adapters care; works on Node, Bun and Deno. */
function host(): { readonly platform: string; readonly arch: string } {
  const process = (globalThis as { process?: { platform: string; arch: string } }).process;
  if (process !== undefined) return { platform: process.platform, arch: process.arch };
  const deno = (globalThis as { Deno?: { build: { os: string; arch: string } } }).Deno;
  const arch = deno?.build.arch === "x86_64" ? "x64" : deno?.build.arch === "aarch64" ? "arm64" : "unknown";
  return { platform: deno?.build.os ?? "unknown", arch };
}

/**
 * Why no adapter can work on this machine: another operating system, or an architecture whose system call numbers
 * this library does not know.
 *
 * @returns `undefined` where they can
 */
export function missingArchitecture(): string | undefined {
  const { platform, arch } = host();
  if (platform !== "linux") return `needs Linux, this is ${platform}`;
  if (arch !== "x64" && arch !== "arm64") return `needs x86-64 or arm64, this is ${arch}`;
  return undefined;
}

/**
 * Architecture of the process.
 *
 * @throws Error when {@link missingArchitecture} says why not
 */
export function currentArchitecture(): Architecture {
  const wrong = missingArchitecture();
  if (wrong !== undefined) throw new Error(`Cannot issue system calls here: ${wrong}`);
  return host().arch as Architecture;
}
