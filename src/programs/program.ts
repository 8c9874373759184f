import { type AttachType, type ProgType, progTestRunAttr } from "../kernel-abi/index.ts";
import { bpfError, rawBpf } from "../syscall/bpf.ts";
import { kernelBuffer, toKernel } from "../syscall/call.ts";
import { errnoName } from "../syscall/errno.ts";
import type { Fd } from "../syscall/fd.ts";

/** What to run a program on. */
export interface RunOptions {
  /** Packet or other input data; at least 14 bytes (an Ethernet header) for programs that see packets. */
  readonly data?: Uint8Array | undefined;
  /** Context struct, for example a `__sk_buff`, with the fields the kernel lets a test set. */
  readonly context?: Uint8Array | undefined;
  /** How often to run; the duration is the mean. Default 1. */
  readonly repeat?: number | undefined;
  /** `BPF_F_TEST_*` flags. Default 0. */
  readonly flags?: number | undefined;
  /** CPU to run on, for raw tracepoints with `BPF_F_TEST_RUN_ON_CPU`. */
  readonly cpu?: number | undefined;
  /** Room for the data afterwards, in bytes: programs can make it longer. Default: length of `data` + 256. */
  readonly dataOutSize?: number | undefined;
}

/** What came of a run. */
export interface RunResult {
  /** Return value, unsigned 32 bits. */
  readonly returnValue: number;
  /** Mean duration of one run in nanoseconds, as the kernel measured it. */
  readonly duration: number;
  /** The data afterwards; empty when there was none. */
  readonly data: Uint8Array;
  /** The context afterwards; empty when none was given. */
  readonly context: Uint8Array;
}

const MAX_INTERRUPTIONS = 30;

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
   * @throws SyscallError `ENOTSUPP` for program types the kernel cannot test, `EINVAL` for data it does not accept
   */
  run(options: RunOptions = {}): RunResult {
    const backend = this.#owner.backend;
    const data = options.data ?? new Uint8Array(0);
    const context = options.context ?? new Uint8Array(0);
    const input = data.length > 0 ? toKernel(data) : undefined;
    const output = data.length > 0 ? kernelBuffer(options.dataOutSize ?? data.length + 256) : undefined;
    const contextIn = context.length > 0 ? toKernel(context) : undefined;
    // A program of type syscall writes to the context it was given, and the kernel refuses another buffer.
    const inPlace = this.type === "syscall";
    const contextOut = context.length > 0 && !inPlace ? kernelBuffer(context.length) : undefined;
    for (let tries = 1; ; tries++) {
      const { result, attr } = rawBpf(backend, "BPF_PROG_TEST_RUN", progTestRunAttr, {
        prog_fd: this.fd,
        data_in: input,
        data_size_in: data.length,
        data_out: output,
        data_size_out: output?.length ?? 0,
        ctx_in: contextIn,
        ctx_size_in: context.length,
        ctx_out: contextOut,
        ctx_size_out: contextOut?.length ?? 0,
        repeat: options.repeat ?? 0,
        flags: options.flags ?? 0,
        cpu: options.cpu ?? 0,
      });
      if (result < 0) {
        // A signal (a profiler's, say) interrupts long runs.
        if (errnoName(result) === "EINTR" && tries < MAX_INTERRUPTIONS) continue;
        throw bpfError("BPF_PROG_TEST_RUN", result, { action: `Cannot run ${this.#owner.label}` });
      }
      const fields = progTestRunAttr.fields;
      return {
        returnValue: attr.readU32(fields.retval.offset),
        duration: attr.readU32(fields.duration.offset),
        data: output?.slice(0, attr.readU32(fields.data_size_out.offset)) ?? new Uint8Array(0),
        context: inPlace
          ? (contextIn?.slice() ?? new Uint8Array(0))
          : (contextOut?.slice(0, attr.readU32(fields.ctx_size_out.offset)) ?? new Uint8Array(0)),
      };
    }
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
