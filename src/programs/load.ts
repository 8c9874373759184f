import { encode, type Instruction, link } from "../asm/index.ts";
import { decodeUtf8 } from "../bytes/index.ts";
import type { BpfError } from "../errors.ts";
import { AttachType, ProgType, progLoadAttr } from "../kernel-abi/index.ts";
import type { SyscallBackend } from "../syscall/backend.ts";
import { bpfError, rawBpf } from "../syscall/bpf.ts";
import { kernelBuffer, toKernel } from "../syscall/call.ts";
import { errnoName } from "../syscall/errno.ts";
import { Fd } from "../syscall/fd.ts";
import { type BackendOption, backendOf } from "../syscall/select.ts";
import { Program } from "./program.ts";
import { VerifierError } from "./verifier-error.ts";

/** Blueprint of a program: plain data. */
export interface ProgramSpec {
  /** Program type, for example `tracepoint`. */
  readonly type: ProgType;
  /** The program; labels and references are linked when it is loaded. */
  readonly instructions: readonly Instruction[];
  /** Name: the kernel keeps at most 15 letters, digits, `_` and `.`. */
  readonly name?: string | undefined;
  /** Licence, at most 127 bytes; the GPL-only helpers want a compatible one such as `GPL`. Default none. */
  readonly license?: string | undefined;
  /** Attach type the program is made for, where its type has several. */
  readonly expectedAttachType?: AttachType | undefined;
  /** `BPF_F_*` load flags. Default 0. */
  readonly flags?: number | undefined;
}

/** How to load. */
export interface LoadProgramOptions extends BackendOption {
  /** Verifier log wanted on success too: 1 branches, 2 every state, 4 statistics (may be added). Default 0: none. */
  readonly logLevel?: number | undefined;
}

const FIRST_LOG_SIZE = 64 * 1024;
// The kernel takes at most 2^30 - 1 bytes (UINT_MAX >> 2).
const MAX_LOG_SIZE = 2 ** 30 - 1;
const MAX_AGAIN = 30;
const BPF_LOG_LEVEL_BRANCHES = 1;
const BPF_OBJ_NAME_LEN = 16;

/**
 * Loads a program: links and encodes its instructions, and gives them to the verifier.
 *
 * The first attempt asks for no log, because writing one makes verification slower. When it fails, a second one
 * fetches the whole log: sized by what the kernel says it needs (Linux 6.4), or by doubling.
 *
 * @param spec blueprint
 * @param options log level, shim
 * @returns an open program: close it
 * @throws VerifierError when the verifier rejects it: short message, whole log; AsmError when it does not link;
 *   SyscallError for everything else
 * @example
 * ```ts
 * using program = loadProgram({ type: "socket_filter", instructions: [mov(r0, 0), exit()], license: "GPL" });
 * ```
 */
export function loadProgram(spec: ProgramSpec, options: LoadProgramOptions = {}): Program {
  const backend = backendOf(options);
  const type = ProgType[spec.type];
  if (type === undefined) throw new TypeError(`"${spec.type}" is no program type`);
  const code = toKernel(encode(link(spec.instructions)));
  const loader = new Loader(backend, spec, code);
  const level = options.logLevel ?? 0;
  const first = level === 0 ? loader.load(0, 0) : loader.loadWithLog(level);
  if (first.result >= 0) return loader.finish(first.result, first.log);
  if (level !== 0) throw loader.error(first);
  const again = loader.loadWithLog(BPF_LOG_LEVEL_BRANCHES);
  // Loaded after all: the first failure was passing (memory pressure, say).
  if (again.result >= 0) return loader.finish(again.result, "");
  throw loader.error(again.log === "" ? { ...first, log: "" } : again);
}

interface Attempt {
  readonly result: number;
  readonly log: string;
  readonly truncated: boolean;
  /** Bytes the kernel says the whole log takes; 0 when it does not say (before 6.4). */
  readonly needed: number;
}

class Loader {
  readonly #backend: SyscallBackend;
  readonly #spec: ProgramSpec;
  readonly #code: Uint8Array;
  readonly #name: string;

  constructor(backend: SyscallBackend, spec: ProgramSpec, code: Uint8Array) {
    this.#backend = backend;
    this.#spec = spec;
    this.#code = code;
    this.#name = (spec.name ?? "").replace(/[^A-Za-z0-9_.]/g, "_").slice(0, BPF_OBJ_NAME_LEN - 1);
  }

  /** One attempt with a log buffer of `size` bytes; EAGAIN (a signal arrived meanwhile) is tried again, not for ever. */
  load(level: number, size: number): Attempt {
    const log = size === 0 ? undefined : kernelBuffer(size);
    const attachType = this.#spec.expectedAttachType;
    for (let tries = 1; ; tries++) {
      const { result, attr } = rawBpf(
        this.#backend,
        "BPF_PROG_LOAD",
        progLoadAttr,
        {
          prog_type: ProgType[this.#spec.type],
          insn_cnt: this.#code.length / 8,
          insns: this.#code,
          license: this.#spec.license ?? "",
          log_level: level,
          log_size: size,
          log_buf: log,
          prog_flags: this.#spec.flags ?? 0,
          prog_name: this.#name,
          expected_attach_type: attachType === undefined ? 0 : AttachType[attachType],
        },
        {
          prog_type: this.#spec.type,
          insns: `${this.#code.length / 8} instructions`,
          log_buf: log === undefined ? 0 : `${size} bytes`,
          ...(attachType === undefined ? {} : { expected_attach_type: attachType }),
        },
      );
      if (result < 0 && errnoName(result) === "EAGAIN" && tries < MAX_AGAIN) continue;
      const needed = attr.readU32(progLoadAttr.fields.log_true_size.offset);
      const end = log === undefined ? 0 : Math.max(0, log.indexOf(0));
      const text = log === undefined ? "" : decodeUtf8(log.subarray(0, end));
      return { result, log: text, truncated: needed > size && size > 0, needed };
    }
  }

  /** Attempts with a log until the whole log fits. */
  loadWithLog(level: number): Attempt {
    let size = FIRST_LOG_SIZE;
    for (;;) {
      const attempt = this.load(level, size);
      if (attempt.result >= 0 || errnoName(attempt.result) !== "ENOSPC" || size >= MAX_LOG_SIZE) return attempt;
      size = Math.min(MAX_LOG_SIZE, attempt.needed > size ? attempt.needed : size * 2);
    }
  }

  finish(descriptor: number, log: string): Program {
    const label = this.#spec.name === undefined ? `${this.#spec.type} program` : `program "${this.#spec.name}"`;
    return new Program(new Fd(this.#backend, descriptor, label), this.#spec.type, this.#name, log);
  }

  error(attempt: Attempt): BpfError {
    const shown = this.#spec.name ?? this.#spec.type;
    if (attempt.log.trim() !== "") {
      return new VerifierError(shown, attempt.result, attempt.log, { truncated: attempt.truncated });
    }
    return bpfError("BPF_PROG_LOAD", attempt.result, {
      action: `Cannot load program "${shown}"`,
      progType: this.#spec.type,
    });
  }
}
