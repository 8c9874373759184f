import { readFileSync } from "node:fs";
import { BpfError } from "../errors.ts";
import type { Architecture, SyscallBackend } from "./backend.ts";
import { call } from "./call.ts";
import { SyscallError } from "./errors.ts";

const PROT_READ = 1;
const PROT_WRITE = 2;
const MAP_SHARED = 0x01;
const MAP_PRIVATE = 0x02;
const MAP_FIXED = 0x10;
const MAP_ANONYMOUS = 0x20;
const MAP_NORESERVE = 0x4000;

let knownPageSize = 0;

/**
 * Bytes in a page: 4096 on x86-64; arm64 kernels may be built for 16 or 64 KiB, so there the auxiliary vector of the
 * process is asked (entry 6, `AT_PAGESZ`).
 */
export function pageSize(architecture: Architecture): number {
  if (architecture === "x64") return 4096;
  if (knownPageSize === 0) {
    const vector = readFileSync("/proc/self/auxv");
    const view = new DataView(vector.buffer, vector.byteOffset, vector.byteLength);
    knownPageSize = 4096;
    for (let at = 0; at + 16 <= vector.byteLength; at += 16) {
      if (view.getBigUint64(at, true) === 6n) knownPageSize = Number(view.getBigUint64(at + 8, true));
    }
  }
  return knownPageSize;
}

/** How to map. */
export interface MapMemoryOptions {
  /** Descriptor to map. */
  readonly fd: number;
  /** Bytes. */
  readonly length: number;
  /** First byte in the file, a multiple of the page size. Default 0. */
  readonly offset?: number;
  /** `read` or `read-write`. */
  readonly access: "read" | "read-write";
  /**
   * Where in memory it shall be, a multiple of the page size. Default: anywhere. It is a wish, which the kernel passes
   * over when something is there, save for objects that know only one place.
   */
  readonly address?: number;
  /** Puts it at `address` in any case, in place of what is there: only for memory that is the caller's own. */
  readonly replace?: boolean;
  /** What it is, for messages. */
  readonly label?: string;
}

/**
 * A shared mapping, seen live: what the kernel writes can be read at once and the other way round.
 *
 * `close()` does not unmap: JavaScript may still hold views on the memory, and reading unmapped memory ends the
 * process. It puts empty anonymous memory in its place, which costs address space and nothing else (neighbouring
 * ranges merge into one); stale views read zeros. Writing to a read-only mapping ends the process as well: keep its
 * views to yourself.
 */
export class MappedMemory {
  /** Address of the first byte. */
  readonly address: number;
  /** Bytes. */
  readonly length: number;
  readonly #backend: SyscallBackend;
  readonly #label: string;
  #buffer: ArrayBuffer | undefined;

  /** @internal use {@link mapMemory} */
  constructor(backend: SyscallBackend, address: number, length: number, label: string) {
    this.#backend = backend;
    this.address = address;
    this.length = length;
    this.#label = label;
    this.#buffer = backend.viewMemory(address, length);
  }

  /**
   * The memory. Live.
   *
   * @throws BpfError `ERR_CLOSED` after `close()`
   */
  get buffer(): ArrayBuffer {
    if (this.#buffer === undefined) throw new BpfError("ERR_CLOSED", `Cannot use ${this.#label}: it is closed`);
    return this.#buffer;
  }

  /** Whether `close()` was called. */
  get closed(): boolean {
    return this.#buffer === undefined;
  }

  /**
   * Gives the mapped object back; views on it read zeros from now on. Idempotent.
   *
   * @throws SyscallError when the range cannot be replaced (out of memory); it stays mapped then
   */
  close(): void {
    if (this.#buffer === undefined) return;
    const { address, length } = this;
    const flags = MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS | MAP_NORESERVE;
    const protection = PROT_READ | PROT_WRITE;
    const result = call(this.#backend, "mmap", [address, length, protection, flags, -1, 0], () => ({
      addr: address,
      length,
      prot: "PROT_READ|PROT_WRITE",
      flags: "MAP_PRIVATE|MAP_FIXED|MAP_ANONYMOUS|MAP_NORESERVE",
      fd: -1,
    }));
    if (result < 0) throw new SyscallError(`Cannot give back ${this.#label}`, "mmap", result);
    this.#buffer = undefined;
  }

  /** Gives the mapped object back. */
  [Symbol.dispose](): void {
    this.close();
  }
}

/**
 * Maps a descriptor into memory, shared.
 *
 * @param backend shim
 * @param options what to map
 * @throws SyscallError with mmap's errno
 */
export function mapMemory(backend: SyscallBackend, options: MapMemoryOptions): MappedMemory {
  const { fd, length, offset = 0, access, address: wanted = 0 } = options;
  const label = options.label ?? "mapping";
  const protection = access === "read" ? PROT_READ : PROT_READ | PROT_WRITE;
  const flags = options.replace === true ? MAP_SHARED | MAP_FIXED : MAP_SHARED;
  const address = call(backend, "mmap", [wanted, length, protection, flags, fd, offset], () => ({
    ...(wanted === 0 ? {} : { addr: wanted }),
    length,
    prot: access === "read" ? "PROT_READ" : "PROT_READ|PROT_WRITE",
    flags: options.replace === true ? "MAP_SHARED|MAP_FIXED" : "MAP_SHARED",
    fd,
    offset,
  }));
  if (address < 0) throw new SyscallError(`Cannot map ${label}`, "mmap", address);
  return new MappedMemory(backend, address, length, label);
}
