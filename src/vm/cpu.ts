// Browser-safe.

import { type Instruction, printInstruction, STACK_LIMIT } from "../asm/index.ts";
import { putBigInt, toU64 } from "./arithmetic.ts";
import { MachineFault } from "./errors.ts";
import { HelperCall, type HelperTable } from "./helpers/call.ts";
import { CODE_ADDRESSES, type Memory, Permission, POISON, READ_WRITE, type Region } from "./memory.ts";
import { type Code, WORDS } from "./prepare.ts";
import type { Run } from "./run-state.ts";

/** Functions that may be active at once, as in kernels before 7.0. */
export const MOST_FRAMES = 8;
/** Between the stacks of two functions. */
const STACK_RED_ZONE = 64;
const FRAME_STRIDE: number = STACK_LIMIT + STACK_RED_ZONE;
const FRAME_POINTER = 10;
const SAVED = [6, 7, 8, 9] as const;
/** Iterations that `may_goto` allows a program, as kernels without its timer do. */
const MOST_ITERATIONS = 8 * 1024 * 1024;
/** Tail calls that may follow one another. */
const MOST_TAIL_CALLS = 33;

/**
 * Goes on after a function that a helper has called.
 *
 * @param result low half of what it returned
 * @returns `true` to call it again, with the arguments that were put into r1 to r5; `false` to go on behind the helper's
 *   call, with r0 set
 */
export type Continuation = (result: number) => boolean;

interface Frame {
  code: Code;
  /** Where to go on in {@link code}. */
  pc: number;
  readonly saved: Int32Array;
  continuation: Continuation | undefined;
  /** First word of the function that is called. */
  entry: number;
}

/** A program that runs: registers, place, stack. */
export class Cpu {
  readonly memory: Memory;
  /** What it runs for: packet, context, and what helpers note. */
  readonly run: Run;
  /** Code, as the interpreter reads it. */
  words!: Int32Array;
  /** Low halves of registers, and behind them of constants. */
  low!: Int32Array;
  /** High halves. */
  high!: Int32Array;
  /** Place in {@link words}. */
  pc = 0;
  /** Whether the program has ended, with its result in r0. */
  done = false;
  /** What `may_goto` still allows. */
  iterationsLeft: number = MOST_ITERATIONS;
  /** Number of functions that wait for another to return. */
  depth = 0;
  /** Name of the program that runs, for messages. */
  name = "";
  #code!: Code;
  readonly #stack: Region;
  readonly #freshStack: number;
  readonly #frames: Frame[] = [];
  readonly #registers = new Map<Code, readonly [Int32Array, Int32Array]>();
  readonly #helpers: HelperTable;
  readonly #kfuncs: HelperTable;
  readonly #call: HelperCall;
  #tailCalls = 0;

  /**
   * @param memory address space
   * @param run what it runs for
   * @param helpers by number
   * @param kfuncs by number
   * @param strictStack whether stack that was not written may not be read
   */
  constructor(memory: Memory, run: Run, helpers: HelperTable, kfuncs: HelperTable, strictStack: boolean) {
    this.memory = memory;
    this.run = run;
    this.#helpers = helpers;
    this.#kfuncs = kfuncs;
    this.#freshStack = strictStack ? Permission.write | Permission.uninitialized : READ_WRITE;
    this.#stack = memory.allocate({
      kind: "stack",
      name: "the stack",
      size: MOST_FRAMES * FRAME_STRIDE,
      permission: 0,
      stride: FRAME_STRIDE,
      length: STACK_LIMIT,
    });
    this.#call = new HelperCall(this);
  }

  /** The instructions of the program that runs. */
  get instructions(): readonly Instruction[] {
    return this.#code.instructions;
  }

  /** Index of the next instruction. */
  get instruction(): number {
    return this.pc / WORDS;
  }

  /** Gives the stack back. */
  release(): void {
    this.memory.release(this.#stack);
  }

  /**
   * Begins a program: registers hold nothing but the context in r1 and the frame pointer.
   *
   * @param code program
   * @param name for messages
   * @param context address of the context; 0 for none
   */
  start(code: Code, name: string, context: number): void {
    this.depth = 0;
    this.done = false;
    this.iterationsLeft = MOST_ITERATIONS;
    this.#tailCalls = 0;
    this.memory.protect(this.#stack.start, this.#stack.size, 0);
    this.#use(code, name);
    this.pc = 0;
    for (let i = 0; i < FRAME_POINTER; i++) this.#poison(i);
    this.low[1] = context;
    this.high[1] = 0;
    this.#openFrame();
  }

  /** Makes a program the one that runs; its registers are whatever they were. */
  #use(code: Code, name: string): void {
    let registers = this.#registers.get(code);
    if (registers === undefined) {
      registers = [code.low.slice(), code.high.slice()];
      this.#registers.set(code, registers);
    }
    this.#code = code;
    this.words = code.words;
    this.name = name;
    [this.low, this.high] = registers;
  }

  #poison(register: number): void {
    this.low[register] = register;
    this.high[register] = POISON;
  }

  #openFrame(): void {
    const top = this.#stack.start + (this.depth + 1) * FRAME_STRIDE;
    const bottom = top - STACK_LIMIT;
    // Without the check of what was written, old bytes must not shine through: runs would depend on one another.
    if (this.#freshStack === READ_WRITE) this.memory.bytes.fill(0, bottom, top);
    this.memory.plane.fill(this.#freshStack, bottom, top);
    this.low[FRAME_POINTER] = top;
    this.high[FRAME_POINTER] = 0;
  }

  #closeFrame(): void {
    const top = this.#stack.start + (this.depth + 1) * FRAME_STRIDE;
    this.memory.plane.fill(Permission.freed, top - STACK_LIMIT, top);
  }

  /**
   * Calls a function of the program.
   *
   * @param entry its first word
   * @param continuation for one that a helper calls
   */
  enter(entry: number, continuation: Continuation | undefined): void {
    if (this.depth + 1 >= MOST_FRAMES) {
      throw this.fault(`the call stack of ${MOST_FRAMES + 1} frames is too deep`);
    }
    let frame = this.#frames[this.depth];
    if (frame === undefined) {
      frame = { code: this.#code, pc: 0, saved: new Int32Array(2 * SAVED.length), continuation: undefined, entry: 0 };
      this.#frames.push(frame);
    }
    frame.code = this.#code;
    frame.pc = this.pc + WORDS;
    frame.continuation = continuation;
    frame.entry = entry;
    for (const [i, register] of SAVED.entries()) {
      frame.saved[2 * i] = this.low[register]!;
      frame.saved[2 * i + 1] = this.high[register]!;
    }
    this.depth++;
    this.#openFrame();
    this.pc = entry;
  }

  /** Returns from a function, or ends the program. */
  leave(): void {
    if (this.high[0] === POISON && this.low[0] === 0) throw this.fault("exit with nothing in r0");
    this.#closeFrame();
    if (this.depth === 0) {
      this.done = true;
      return;
    }
    const frame = this.#frames[this.depth - 1]!;
    const low = this.low[0]!;
    const high = this.high[0]!;
    // A tail call may have put another program in the place of the one that called.
    if (frame.code !== this.#code) this.#use(frame.code, this.run.nameOf(frame.code));
    const { continuation } = frame;
    if (continuation === undefined) {
      this.low[0] = low;
      this.high[0] = high;
      for (let i = 1; i <= 5; i++) this.#poison(i);
    } else {
      for (let i = 0; i <= 5; i++) this.#poison(i);
      if (continuation(low)) {
        this.#openFrame();
        this.pc = frame.entry;
        return;
      }
    }
    this.depth--;
    for (const [i, register] of SAVED.entries()) {
      this.low[register] = frame.saved[2 * i]!;
      this.high[register] = frame.saved[2 * i + 1]!;
    }
    this.low[FRAME_POINTER] = this.#stack.start + (this.depth + 1) * FRAME_STRIDE;
    this.high[FRAME_POINTER] = 0;
    this.pc = frame.pc;
  }

  /**
   * Goes over to another program; the registers of this one are lost.
   *
   * @param context r1
   * @returns `false` when too many have followed one another
   */
  tailCall(code: Code, name: string, context: number): boolean {
    if (this.#tailCalls >= MOST_TAIL_CALLS) return false;
    this.#tailCalls++;
    this.#use(code, name);
    for (let i = 0; i < FRAME_POINTER; i++) this.#poison(i);
    this.low[1] = context;
    this.high[1] = 0;
    this.#openFrame();
    // The helper's call goes on one instruction further.
    this.pc = -WORDS;
    return true;
  }

  /** Calls a helper with what is in r1 to r5. */
  callHelper(number: number): void {
    const helper = this.#helpers.get(number);
    if (helper === undefined) throw this.run.unknownHelper(this, number);
    this.#callInto(helper.name, helper.call);
  }

  /** Calls a function of the kernel, as far as the machine was given one in its place. */
  callKfunc(number: number): void {
    const kfunc = this.#kfuncs.get(number);
    if (kfunc === undefined) throw this.fault(`the machine has no kernel function with number ${number}`);
    this.#callInto(kfunc.name, kfunc.call);
  }

  #callInto(name: string, helper: (call: HelperCall) => number | bigint | undefined | void): void {
    const call = this.#call;
    const before = this.pc;
    const { depth } = this;
    call.begin(name);
    let result: number | bigint | undefined | void;
    try {
      result = helper(call);
    } catch (error) {
      throw error instanceof MachineFault && error.place === undefined ? this.#placed(error) : error;
    }
    // Called back into the program, or over to another one: the result comes later, or never.
    if (this.depth !== depth) return;
    if (this.pc !== before) {
      this.pc += WORDS;
      return;
    }
    for (let i = 1; i <= 5; i++) this.#poison(i);
    this.setResult(result ?? undefined);
    this.pc = before + WORDS;
  }

  /** Puts the result of a helper into r0: numbers are extended with their sign. */
  setResult(result: number | bigint | undefined): void {
    if (typeof result === "number") {
      this.low[0] = result;
      this.high[0] = Math.floor(result / 0x1_0000_0000);
    } else if (result === undefined) {
      this.low[0] = 0;
      this.high[0] = 0;
    } else putBigInt(result, this.low, this.high, 0);
  }

  /** Puts a number into a register, extended with its sign. */
  setRegister(register: number, value: number): void {
    this.low[register] = value;
    this.high[register] = Math.floor(value / 0x1_0000_0000);
  }

  /** A register's 64 bits. */
  register(number: number): bigint {
    return toU64(this.low[number]!, this.high[number]!);
  }

  /** Place in the code of an address that an `ld_imm64` of a function, or a jump table, gave. */
  instructionAt(low: number, high: number): number {
    const distance = (low >>> 0) - CODE_ADDRESSES;
    const index = high === 0 && distance >= 0 && distance % 8 === 0 ? this.#code.indices[distance / 8] : undefined;
    if (index === undefined || index < 0) {
      throw this.fault(`0x${toU64(low, high).toString(16)} is not the address of an instruction`);
    }
    return index * WORDS;
  }

  /**
   * The address of bytes that a load reads.
   *
   * @param register base
   * @param offset added to it
   * @param size bytes
   * @throws MachineFault when one of them may not be read
   */
  readable(register: number, offset: number, size: number): number {
    const [low, high] = this.#sum(register, offset);
    if (high === 0 && low >= 0 && this.memory.allows(low, size, Permission.read)) return low;
    throw this.#placed(this.memory.fault(low, high, size, "read"));
  }

  /** The address of bytes that a store or an atomic operation writes: see {@link readable}. */
  writable(register: number, offset: number, size: number): number {
    const [low, high] = this.#sum(register, offset);
    if (high === 0 && low >= 0 && this.memory.allows(low, size, Permission.write)) return low;
    throw this.#placed(this.memory.fault(low, high, size, "write"));
  }

  #sum(register: number, offset: number): readonly [number, number] {
    const base = this.low[register]!;
    const high = this.high[register]!;
    // A register that holds nothing is recognised by its high half, its number by the low one.
    if (high === POISON) return [base, high];
    const sum = (base >>> 0) + offset;
    return [sum | 0, (high + Math.floor(sum / 0x1_0000_0000)) | 0];
  }

  /**
   * `ld_abs` and `ld_ind`: r0 gets bytes of the packet in the order of the network.
   *
   * @param imm offset
   * @param source register that is added to it; -1 for none
   * @param size bytes
   * @returns `false` when the packet is too short, and the function has ended with 0
   */
  packetLoad(imm: number, source: number, size: number): boolean {
    const offset = source < 0 ? imm : (imm + this.low[source]!) | 0;
    const at = this.run.packetAddress(offset, size);
    for (let i = 1; i <= 5; i++) this.#poison(i);
    this.high[0] = 0;
    if (at === undefined) {
      this.low[0] = 0;
      this.leave();
      return false;
    }
    let value = 0;
    for (let i = 0; i < size; i++) value = (value << 8) | this.memory.bytes[at + i]!;
    this.low[0] = value;
    return true;
  }

  /** A fault at the present instruction. */
  fault(reason: string): MachineFault {
    return this.#placed(new MachineFault("ERR_VM_FAULT", reason));
  }

  #placed(error: MachineFault): MachineFault {
    const registers: bigint[] = [];
    for (let i = 0; i <= FRAME_POINTER; i++) registers.push(this.register(i));
    const { instruction } = this;
    const insn = this.instructions[instruction];
    const text = insn === undefined ? "behind the last instruction" : printInstruction(insn, { helpers: true });
    const place = { program: this.name, instruction, text, registers };
    return new MachineFault(error.code as "ERR_VM_FAULT", error.reason, {
      access: error.access,
      place,
      hint: error.hint,
    });
  }

  /** Adds the place to a fault that has none. */
  place(error: MachineFault): MachineFault {
    return this.#placed(error);
  }
}
