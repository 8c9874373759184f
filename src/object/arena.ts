import { type Instruction, LD_IMM64 } from "../asm/index.ts";
import type { ObjectMapSpec } from "../elf/index.ts";
import { BpfError } from "../errors.ts";
import { MapFlag } from "../maps/index.ts";
import type { SyscallBackend } from "../syscall/backend.ts";
import { call } from "../syscall/call.ts";
import { SyscallError } from "../syscall/errors.ts";
import { pageSize } from "../syscall/memory.ts";
import type { Closable } from "./cleanup.ts";
import type { ObjectMap } from "./types.ts";

const PROT_READ_WRITE = 3;
const MAP_SHARED = 1;
const MAP_FIXED = 0x10;

/** An arena in memory. */
export interface ArenaMemory extends Closable {
  /** Address of its first byte. */
  readonly address: number;
  /** Bytes of address space. */
  readonly length: number;
  /**
   * The object's variables in it, live.
   *
   * @throws BpfError `ERR_CLOSED`
   */
  readonly variables: () => Uint8Array;
}

/** Bytes of an arena. */
function sizeOfArena(map: ObjectMapSpec, page: number): number {
  return map.maxEntries * page;
}

/**
 * Where the object's variables lie in their arena: at the end, in whole pages. At the start, the address of the first
 * one would look like a null pointer.
 */
export function arenaDataOffset(map: ObjectMapSpec, page: number): number {
  if (map.contents.length === 0) return 0;
  return sizeOfArena(map, page) - Math.ceil(map.contents.length / page) * page;
}

/**
 * Maps an arena into memory, as programs need it before they are loaded, and puts the object's variables there.
 *
 * @returns closing it gives the address space back
 * @throws SyscallError; BpfError `ERR_NOT_SUPPORTED` for variables in an arena where touching a page that is not there
 *   ends the process
 */
export function mapArena(map: ObjectMapSpec, handle: ObjectMap, backend: SyscallBackend): ArenaMemory {
  if (map.contents.length > 0 && (map.flags & MapFlag.segv_on_fault) !== 0) {
    const message = `Cannot put variables into ${handle.owner.label}: with BPF_F_SEGV_ON_FAULT, writing them ends the process`;
    throw new BpfError("ERR_NOT_SUPPORTED", message);
  }
  const page = pageSize(backend.architecture);
  const length = sizeOfArena(map, page);
  // The whole of it is address space, a page of it only memory once it is touched; so no view of all of it is made.
  const flags = map.mapExtra === 0n ? MAP_SHARED : MAP_SHARED | MAP_FIXED;
  const wanted = Number(map.mapExtra);
  const address = call(backend, "mmap", [wanted, length, PROT_READ_WRITE, flags, handle.fd, 0], () => ({
    addr: wanted,
    length,
    prot: "PROT_READ|PROT_WRITE",
    flags: map.mapExtra === 0n ? "MAP_SHARED" : "MAP_SHARED|MAP_FIXED",
    fd: handle.fd,
    offset: 0,
  }));
  if (address < 0) throw new SyscallError(`Cannot map ${handle.owner.label}`, "mmap", address);
  const memory = arenaMemory(map, handle, backend, address);
  if (map.contents.length > 0) memory.variables().set(map.contents);
  return memory;
}

/** An arena that is mapped at an address already. */
export function arenaMemory(
  map: ObjectMapSpec,
  handle: ObjectMap,
  backend: SyscallBackend,
  address: number,
): ArenaMemory {
  const page = pageSize(backend.architecture);
  const length = sizeOfArena(map, page);
  const { label } = handle.owner;
  let mapped = true;
  let view: Uint8Array | undefined;
  return {
    address,
    length,
    variables() {
      // Unmapped memory must not be touched: it ends the process.
      if (!mapped) throw new BpfError("ERR_CLOSED", `Cannot use the memory of ${label}: it is closed`);
      const size = map.contents.length;
      view ??= new Uint8Array(backend.viewMemory(address + arenaDataOffset(map, page), size), 0, size);
      return view;
    },
    close() {
      if (mapped) call(backend, "munmap", [address, length], () => ({ addr: address, length }));
      mapped = false;
      view = undefined;
    },
  };
}

/** Adds the place of the variables to the addresses that instructions load. */
export function placeArenaData(instructions: readonly Instruction[], offset: number): readonly Instruction[] {
  if (offset === 0) return instructions;
  return instructions.map((insn) => {
    if (insn.opcode !== LD_IMM64 || insn.meta?.relocation?.kind !== "arena") return insn;
    return { ...insn, high: (insn.high + offset) | 0 };
  });
}
