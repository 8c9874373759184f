// Browser-safe.

import type { MapType } from "../../kernel-abi/index.ts";
import { type Memory, Permission } from "../memory.ts";
import { EINVAL, EOPNOTSUPP } from "./errno.ts";

const BPF_F_RDONLY_PROG = 0x80;
const BPF_F_WRONLY_PROG = 0x100;

/** What a map of the machine is. */
export interface MachineMapDescription {
  readonly type: MapType;
  readonly name: string;
  /** Bytes of a key. */
  readonly keySize: number;
  /** Bytes of a value, of one processor in per-CPU maps. */
  readonly valueSize: number;
  readonly maxEntries: number;
  /** `BPF_F_*` bits. */
  readonly flags: number;
  /** Depends on the type. */
  readonly mapExtra: bigint;
}

/** What a map needs to be made. */
export interface MapMaking {
  readonly memory: Memory;
  /** Number in the machine. */
  readonly fd: number;
  readonly description: MachineMapDescription;
  /** Number of processors. */
  readonly cpus: number;
}

/**
 * A map as programs and the handle of a test see it: keys and values are addresses in the memory. Results are
 * addresses, 0, or negative error numbers. Every operation is there for every type; those that a type does not have
 * answer as the kernel does.
 */
export abstract class ProgramMap {
  readonly memory: Memory;
  readonly fd: number;
  readonly description: MachineMapDescription;
  readonly name: string;
  readonly type: MapType;
  readonly keySize: number;
  readonly valueSize: number;
  readonly maxEntries: number;
  /** Processors that have a value of their own: 1 where all share one. */
  readonly copies: number;
  /** Distance of the values of two processors. */
  readonly stride: number;
  /** What programs may do with the bytes of values. */
  readonly access: number;

  constructor(making: MapMaking, perCpu: boolean) {
    const { description } = making;
    this.memory = making.memory;
    this.fd = making.fd;
    this.description = description;
    this.name = description.name;
    this.type = description.type;
    this.keySize = description.keySize;
    this.valueSize = description.valueSize;
    this.maxEntries = description.maxEntries;
    this.copies = perCpu ? making.cpus : 1;
    this.stride = Math.ceil(description.valueSize / 8) * 8;
    this.access =
      ((description.flags & BPF_F_WRONLY_PROG) === 0 ? Permission.read : 0) |
      ((description.flags & BPF_F_RDONLY_PROG) === 0 ? Permission.write : 0);
  }

  /** Name for messages of faults. */
  get label(): string {
    return this.name === "" ? `a map of type ${this.type}` : `map "${this.name}"`;
  }

  /** Bytes of the values of all processors, as the kernel hands them out: of one alone in other maps. */
  get storedSize(): number {
    return this.copies === 1 && !this.type.includes("percpu") ? this.valueSize : this.stride * this.copies;
  }

  /** Address of the value of a processor; 0 when there is none. */
  abstract lookup(key: number, cpu: number): number;
  /** Writes the value of a processor; flags as of `BPF_MAP_UPDATE_ELEM`. */
  abstract update(key: number, value: number, flags: number, cpu: number): number;
  /** Deletes an entry. */
  abstract remove(key: number): number;
  /** Address of the values of all processors; 0 when there are none. Does not count as use. */
  abstract find(key: number): number;
  /** Writes the values of all processors. */
  abstract store(key: number, value: number, flags: number): number;
  /** Addresses of keys at this moment. */
  abstract keys(): readonly number[];
  /** Keeps the state, and gives a function that brings it back. Bytes in the memory are not its business. */
  abstract save(): () => void;

  /** `map_push_elem` */
  push(_value: number, _flags: number): number {
    return -EOPNOTSUPP;
  }

  /** `map_pop_elem`: copies the value and takes it out. */
  pop(_value: number): number {
    return -EOPNOTSUPP;
  }

  /** `map_peek_elem`: copies the value. */
  peek(_value: number): number {
    return -EOPNOTSUPP;
  }

  /** Whether `for_each_map_elem` goes through it. */
  get walkable(): boolean {
    return false;
  }

  /** Address of its first value, where programs may have it without a lookup. */
  get direct(): number | undefined {
    return undefined;
  }

  /** Copies a value inside of the memory; `to` was made by the machine, or checked. */
  protected copy(to: number, from: number, size: number): void {
    this.memory.bytes.copyWithin(to, from, from + size);
  }
}

/** What is wrong with the flags of an update, as errno; 0 when nothing is. */
export function flagsFault(flags: number): number {
  return (flags & ~4) > 2 || flags < 0 ? -EINVAL : 0;
}

/** The flags without the lock, which is always free: the machine runs one program at a time. */
export function withoutLock(flags: number): number {
  return flags & ~4;
}
