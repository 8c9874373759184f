import { type Instruction, LD_IMM64 } from "../asm/index.ts";
import type { ObjectMapSpec } from "../elf/index.ts";
import type { SyscallBackend } from "../syscall/backend.ts";
import { call } from "../syscall/call.ts";
import { SyscallError } from "../syscall/errors.ts";
import { pageSize } from "../syscall/memory.ts";
import type { Closable } from "./cleanup.ts";
import type { ObjectMap } from "./maps.ts";

const PROT_READ_WRITE = 3;
const MAP_SHARED = 1;
const MAP_FIXED = 0x10;

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
 * @throws SyscallError
 */
export function mapArena(map: ObjectMapSpec, handle: ObjectMap, backend: SyscallBackend): Closable {
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
  if (map.contents.length > 0) {
    const start = address + arenaDataOffset(map, page);
    new Uint8Array(backend.viewMemory(start, map.contents.length)).set(map.contents);
  }
  let mapped = true;
  return {
    close() {
      if (mapped) call(backend, "munmap", [address, length], () => ({ addr: address, length }));
      mapped = false;
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
