import type { Instruction } from "../asm/index.ts";
import type { AttachType, ProgType } from "../kernel-abi/index.ts";
import { pinObject, unpin } from "../maps/pin.ts";
import type { Fd } from "../syscall/fd.ts";
import {
  numberOf,
  type ProgramDescription,
  type ProgramStatistics,
  queryProgram,
  readProgramInfo,
  readStatistics,
} from "./description.ts";
import { type MachineFunction, readMachineCode } from "./machine-code.ts";
import { type RunOptions, type RunResult, runProgram } from "./run.ts";
import { associateStructOps, type ProgramStream, readStream } from "./stream.ts";
import { type InspectOptions, readTranslated } from "./translated.ts";

/** A loaded program. */
export class Program {
  /** Program type in the kernel's lower-case spelling. */
  readonly type: ProgType;
  /** Name as the kernel has it: at most 15 characters. */
  readonly name: string;
  /** The verifier's log, when one was asked for; else empty. */
  readonly log: string;
  /** Attach type that the program was loaded for; `undefined` where none was given, or that is not known. */
  readonly expectedAttachType: AttachType | undefined;
  readonly #owner: Fd;
  readonly #pins = new Set<string>();

  /** @internal use `loadProgram` */
  constructor(owner: Fd, type: ProgType, name: string, log: string, expectedAttachType?: AttachType) {
    this.#owner = owner;
    this.expectedAttachType = expectedAttachType;
    this.type = type;
    this.name = name;
    this.log = log;
  }

  /**
   * Descriptor number.
   *
   * @throws BpfError `ERR_CLOSED`
   */
  get fd(): number {
    return this.#owner.number;
  }

  /** The descriptor's owner. */
  get owner(): Fd {
    return this.#owner;
  }

  /** Whether `close()` was called. */
  get closed(): boolean {
    return this.#owner.closed;
  }

  /**
   * Runs the program once (or `repeat` times) on given data, without attaching it (`BPF_PROG_TEST_RUN`).
   *
   * @param options data, context, repeat
   * @throws SyscallError `ENOTSUPP` for program types the kernel cannot run so, `EINVAL` with what it wants of this type
   *
   * @example
   * ```ts
   * import { exit, load, r0, r1 } from "rawbpf/asm";
   * import { loadProgram } from "rawbpf/programs";
   *
   * using length = loadProgram({ type: "sched_cls", instructions: [load("u32", r0, r1, 0), exit()], license: "GPL" });
   * length.run({ data: new Uint8Array(64) }).returnValue; // 64
   * ```
   */
  run(options: RunOptions = {}): RunResult {
    return runProgram({ owner: this.#owner, type: this.type, expectedAttachType: this.expectedAttachType }, options);
  }

  /**
   * What the kernel says of the program.
   *
   * @throws SyscallError
   */
  info(): ProgramDescription {
    return readProgramInfo(this.#owner);
  }

  /** Number of the program, unique while it exists. */
  get id(): number {
    return numberOf(queryProgram(this.#owner), "id");
  }

  /**
   * How often and how long it ran, while statistics were on ({@link enableStatistics}).
   *
   * @throws SyscallError
   */
  statistics(): ProgramStatistics {
    return readStatistics(this.#owner);
  }

  /**
   * The instructions as the kernel runs them, after the verifier has changed them, with functions, lines and maps named.
   *
   * @param options the kernel's symbols (`readKernelSymbols()`), to name helpers and functions of the kernel
   * @throws NotSupportedError when the kernel does not show them; SyscallError
   *
   * @example
   * ```ts
   * import { exit, mov, print, r0 } from "rawbpf/asm";
   * import { loadProgram } from "rawbpf/programs";
   * import { readKernelSymbols } from "rawbpf/symbols";
   *
   * using program = loadProgram({ type: "socket_filter", instructions: [mov(r0, 0), exit()] });
   * console.log(print(program.translated({ symbols: readKernelSymbols() })));
   * ```
   */
  translated(options: InspectOptions = {}): Instruction[] {
    return readTranslated(this.#owner, options);
  }

  /**
   * The machine code that the kernel has compiled it to, by function, with source lines where it has BTF.
   *
   * @throws NotSupportedError when it is interpreted, or the kernel does not show it; SyscallError
   */
  machineCode(): MachineFunction[] {
    return readMachineCode(this.#owner);
  }

  /**
   * Takes what the program has printed with `bpf_stream_printk`, or what the kernel reports of its faults (Linux 6.17).
   *
   * @param stream which one
   * @returns text; empty when nothing is there
   * @throws NotSupportedError on kernels without streams; SyscallError
   */
  readStream(stream: ProgramStream): string {
    return readStream(this.#owner, stream);
  }

  /**
   * Associates the program with a struct_ops map (Linux 7.0): functions of the kernel that it calls then know which of
   * several is meant.
   *
   * @param map open map of type `struct_ops`
   * @throws SyscallError `EBUSY` when it is associated with another one, `EINVAL` on kernels without it
   */
  associateStructOps(map: { readonly fd: number }): void {
    associateStructOps(this.#owner, map.fd);
  }

  /**
   * Pins the program, so that it outlives the process.
   *
   * @param path absolute path on a BPF file system
   * @throws BpfError `ERR_PIN`; SyscallError `EEXIST`
   */
  pin(path: string): void {
    pinObject(this.#owner, path);
    this.#pins.add(path);
  }

  /**
   * Takes names away that {@link pin} gave.
   *
   * @param path one of them; default: all
   * @throws BpfError `ERR_PIN`
   */
  unpin(path?: string): void {
    for (const one of path === undefined ? [...this.#pins] : [path]) {
      unpin(one, { backend: this.#owner.backend });
      this.#pins.delete(one);
    }
  }

  /** Names that {@link pin} gave and {@link unpin} did not take away. */
  get pins(): readonly string[] {
    return [...this.#pins];
  }

  /** Closes the descriptor; links keep the program alive. Idempotent. */
  close(): void {
    this.#owner.close();
  }

  /** Closes the descriptor. */
  [Symbol.dispose](): void {
    this.close();
  }
}
