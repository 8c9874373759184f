import { decodeUtf8, Reader } from "../bytes/index.ts";
import { ElfError } from "../errors.ts";
import type { Binary } from "./binary.ts";

/** A place of a USDT probe (`DTRACE_PROBE` of `sys/sdt.h`): one of several, where the compiler has copied the code. */
export interface UsdtProbe {
  /** Provider: `node`, `libc`. */
  readonly provider: string;
  /** Name: `http__server__request`. */
  readonly name: string;
  /** Place of the instruction in the file, bytes: what a uprobe takes. */
  readonly offset: number;
  /** Its address, as the file counts. */
  readonly address: bigint;
  /** Place in the file of the counter that switches the probe on; 0 for probes that are always on. */
  readonly semaphoreOffset: number;
  /** Where the arguments are, as the assembler writes it: `-4@%edi 8@-16(%rbp)`. */
  readonly arguments: string;
}

const NT_STAPSDT = 3;
const OWNER = "stapsdt";

/**
 * Lists the USDT probes of a program or library.
 *
 * @param binary opened
 * @returns in the order of the notes
 * @throws ElfError for malformed notes, and those that point outside of the file
 * @example
 * ```ts
 * import { findBinary, openBinary, usdtProbes } from "rawbpf/symbols";
 *
 * for (const probe of usdtProbes(openBinary(findBinary("c")))) {
 *   console.log(`${probe.provider}:${probe.name}`, probe.arguments);
 * }
 * ```
 */
export function usdtProbes(binary: Binary): UsdtProbe[] {
  const section = ".note.stapsdt";
  if (binary.section(section) === undefined) return [];
  // Prelinking moves sections after the notes were written: the difference shows in where this section is now.
  const base = binary.section(".stapsdt.base")?.header.address;
  const probes: UsdtProbe[] = [];
  for (const note of binary.notes(section)) {
    if (note.name !== OWNER || note.type !== NT_STAPSDT) continue;
    const fail = (why: string): never => {
      throw new ElfError("ERR_ELF_INVALID", `A USDT probe of ${binary.path} ${why}`, {
        path: section,
        offset: note.offset,
      });
    };
    if (note.content.length < 27) fail("is cut off");
    const reader = new Reader(note.content, { littleEndian: binary.header.littleEndian });
    let address = reader.u64();
    const noted = reader.u64();
    let semaphore = reader.u64();
    const moved = base === undefined || noted === 0n ? 0n : base - noted;
    const [provider, name, where] = texts(note.content.subarray(24));
    if (provider === undefined || name === undefined || where === undefined || provider === "" || name === "") {
      return fail("has no names");
    }
    address = BigInt.asUintN(64, address + moved);
    const offset = binary.fileOffset(address) ?? fail(`is at 0x${address.toString(16)}, outside of the file`);
    let semaphoreOffset = 0;
    if (semaphore !== 0n) {
      semaphore = BigInt.asUintN(64, semaphore + moved);
      semaphoreOffset =
        binary.fileOffset(semaphore) ?? fail(`has its counter at 0x${semaphore.toString(16)}, outside of the file`);
    }
    probes.push({ provider, name, offset, address, semaphoreOffset, arguments: where });
  }
  return probes;
}

/** Texts that end with a zero. */
function texts(bytes: Uint8Array): string[] {
  const found: string[] = [];
  for (let at = 0; at < bytes.length; ) {
    const end = bytes.indexOf(0, at);
    if (end < 0) break;
    found.push(decodeUtf8(bytes.subarray(at, end)));
    at = end + 1;
  }
  return found;
}
