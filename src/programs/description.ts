import { decodeCString, toHex } from "../bytes/index.ts";
import { decodeStruct, encodeStruct, nameOfValue, ProgType, progInfo } from "../kernel-abi/index.ts";
import { readFdinfo } from "../maps/description.ts";
import { kernelBuffer } from "../syscall/call.ts";
import { bootTime } from "../syscall/clock.ts";
import { objInfoInto } from "../syscall/commands.ts";
import type { Fd } from "../syscall/fd.ts";

/** What the kernel says of a program. Fields that an older kernel does not know are 0, empty or `undefined`. */
export interface ProgramDescription {
  /** Number of the program, unique while it exists. */
  readonly id: number;
  /** Program type; a number for one that has no name here. */
  readonly type: ProgType | number;
  /** Name in the kernel, at most 15 characters. */
  readonly name: string;
  /** Hash of its instructions as 16 hexadecimal digits: what `programTag` calculates. */
  readonly tag: string;
  /** Hash of each of its functions, in their order. */
  readonly functionTags: readonly string[];
  /** Whether its licence is compatible with the GPL. */
  readonly gplCompatible: boolean;
  /** User that loaded it. */
  readonly uid: number;
  /** When it was loaded, in nanoseconds since boot. */
  readonly loadTime: bigint;
  /** The same as a date, exact to some milliseconds; `undefined` where the clock cannot be read. */
  readonly loadedAt: Date | undefined;
  /** Numbers of the maps that it uses. */
  readonly mapIds: readonly number[];
  /** Number of the BTF that describes its functions and lines; 0 for none. */
  readonly btfId: number;
  /** Bytes of its instructions as the kernel has translated them; 0 when it does not show them. */
  readonly translatedSize: number;
  /** Bytes of its machine code; 0 when it is interpreted, or the kernel does not show it. */
  readonly machineSize: number;
  /** Instructions that the verifier went through, with repetitions (Linux 5.16). */
  readonly verifiedInstructions: number;
  /** Memory that it takes, bytes; `undefined` where `/proc` does not tell. */
  readonly memory: number | undefined;
  /** Number of the BTF that its target is in; 0 for none (Linux 6.0). */
  readonly attachBtfObjectId: number;
  /** Number of its target's type there. */
  readonly attachBtfId: number;
  /** Interface that it was loaded for; 0 for none. */
  readonly ifindex: number;
  /** Device and inode of the network namespace of that interface. */
  readonly netns: { readonly device: bigint; readonly inode: bigint } | undefined;
  /** Run times, as {@link ProgramStatistics} tells. */
  readonly statistics: ProgramStatistics;
}

/** How often and how long a program ran. Counted only while statistics are on: `enableStatistics`. */
export interface ProgramStatistics {
  /** Nanoseconds of all runs. */
  readonly runTime: bigint;
  /** Runs. */
  readonly runCount: bigint;
  /** Runs that were left out, because the program was running on that CPU already (Linux 5.12). Always counted. */
  readonly missed: bigint;
}

/** @internal Fields of `bpf_prog_info`. */
export type InfoFields = {
  readonly [name in keyof (typeof progInfo)["fields"]]?: number | bigint | string | Uint8Array;
};

/** @internal Asks for fields of `bpf_prog_info`, with rooms for lists and their counts. */
export function queryProgram(owner: Fd, wanted: { readonly [name: string]: Uint8Array | number } = {}): InfoFields {
  const plain: Record<string, number> = {};
  for (const [name, value] of Object.entries(wanted)) {
    plain[name] = typeof value === "number" ? value : owner.backend.addressOf(value);
  }
  const bytes = objInfoInto(owner, encodeStruct(progInfo, plain), Object.values(wanted));
  return decodeStruct(progInfo, bytes) as InfoFields;
}

/** @internal A number of `bpf_prog_info`. */
export function numberOf(fields: InfoFields, name: keyof InfoFields): number {
  return Number(fields[name] ?? 0);
}

const TAG_BYTES = 8;

/**
 * Asks the kernel what a program is.
 *
 * @param owner descriptor of a program
 * @throws SyscallError
 */
export function readProgramInfo(owner: Fd): ProgramDescription {
  const first = queryProgram(owner);
  const maps = numberOf(first, "nr_map_ids");
  const tags = numberOf(first, "nr_prog_tags");
  const mapRoom = maps === 0 ? undefined : kernelBuffer(maps * 4);
  const tagRoom = tags === 0 ? undefined : kernelBuffer(tags * TAG_BYTES);
  const second = queryProgram(owner, {
    ...(mapRoom === undefined ? {} : { nr_map_ids: maps, map_ids: mapRoom }),
    ...(tagRoom === undefined ? {} : { nr_prog_tags: tags, prog_tags: tagRoom }),
  });
  const u64 = (name: keyof InfoFields): bigint => BigInt((second[name] as number | bigint | undefined) ?? 0);
  const number = numberOf(second, "type");
  const loadTime = u64("load_time");
  const inode = u64("netns_ino");
  const text = readFdinfo(owner.backend, owner.number)?.get("memlock");
  const mapView = mapRoom === undefined ? undefined : new DataView(mapRoom.buffer);
  return {
    id: numberOf(second, "id"),
    type: nameOfValue(ProgType, number) ?? number,
    name:
      typeof second.name === "string" ? second.name : decodeCString((second.name as Uint8Array) ?? new Uint8Array(0)),
    tag: second.tag === undefined ? "" : toHex(second.tag as Uint8Array),
    functionTags: Array.from(
      { length: tagRoom === undefined ? 0 : Math.min(tags, numberOf(second, "nr_prog_tags")) },
      (_, i) => toHex(tagRoom!.subarray(i * TAG_BYTES, (i + 1) * TAG_BYTES)),
    ),
    gplCompatible: numberOf(second, "gpl_compatible") !== 0,
    uid: numberOf(second, "created_by_uid"),
    loadTime,
    loadedAt: loadTime === 0n ? undefined : dateOf(owner, loadTime),
    mapIds: Array.from({ length: Math.min(maps, numberOf(second, "nr_map_ids")) }, (_, i) =>
      mapView!.getUint32(i * 4, true),
    ),
    btfId: numberOf(second, "btf_id"),
    translatedSize: numberOf(second, "xlated_prog_len"),
    machineSize: numberOf(second, "jited_prog_len"),
    verifiedInstructions: numberOf(second, "verified_insns"),
    memory: text === undefined ? undefined : Number(text),
    attachBtfObjectId: numberOf(second, "attach_btf_obj_id"),
    attachBtfId: numberOf(second, "attach_btf_id"),
    ifindex: numberOf(second, "ifindex"),
    netns: inode === 0n ? undefined : { device: u64("netns_dev"), inode },
    statistics: { runTime: u64("run_time_ns"), runCount: u64("run_cnt"), missed: u64("recursion_misses") },
  };
}

/**
 * Reads how often and how long a program ran.
 *
 * @param owner descriptor of a program
 * @throws SyscallError
 */
export function readStatistics(owner: Fd): ProgramStatistics {
  const fields = queryProgram(owner);
  const u64 = (name: keyof InfoFields): bigint => BigInt((fields[name] as number | bigint | undefined) ?? 0);
  return { runTime: u64("run_time_ns"), runCount: u64("run_cnt"), missed: u64("recursion_misses") };
}

function dateOf(owner: Fd, loadTime: bigint): Date | undefined {
  try {
    return new Date(Date.now() - Number((bootTime(owner.backend) - loadTime) / 1_000_000n));
  } catch {
    return undefined;
  }
}
