// Browser-safe.

import { type Instruction, printInstruction } from "../asm/index.ts";
import type { Input } from "./context/build.ts";
import type { Cpu } from "./cpu.ts";
import { MachineFault } from "./errors.ts";
import { execute } from "./interpreter.ts";
import { WORDS } from "./prepare.ts";
import type { Redirect, Run } from "./run-state.ts";

/** What came of a run: the shape of a kernel's `BPF_PROG_TEST_RUN`, and more. */
export interface MachineRunResult {
  /** Return value, unsigned 32 bits. */
  readonly returnValue: number;
  /** r0, 64 bits without sign. */
  readonly r0: bigint;
  /** Instructions of one run, the mean: the machine's own measure of time. */
  readonly duration: number;
  /** The packet afterwards; empty when there was none. */
  readonly data: Uint8Array;
  /** The context afterwards, without addresses; empty when none was given. */
  readonly context: Uint8Array;
  /** What `redirect` and its kin were called with. */
  readonly redirects: readonly Redirect[];
}

/** One instruction that was executed. */
export interface TraceEntry {
  /** Name of the program; empty when it has none. */
  readonly program: string;
  /** Index of the instruction, counted from 0. */
  readonly index: number;
  /** The instruction. */
  readonly instruction: Instruction;
  /** Number of functions that wait for this one. */
  readonly depth: number;
  /** Registers that it has changed, by name, with their new values: 64 bits without sign. */
  readonly changed: Readonly<Record<string, bigint>>;
}

/** Why an execution stands still. */
export type Stop =
  /** The program has ended. */
  | "exit"
  /** An instruction with a breakpoint is next. */
  | "breakpoint"
  /** A watched byte has changed. */
  | "watch"
  /** As many instructions as were asked for. */
  | "step";

interface Watch {
  readonly address: number;
  readonly size: number;
  before: Uint8Array;
}

/** Registers that exist: r0 to r10. */
const REGISTERS = 11;

/**
 * A program in the middle of its run: step by step, forwards and backwards.
 *
 * Stepping back runs the program again from its beginning, on a machine that is put back to how it was: with helpers of
 * one's own that give something else each time, it comes to another place.
 *
 * @example
 * ```ts
 * const program = createMachine().load({ type: "kprobe", instructions: [mov(r0, 1), add(r0, 2), exit()] });
 * using execution = program.start();
 * execution.step();
 * execution.registers.r0; // 1n
 * execution.step();
 * execution.registers.r0; // 3n
 * execution.back();
 * execution.registers.r0; // 1n
 * ```
 */
export class Execution {
  /** Indexes of instructions that {@link run} stops before. */
  readonly breakpoints: Set<number> = new Set();
  /** Called after each instruction; set it to look on. */
  onTrace: ((entry: TraceEntry) => void) | undefined;
  readonly #cpu: Cpu;
  readonly #run: Run;
  readonly #input: Input;
  readonly #budget: number;
  readonly #restart: () => void;
  readonly #end: () => void;
  #watches: Watch[] = [];
  #executed = 0;
  #closed = false;

  /** @internal use `start` of a program */
  constructor(parts: {
    readonly cpu: Cpu;
    readonly run: Run;
    readonly input: Input;
    readonly budget: number;
    readonly restart: () => void;
    readonly end: () => void;
  }) {
    this.#cpu = parts.cpu;
    this.#run = parts.run;
    this.#input = parts.input;
    this.#budget = parts.budget;
    this.#restart = parts.restart;
    this.#end = parts.end;
  }

  /** Whether the program has ended. */
  get done(): boolean {
    return this.#cpu.done;
  }

  /** Index of the next instruction. */
  get instruction(): number {
    return this.#cpu.instruction;
  }

  /** The next instruction as text; `undefined` when the program has ended. */
  get text(): string | undefined {
    const next = this.#cpu.done ? undefined : this.#cpu.instructions[this.#cpu.instruction];
    return next && printInstruction(next, { helpers: true });
  }

  /** Name of the program that runs: another one after a tail call. */
  get program(): string {
    return this.#cpu.name;
  }

  /** Number of functions that wait for the one that runs. */
  get depth(): number {
    return this.#cpu.depth;
  }

  /** Instructions executed so far. */
  get executed(): number {
    return this.#executed;
  }

  /** r0 to r10, 64 bits without sign. */
  get registers(): Readonly<Record<string, bigint>> {
    const found: Record<string, bigint> = {};
    for (let i = 0; i < REGISTERS; i++) found[`r${i}`] = this.#cpu.register(i);
    return found;
  }

  /**
   * Bytes of the machine's memory.
   *
   * @param address first one, as a register holds it
   * @param size how many
   * @returns a copy; `undefined` when the program could not read them all
   */
  read(address: number | bigint, size: number): Uint8Array | undefined {
    const at = Number(address);
    if (!this.#cpu.memory.allows(at, size, 1)) return undefined;
    return this.#cpu.memory.bytes.slice(at, at + size);
  }

  /**
   * Makes {@link run} stop when bytes change.
   *
   * @param address first byte
   * @param size how many. Default 8
   */
  watch(address: number | bigint, size = 8): void {
    const at = Number(address);
    this.#watches.push({ address: at, size, before: this.#cpu.memory.bytes.slice(at, at + size) });
  }

  /** Forgets what {@link watch} was told. */
  unwatch(): void {
    this.#watches = [];
  }

  /**
   * Executes instructions.
   *
   * @param count how many. Default 1
   * @returns `exit` when the program has ended
   * @throws MachineFault
   */
  step(count = 1): Stop {
    for (let i = 0; i < count && !this.#cpu.done; i++) this.#one();
    return this.#cpu.done ? "exit" : "step";
  }

  #one(): void {
    const cpu = this.#cpu;
    if (this.#closed) throw new MachineFault("ERR_CLOSED", "The execution is closed");
    if (this.#executed >= this.#budget) throw budgetFault(cpu, this.#budget);
    const trace = this.onTrace;
    if (trace === undefined) {
      this.#executed += execute(cpu, 1);
      return;
    }
    const { name, depth, instruction: index } = cpu;
    const instruction = cpu.instructions[index];
    const before = Array.from({ length: REGISTERS }, (_, i) => cpu.register(i));
    this.#executed += execute(cpu, 1);
    if (instruction === undefined) return;
    const changed: Record<string, bigint> = {};
    for (const [i, old] of before.entries()) {
      const value = cpu.register(i);
      if (value !== old) changed[`r${i}`] = value;
    }
    trace({ program: name, index, instruction, depth, changed });
  }

  /**
   * Goes on to the end, to the next breakpoint, or until a watched byte changes.
   *
   * @throws MachineFault
   */
  run(): Stop {
    const cpu = this.#cpu;
    if (this.breakpoints.size === 0 && this.#watches.length === 0 && this.onTrace === undefined && !this.#closed) {
      this.#executed += execute(cpu, this.#budget - this.#executed);
      if (!cpu.done) throw budgetFault(cpu, this.#budget);
      return "exit";
    }
    while (!cpu.done) {
      this.#one();
      if (cpu.done) break;
      if (this.#changed()) return "watch";
      if (this.breakpoints.has(cpu.pc / WORDS)) return "breakpoint";
    }
    return "exit";
  }

  #changed(): boolean {
    let changed = false;
    for (const watch of this.#watches) {
      const now = this.#cpu.memory.bytes.slice(watch.address, watch.address + watch.size);
      if (now.every((byte, i) => byte === watch.before[i])) continue;
      watch.before = now;
      changed = true;
    }
    return changed;
  }

  /**
   * Goes back.
   *
   * @param count instructions; not beyond the beginning. Default 1
   */
  back(count = 1): void {
    const target = Math.max(0, this.#executed - count);
    const { onTrace } = this;
    this.onTrace = undefined;
    this.#restart();
    this.#executed = target === 0 ? 0 : execute(this.#cpu, target);
    this.onTrace = onTrace;
    for (const watch of this.#watches) {
      watch.before = this.#cpu.memory.bytes.slice(watch.address, watch.address + watch.size);
    }
  }

  /** What came of it; of use when the program has ended. */
  result(): MachineRunResult {
    return resultOf(this.#cpu, this.#run, this.#input, this.#executed);
  }

  /** Gives back the memory of packet, context and stack. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#end();
  }

  /** The same as {@link close}. */
  [Symbol.dispose](): void {
    this.close();
  }
}

/** What a program that has ended leaves behind. */
export function resultOf(cpu: Cpu, run: Run, input: Input, executed: number): MachineRunResult {
  return {
    returnValue: cpu.low[0]! >>> 0,
    r0: cpu.register(0),
    duration: executed,
    data: input.data(),
    context: input.context(),
    redirects: run.redirects,
  };
}

/** The fault of a program that runs for too long. */
export function budgetFault(cpu: Cpu, budget: number): MachineFault {
  const hint = "limits.instructions of createMachine() sets the limit";
  return cpu.place(new MachineFault("ERR_VM_BUDGET", `the program has used up its ${budget} instructions`, { hint }));
}
