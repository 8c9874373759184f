import { encode, type Instruction, link } from "../asm/index.ts";
import { decodeUtf8 } from "../bytes/index.ts";
import { type BpfError, NotSupportedError } from "../errors.ts";
import { AttachType, ProgType, progLoadAttr } from "../kernel-abi/index.ts";
import type { SyscallBackend } from "../syscall/backend.ts";
import { bpfError, rawBpf } from "../syscall/bpf.ts";
import { kernelBuffer, toKernel } from "../syscall/call.ts";
import { errnoName } from "../syscall/errno.ts";
import { Fd } from "../syscall/fd.ts";
import { kernelOlderThan } from "../syscall/host.ts";
import { haveAttachType } from "../syscall/probes.ts";
import { type BackendOption, backendOf } from "../syscall/select.ts";
import { type ProgramBtf, type ProgramInfo, programInfo, sourceLines } from "./info.ts";
import { Program } from "./program.ts";
import { PROGRAM_TYPE_SINCE } from "./program-types.ts";
import { VerifierError } from "./verifier-error.ts";

/** Blueprint of a program: plain data. */
export interface ProgramSpec {
  /** Program type, for example `tracepoint`. */
  readonly type: ProgType;
  /** The program; labels and references are linked when it is loaded. */
  readonly instructions: readonly Instruction[];
  /** Name, for messages too: the kernel keeps at most 15 letters, digits, `_` and `.` of it. */
  readonly name?: string | undefined;
  /** Name in the kernel, where it is another one than {@link name}: empty on kernels before 4.15, which know none. */
  readonly kernelName?: string | undefined;
  /** Licence, at most 127 bytes; the GPL-only helpers want a compatible one such as `GPL`. Default none. */
  readonly license?: string | undefined;
  /** Attach type the program is made for, where its type has several. */
  readonly expectedAttachType?: AttachType | undefined;
  /** For `struct_ops`: index of the member that it fills, which takes the place of {@link expectedAttachType}. */
  readonly memberIndex?: number | undefined;
  /** `BPF_F_*` load flags. Default 0. */
  readonly flags?: number | undefined;
  /** Version that kprobes before Linux 5.0 must name: that of the running kernel. Default 0. */
  readonly kernelVersion?: number | undefined;
  /** Types of its functions, and its source lines. */
  readonly btf?: ProgramBtf | undefined;
  /** Function or type that it is attached to, in the BTF of the kernel, of {@link attachBtf} or {@link attachProgram}. */
  readonly attachBtfId?: number | undefined;
  /** Descriptor of the BTF of a kernel module that has {@link attachBtfId}. */
  readonly attachBtf?: number | undefined;
  /** Descriptor of the program that has {@link attachBtfId}. */
  readonly attachProgram?: number | undefined;
  /** Descriptors that instructions refer to by index: maps, and BTF of modules with functions that are called. */
  readonly fdArray?: readonly number[] | undefined;
  /** Descriptor of a BPF token (Linux 6.9). */
  readonly token?: number | undefined;
  /** Number of the interface that runs it, for offloading. */
  readonly ifindex?: number | undefined;
  /** Names in the kernel's log what it only knows by number. */
  readonly explainLog?: ((log: string) => string) | undefined;
}

/** How to load. */
export interface LoadProgramOptions extends BackendOption {
  /** Verifier log wanted on success too: 1 branches, 2 every state, 4 statistics (may be added). Default 0: none. */
  readonly logLevel?: number | undefined;
}

const FIRST_LOG_SIZE = 64 * 1024;
// The kernel takes at most 2^30 - 1 bytes (UINT_MAX >> 2).
const MAX_LOG_SIZE = 2 ** 30 - 1;
// A log of a million instructions has 50 MB and takes the kernel 13 s to write. Its last lines tell what is wrong.
const LONGEST_UNASKED_LOG = 16 * 1024 * 1024;
const MAX_AGAIN = 30;
const BPF_LOG_LEVEL_BRANCHES = 1;
const BPF_OBJ_NAME_LEN = 16;
const BPF_F_TOKEN_FD = 0x10000;
const FUNC_INFO_SIZE = 8;
const LINE_INFO_SIZE = 16;

/**
 * Loads a program: links and encodes its instructions, and gives them to the verifier.
 *
 * The first attempt asks for no log, because writing one makes verification slower. When it fails, a second one
 * fetches the log: sized by what the kernel says it needs (Linux 6.4), or by doubling. Of a log of more than 16 MiB that
 * was not asked for, only the end is fetched.
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
  const linked = link(spec.instructions);
  const loader = new Loader(backend, spec, linked);
  const level = options.logLevel ?? 0;
  const first = level === 0 ? loader.load(0, 0) : loader.loadWithLog(level, MAX_LOG_SIZE);
  if (first.result >= 0) return loader.finish(first.result, first.log);
  if (level !== 0) throw loader.error(first);
  const again = loader.loadWithLog(BPF_LOG_LEVEL_BRANCHES, LONGEST_UNASKED_LOG);
  // Loaded after all: the first failure was passing (memory pressure, say).
  if (again.result >= 0) return loader.finish(again.result, "");
  if (again.log === "") throw loader.error({ ...first, log: "" });
  // A buffer that is too small hides the reason behind ENOSPC.
  throw loader.error(errnoName(again.result) === "ENOSPC" ? { ...again, result: first.result } : again);
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
  readonly #instructions: readonly Instruction[];
  readonly #code: Uint8Array;
  readonly #info: ProgramInfo | undefined;
  readonly #fdArray: Uint8Array | undefined;
  readonly #name: string;

  constructor(backend: SyscallBackend, spec: ProgramSpec, linked: readonly Instruction[]) {
    this.#backend = backend;
    this.#spec = spec;
    this.#instructions = linked;
    this.#code = toKernel(encode(linked));
    const info = spec.btf && programInfo(linked, spec.btf);
    this.#info = info && { funcInfo: toKernel(info.funcInfo), lineInfo: toKernel(info.lineInfo) };
    if (spec.fdArray !== undefined && spec.fdArray.length > 0) {
      this.#fdArray = toKernel(new Uint8Array(Int32Array.from(spec.fdArray).buffer));
    }
    this.#name = (spec.kernelName ?? spec.name ?? "").replace(/[^A-Za-z0-9_.]/g, "_").slice(0, BPF_OBJ_NAME_LEN - 1);
  }

  /** One attempt with a log buffer of `size` bytes; EAGAIN (a signal arrived meanwhile) is tried again, not for ever. */
  load(level: number, size: number): Attempt {
    const log = size === 0 ? undefined : kernelBuffer(size);
    const spec = this.#spec;
    const attachType = spec.expectedAttachType;
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
          kern_version: spec.kernelVersion ?? 0,
          prog_flags: (spec.flags ?? 0) | (spec.token === undefined ? 0 : BPF_F_TOKEN_FD),
          prog_name: this.#name,
          prog_ifindex: spec.ifindex ?? 0,
          expected_attach_type: spec.memberIndex ?? (attachType === undefined ? 0 : AttachType[attachType]),
          attach_btf_id: spec.attachBtfId ?? 0,
          attach_prog_fd: spec.attachProgram ?? spec.attachBtf ?? 0,
          prog_token_fd: spec.token ?? 0,
          ...(this.#fdArray === undefined ? {} : { fd_array: this.#fdArray }),
          ...this.#infoAttr(),
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

  #infoAttr(): {
    prog_btf_fd?: number;
    func_info?: Uint8Array;
    func_info_cnt?: number;
    func_info_rec_size?: number;
    line_info?: Uint8Array;
    line_info_cnt?: number;
    line_info_rec_size?: number;
  } {
    const { btf } = this.#spec;
    if (btf === undefined || this.#info === undefined) return {};
    const { funcs, lines } = { funcs: this.#info.funcInfo, lines: this.#info.lineInfo };
    return {
      prog_btf_fd: btf.fd,
      ...(funcs.length < FUNC_INFO_SIZE
        ? {}
        : { func_info: funcs, func_info_cnt: funcs.length / FUNC_INFO_SIZE, func_info_rec_size: FUNC_INFO_SIZE }),
      ...(lines.length < LINE_INFO_SIZE
        ? {}
        : { line_info: lines, line_info_cnt: lines.length / LINE_INFO_SIZE, line_info_rec_size: LINE_INFO_SIZE }),
    };
  }

  /** Attempts with a log until the whole log fits, or is longer than `most` bytes: then its end is there. */
  loadWithLog(level: number, most: number): Attempt {
    let size = FIRST_LOG_SIZE;
    for (;;) {
      const attempt = this.load(level, size);
      if (attempt.result >= 0 || errnoName(attempt.result) !== "ENOSPC" || size >= most) return attempt;
      // Kernels that say how much it is keep the end of the log, older ones its beginning.
      if (attempt.needed > most) return attempt;
      size = Math.min(MAX_LOG_SIZE, attempt.needed > size ? attempt.needed : size * 2);
    }
  }

  finish(descriptor: number, log: string): Program {
    const label = this.#spec.name === undefined ? `${this.#spec.type} program` : `program "${this.#spec.name}"`;
    const owner = new Fd(this.#backend, descriptor, label);
    return new Program(owner, this.#spec.type, this.#name, log, this.#spec.expectedAttachType);
  }

  error(attempt: Attempt): BpfError {
    return this.#unknown(attempt) ?? this.#refused(attempt);
  }

  /** The kernel says EINVAL, and no word in the log, to programs of which it does not know the kind. */
  #unknown(attempt: Attempt): BpfError | undefined {
    const { expectedAttachType: kind, name = this.#spec.type } = this.#spec;
    // Older kernels miss the one function that such a program has not.
    const ofMany = /^trace_(fentry|fexit|fsession)_multi$/.test(kind ?? "");
    if (ofMany && errnoName(attempt.result) === "EINVAL" && kernelOlderThan(7, 2)) {
      const feature = `Loading program "${name}" (${this.#spec.type} for ${kind})`;
      return new NotSupportedError(feature, { minimumKernel: "7.2", cause: this.#refused(attempt) });
    }
    if (errnoName(attempt.result) !== "EINVAL" || !/^\s*(processed \d+ insns [^\n]*\s*)?$/.test(attempt.log))
      return undefined;
    const { type, expectedAttachType, name: shown = type } = this.#spec;
    const cause = this.#refused(attempt);
    const since = PROGRAM_TYPE_SINCE[type];
    const [major, minor] = (since ?? "0.0").split(".").map(Number);
    if (since !== undefined && kernelOlderThan(major!, minor!)) {
      return new NotSupportedError(`Loading program "${shown}" (${type})`, { minimumKernel: since, cause });
    }
    if (expectedAttachType === undefined || haveAttachType(expectedAttachType, { backend: this.#backend }) !== false) {
      return undefined;
    }
    return new NotSupportedError(`Loading program "${shown}" (${type} for ${expectedAttachType})`, {
      cause,
      hint: "this kernel does not know that attach type: it is too old for it, or was built without it",
    });
  }

  #refused(attempt: Attempt): BpfError {
    const shown = this.#spec.name ?? this.#spec.type;
    if (attempt.log.trim() !== "") {
      const log = this.#spec.explainLog?.(attempt.log) ?? attempt.log;
      const lines = sourceLines(this.#instructions);
      return new VerifierError(shown, attempt.result, log, { truncated: attempt.truncated, lines });
    }
    return bpfError("BPF_PROG_LOAD", attempt.result, {
      action: `Cannot load program "${shown}"`,
      progType: this.#spec.type,
    });
  }
}
