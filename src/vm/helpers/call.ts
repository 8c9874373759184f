// Browser-safe.

import { decodeCString } from "../../bytes/index.ts";
import { toS64, toU64 } from "../arithmetic.ts";
import type { Continuation, Cpu } from "../cpu.ts";
import { MachineFault } from "../errors.ts";
import type { ProgramMap } from "../maps/program-map.ts";
import { type Memory, Permission } from "../memory.ts";
import type { Run } from "../run-state.ts";

/**
 * What a helper does. It takes its arguments from the call and returns what goes into r0: a number is extended with its
 * sign (`-2` for `-ENOENT`), nothing is 0.
 *
 * @throws MachineFault for arguments that the verifier would not let through
 */
export type Helper = (call: HelperCall) => number | bigint | undefined | void;

/** Helpers by number. */
export type HelperTable = ReadonlyMap<number, { readonly name: string; readonly call: Helper }>;

/**
 * The arguments of a helper's call, checked as they are taken: memory that is read or written through the permissions
 * of the machine.
 *
 * @example A helper of one's own
 * ```ts
 * import { createMachine } from "rawbpf/vm";
 *
 * const machine = createMachine({
 *   helpers: {
 *     ktime_get_ns: () => 5n,
 *     get_current_comm: (call) => {
 *       call.write(1, call.u32(2)).set([0x73, 0x68]);
 *       return 0;
 *     },
 *   },
 * });
 * const program = machine.load({ type: "kprobe", instructions: [call("ktime_get_ns"), exit()] });
 * program.run().returnValue; // 5
 * ```
 */
export class HelperCall {
  /** Name of the helper. */
  name = "";
  readonly #cpu: Cpu;

  /** @internal */
  constructor(cpu: Cpu) {
    this.#cpu = cpu;
  }

  /** @internal */
  begin(name: string): void {
    this.name = name;
  }

  /** The memory of the machine. */
  get memory(): Memory {
    return this.#cpu.memory;
  }

  /** What the program runs for. */
  get run(): Run {
    return this.#cpu.run;
  }

  /** @internal */
  get cpu(): Cpu {
    return this.#cpu;
  }

  /** Argument `n` (1 to 5), its low 32 bits without sign. */
  u32(n: number): number {
    return this.#cpu.low[n]! >>> 0;
  }

  /** Argument `n`, its low 32 bits with sign. */
  s32(n: number): number {
    return this.#cpu.low[n]!;
  }

  /** Argument `n`, 64 bits without sign. */
  u64(n: number): bigint {
    return toU64(this.#cpu.low[n]!, this.#cpu.high[n]!);
  }

  /** Argument `n`, 64 bits with sign. */
  s64(n: number): bigint {
    return toS64(this.#cpu.low[n]!, this.#cpu.high[n]!);
  }

  /** Whether all 64 bits of argument `n` are 0. */
  isNull(n: number): boolean {
    return (this.#cpu.low[n]! | this.#cpu.high[n]!) === 0;
  }

  /** Number of bytes in argument `n`. Sizes of 2 GiB or more are a fault: no verifier lets them through. */
  size(n: number): number {
    const low = this.#cpu.low[n]!;
    if (this.#cpu.high[n] === 0 && low >= 0) return low;
    throw this.fault(`r${n} is no size: ${this.s64(n)}`);
  }

  /**
   * Address in argument `n` of bytes that the helper reads.
   *
   * @param n argument
   * @param size bytes
   * @throws MachineFault when one of them may not be read
   */
  readable(n: number, size: number): number {
    const low = this.#cpu.low[n]!;
    const high = this.#cpu.high[n]!;
    if (high === 0 && low >= 0 && this.memory.allows(low, size, Permission.read)) return low;
    throw this.memory.fault(low, high, size, "read", this.name);
  }

  /**
   * Address in argument `n` of bytes that the helper fills: they count as written.
   *
   * @throws MachineFault when one of them may not be written
   */
  writable(n: number, size: number): number {
    const low = this.#cpu.low[n]!;
    const high = this.#cpu.high[n]!;
    if (high === 0 && low >= 0 && this.memory.written(low, size)) return low;
    throw this.memory.fault(low, high, size, "write", this.name);
  }

  /** The bytes that argument `n` points at, to be read: a view that is valid during the call. */
  read(n: number, size: number): Uint8Array {
    return this.memory.range(this.readable(n, size), size);
  }

  /** The bytes that argument `n` points at, to be filled: a view that is valid during the call. */
  write(n: number, size: number): Uint8Array {
    return this.memory.range(this.writable(n, size), size);
  }

  /** Text in argument `n` up to its NUL, at most `size` bytes; all of them must be readable up to there. */
  text(n: number, size = 4096): string {
    const start = this.readable(n, 1);
    let length = 1;
    while (length < size && this.memory.bytes[start + length - 1] !== 0) {
      if (!this.memory.allows(start + length, 1, Permission.read)) this.readable(n, length + 1);
      length++;
    }
    return decodeCString(this.memory.range(start, length));
  }

  /**
   * The map that argument `n` points to.
   *
   * @throws MachineFault when it is not a map
   */
  map(n: number): ProgramMap {
    const map = this.#cpu.high[n] === 0 ? this.run.mapAt(this.#cpu.low[n]!) : undefined;
    if (map === undefined) throw this.fault(`r${n} is no pointer to a map`);
    return map;
  }

  /** Faults unless argument `n` is the context of the program. */
  context(n: number): void {
    if (this.#cpu.high[n] !== 0 || this.#cpu.low[n] !== this.run.contextAddress) {
      throw this.fault(`r${n} is not the context`);
    }
  }

  /**
   * Calls a function of the program, again and again as long as `next` says so.
   *
   * @param n argument with the address of the function
   * @param args its arguments, r1 on
   * @param next sees what it returned; sets the arguments and says `true` to call again, or r0 of the helper
   */
  callBack(n: number, args: readonly number[], next: Continuation): void {
    const cpu = this.#cpu;
    const entry = cpu.instructionAt(cpu.low[n]!, cpu.high[n]!);
    cpu.enter(entry, next);
    this.arguments(args);
  }

  /** Sets r1 and the following registers for a function that is called back. */
  arguments(args: readonly number[]): void {
    for (const [i, value] of args.entries()) this.#cpu.setRegister(i + 1, value);
  }

  /** A fault of the helper's call. */
  fault(reason: string): MachineFault {
    return new MachineFault("ERR_VM_FAULT", `${this.name}: ${reason}`);
  }
}
