import { BpfError } from "../errors.ts";
import type { AttachType } from "../kernel-abi/index.ts";
import type { Program } from "../programs/index.ts";
import { kernelBuffer } from "../syscall/call.ts";
import { rawTracepointOpen } from "../syscall/commands.ts";
import { errnoName } from "../syscall/errno.ts";
import { Fd } from "../syscall/fd.ts";
import { createLink, linkError, requireType, tryCreateLink } from "./create.ts";
import { Link } from "./link.ts";

/** How to attach a program whose target was fixed when it was loaded. */
export interface TracingOptions {
  /** Value the program reads with `get_attach_cookie` (Linux 6.0; for `tp_btf` 6.10). */
  readonly cookie?: bigint | undefined;
}

/** Where the program may be put instead of where it was loaded for. */
export interface FreplaceOptions {
  /** Descriptor of the program that has the function. */
  readonly program: number;
  /** Number of the function's type in that program's BTF. */
  readonly btfId: number;
}

/**
 * Attaches a program of type `tracing` (`fentry`, `fexit`, `fmod_ret`, `fsession`, `tp_btf`) or `lsm` to what it was
 * loaded for.
 *
 * @param program open program
 * @param options cookie
 * @returns the attachment: close it to detach
 * @throws BpfError `ERR_TYPE_MISMATCH`; SyscallError `EBUSY` when the function cannot take more, `EPERM`
 * @example
 * ```ts no-run
 * import { attachTracing, loadProgram } from "rawbpf";
 * declare const spec: Parameters<typeof loadProgram>[0]; // type "tracing", with attachBtfId
 *
 * using program = loadProgram(spec);
 * using link = attachTracing(program);
 * ```
 */
export function attachTracing(program: Program, options: TracingOptions = {}): Link {
  const attachType = program.expectedAttachType;
  const target = `the target of ${attachType ?? program.type}`;
  requireType(program, target, "tracing", "lsm", "ext");
  if (attachType === "trace_iter") {
    throw new BpfError("ERR_TYPE_MISMATCH", `Cannot attach ${program.owner.label}: iterators take attachIterator`);
  }
  if (attachType === "lsm_cgroup") {
    throw new BpfError("ERR_TYPE_MISMATCH", `Cannot attach ${program.owner.label}: lsm_cgroup takes attachCgroup`);
  }
  const { cookie = 0n } = options;
  const words = { type: "tracing", target, since: "5.5" } as const;
  // The older call does all of them, but takes no cookie, and does not know what came later.
  if (attachType !== undefined) {
    const result = tryCreateLink(program, cookie === 0n ? {} : { "tracing.cookie": cookie }, attachType);
    if (result >= 0) {
      return new Link(target, { type: linkTypeOf(program), fd: new Fd(program.owner.backend, result, target) });
    }
    // EINVAL: before 5.12 links of programs of these types were only made by the older call.
    if (errnoName(result) !== "EINVAL" || cookie !== 0n || !OLD.has(attachType)) {
      throw linkError(program, result, { ...words, attachType, meanings: MEANINGS });
    }
  }
  return new Link(target, { type: linkTypeOf(program), fd: rawTracepointOpen(program.owner, undefined) });
}

const OLD: ReadonlySet<AttachType> = /* @__PURE__ */ new Set<AttachType>([
  "trace_raw_tp",
  "trace_fentry",
  "trace_fexit",
  "modify_return",
  "lsm_mac",
  // Programs that replace a function have no attach type: 0.
  "cgroup_inet_ingress",
]);

const MEANINGS = {
  EBUSY: "the function has as many programs as it can take, or one that excludes others",
  ENOENT: "the function cannot be traced",
} as const;

/** A program for a tracepoint is held by a link of the tracepoint's kind. */
function linkTypeOf(program: Program): "raw_tracepoint" | "tracing" {
  return program.expectedAttachType === "trace_raw_tp" ? "raw_tracepoint" : "tracing";
}

/**
 * Puts a program of type `ext` in the place of a function of another BPF program (`freplace`).
 *
 * @param program open program, loaded for a function of the same signature
 * @param target another program's function; default: the one it was loaded for
 * @returns the attachment: close it and the function is itself again
 * @throws BpfError `ERR_TYPE_MISMATCH`; SyscallError `EBUSY` when it is replaced already, `EINVAL` when the signatures differ
 */
export function attachFreplace(program: Program, target?: FreplaceOptions): Link {
  requireType(program, "the function it replaces", "ext");
  if (target === undefined) {
    const fd = rawTracepointOpen(program.owner, undefined);
    return new Link("the function it replaces", { type: "tracing", fd });
  }
  return createLink(
    program,
    { target_fd: target.program, target_btf_id: target.btfId },
    {
      type: "tracing",
      // The kernel wants 0 here for programs of this type.
      attachType: "cgroup_inet_ingress",
      target: `function ${target.btfId} of program descriptor ${target.program}`,
      since: "5.10",
      meanings: {
        EBUSY: "the function is replaced already",
        EINVAL: "the function differs from the one it was loaded for",
      },
    },
  );
}

/** Functions to attach to at once. */
export interface TracingMultiOptions {
  /** Numbers of the functions in the BTF of the kernel, or of the module that the program was loaded for. */
  readonly btfIds: readonly number[];
  /** A value for `get_attach_cookie` for each. */
  readonly cookies?: readonly bigint[] | undefined;
}

/**
 * Attaches a program loaded for `trace_fentry_multi`, `trace_fexit_multi` or `trace_fsession_multi` to many functions by
 * one link (Linux 7.2).
 *
 * @param program open program
 * @param options functions, cookies
 * @throws NotSupportedError on kernels without; SyscallError; RangeError when there are not as many cookies as functions
 */
export function attachTracingMulti(program: Program, options: TracingMultiOptions): Link {
  const { btfIds, cookies } = options;
  const attachType = program.expectedAttachType;
  const target = `${btfIds.length} function${btfIds.length === 1 ? "" : "s"}`;
  requireType(program, target, "tracing");
  if (attachType === undefined || !/^trace_(fentry|fexit|fsession)_multi$/.test(attachType)) {
    const message = `Cannot attach ${program.owner.label} to ${target}: it was loaded for ${attachType ?? "one"}`;
    throw new BpfError("ERR_TYPE_MISMATCH", message);
  }
  if (btfIds.length === 0) throw new RangeError("There are no functions to attach to");
  if (cookies !== undefined && cookies.length !== btfIds.length) {
    throw new RangeError(`There are ${cookies.length} cookies for ${btfIds.length} functions`);
  }
  const attr = {
    "tracing_multi.ids": u32Array(btfIds),
    "tracing_multi.cnt": btfIds.length,
    ...(cookies === undefined ? {} : { "tracing_multi.cookies": u64Array(cookies) }),
  };
  return createLink(program, attr, { type: "tracing_multi", attachType, target, since: "7.2" });
}

/** @internal 32-bit numbers, where the kernel may read them. */
export function u32Array(values: readonly number[]): Uint8Array {
  const bytes = kernelBuffer(values.length * 4);
  const view = new DataView(bytes.buffer);
  values.forEach((value, index) => {
    view.setUint32(index * 4, value, true);
  });
  return bytes;
}

/** @internal 64-bit numbers, where the kernel may read them. */
export function u64Array(values: readonly (bigint | number)[]): Uint8Array {
  const bytes = kernelBuffer(values.length * 8);
  const view = new DataView(bytes.buffer);
  values.forEach((value, index) => {
    view.setBigUint64(index * 8, BigInt(value), true);
  });
  return bytes;
}
