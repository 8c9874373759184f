import { BpfError } from "../errors.ts";
import { bunAdapter } from "./adapters/bun.ts";
import { denoAdapter } from "./adapters/deno.ts";
import { ffiNapiAdapter } from "./adapters/ffi-napi.ts";
import { koffiAdapter } from "./adapters/koffi.ts";
import { nodeFfiAdapter } from "./adapters/node-ffi.ts";
import type { BackendAdapter, BackendName, SyscallBackend } from "./backend.ts";

/** Every adapter, in the order in which they are tried. The last one is legacy and never chosen by itself. */
export const adapters: readonly BackendAdapter[] = [
  koffiAdapter,
  nodeFfiAdapter,
  bunAdapter,
  denoAdapter,
  ffiNapiAdapter,
];

const LEGACY: ReadonlySet<BackendName> = new Set(["ffi-napi"]);
const opened = new Map<BackendName, SyscallBackend>();

/**
 * Opens the shim to the kernel: the named adapter, the one that the environment variable `RAWBPF_FFI` names, or the
 * first that this runtime can use (Node 20 to 24: koffi; Node 26: node:ffi or koffi; Bun: bun:ffi; Deno: its own).
 * The same adapter is opened once per thread.
 *
 * @param name adapter to use; default chosen
 * @throws BpfError `ERR_NO_FFI` when none can be used: says why for each, and what to install
 */
export function openBackend(name?: BackendName): SyscallBackend {
  const wanted = name ?? wantedByEnvironment();
  if (wanted !== undefined) return openAdapter(wanted);
  const reasons: string[] = [];
  for (const adapter of adapters) {
    if (LEGACY.has(adapter.name)) continue;
    const reason = adapter.unavailable();
    if (reason === undefined) return openAdapter(adapter.name);
    reasons.push(`${adapter.name} ${reason}`);
  }
  throw new BpfError("ERR_NO_FFI", `Cannot issue system calls: no FFI adapter can be used (${reasons.join("; ")})`, {
    hint: remedy(reasons),
  });
}

function remedy(reasons: readonly string[]): string {
  const blocked = reasons.find((reason) => reason.includes("needs Linux") || reason.includes("needs x86-64"));
  if (blocked !== undefined)
    return "the core (assembler, BTF, ELF, machine) works everywhere; the kernel side does not";
  return "on Node install koffi (npm install koffi); on Deno allow FFI (--allow-ffi); Bun needs nothing";
}

function openAdapter(name: BackendName): SyscallBackend {
  const known = opened.get(name);
  if (known !== undefined) return known;
  const adapter = adapters.find((candidate) => candidate.name === name);
  if (adapter === undefined) {
    throw new BpfError("ERR_NO_FFI", `There is no FFI adapter "${name}"`, {
      hint: `the adapters are ${adapters.map((candidate) => candidate.name).join(", ")}`,
    });
  }
  const reason = adapter.unavailable();
  if (reason !== undefined) throw new BpfError("ERR_NO_FFI", `Cannot use the FFI adapter ${name}: it ${reason}`);
  try {
    const backend = adapter.open();
    opened.set(name, backend);
    return backend;
  } catch (cause) {
    throw new BpfError("ERR_NO_FFI", `Cannot open the FFI adapter ${name}: ${(cause as Error).message}`, { cause });
  }
}

function wantedByEnvironment(): BackendName | undefined {
  try {
    const env = (globalThis as { process?: { env: Record<string, string | undefined> } }).process?.env;
    const value = env?.RAWBPF_FFI;
    return value === undefined || value === "" ? undefined : (value as BackendName);
  } catch {
    return undefined; // Deno without permission to read the environment
  }
}

/** Option of every function that reaches the kernel. */
export interface BackendOption {
  /** The shim to use; default {@link openBackend}. Tests pass a fake one. */
  readonly backend?: SyscallBackend | BackendName | undefined;
}

/**
 * The shim an option asks for.
 *
 * @throws BpfError `ERR_NO_FFI`
 */
export function backendOf(options: BackendOption | undefined): SyscallBackend {
  const backend = options?.backend;
  return typeof backend === "object" ? backend : openBackend(backend);
}
