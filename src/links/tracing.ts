import type { Btf } from "../btf/index.ts";
import { closest } from "../bytes/index.ts";
import { BpfError } from "../errors.ts";
import type { AttachType } from "../kernel-abi/index.ts";
import type { Program } from "../programs/index.ts";
import { rawTracepointOpen } from "../syscall/commands.ts";
import { errnoName } from "../syscall/errno.ts";
import { Fd } from "../syscall/fd.ts";
import { loadKernelBtf } from "../syscall/kernel-btf.ts";
import type { Tracefs } from "../syscall/tracefs.ts";
import { createLink, linkError, requireType, tryCreateLink } from "./create.ts";
import { traceable } from "./kprobe-multi.ts";
import { Link } from "./link.ts";
import { u32Array, u64Array } from "./number-arrays.ts";

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

/** Functions to attach to at once: in one of the three ways. */
export interface TracingMultiOptions {
  /** Functions of the kernel by name. */
  readonly symbols?: readonly string[] | undefined;
  /** Functions of the kernel whose names match, with `*` and `?`: among those that can be traced. */
  readonly pattern?: string | undefined;
  /** Numbers of the functions in the BTF of the kernel, or of the module that the program was loaded for. */
  readonly btfIds?: readonly number[] | undefined;
  /** A value for `get_attach_cookie` for each symbol or number. */
  readonly cookies?: readonly bigint[] | undefined;
  /** Where tracefs is, for `pattern`. Default: where it is mounted, or a private instance. */
  readonly tracefs?: Tracefs | undefined;
}

/**
 * Attaches a program loaded for `trace_fentry_multi`, `trace_fexit_multi` or `trace_fsession_multi` to many functions by
 * one link (Linux 7.2).
 *
 * @param program open program
 * @param options functions, cookies
 * @throws NotSupportedError on kernels without; BpfError `ERR_ATTACH_TARGET` for functions that are not in the kernel's
 *   BTF, or in several forms, and patterns that match none; RangeError when there are not as many cookies as functions;
 *   SyscallError
 */
export function attachTracingMulti(program: Program, options: TracingMultiOptions): Link {
  const { cookies, pattern } = options;
  const attachType = program.expectedAttachType;
  requireType(program, "many functions", "tracing");
  if ([options.btfIds, options.symbols, pattern].filter((one) => one !== undefined).length !== 1) {
    throw new TypeError("Give one of symbols, pattern and btfIds");
  }
  if (pattern !== undefined && cookies !== undefined) {
    throw new TypeError("Cookies go with symbols or numbers: the order of a pattern's matches is not known");
  }
  const btfIds = options.btfIds ?? functionIds(program, options);
  const target = `${btfIds.length} function${btfIds.length === 1 ? "" : "s"}`;
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

/** Numbers of functions in the BTF of the kernel. A name may stand there several times, in forms that differ. */
function functionIds(program: Program, { symbols, pattern, tracefs }: TracingMultiOptions): number[] {
  const btf = loadKernelBtf();
  if (pattern !== undefined) {
    const ids = traceable(program, pattern, tracefs).map((name) => btf.idsByName(name, "func"));
    const single = ids.filter((list) => list.length === 1).map((list) => list[0]!);
    if (single.length > 0) return single;
    throw new BpfError("ERR_ATTACH_TARGET", `No function in the kernel's BTF that can be traced matches "${pattern}"`);
  }
  return symbols!.map((name) => {
    const ids = btf.idsByName(name, "func");
    if (ids.length === 1) return ids[0]!;
    const why = ids.length === 0 ? "it is not in the kernel's BTF" : `it has ${ids.length} forms in the kernel's BTF`;
    throw new BpfError("ERR_ATTACH_TARGET", `Cannot attach ${program.owner.label} to function "${name}": ${why}`, {
      hint: ids.length === 0 ? suggestion(btf, name) : "give one of them by its number",
    });
  });
}

function suggestion(btf: Btf, name: string): string | undefined {
  const names: string[] = [];
  for (const func of btf.functions()) names.push(func.name);
  const near = closest(name, names);
  return near === undefined ? undefined : `did you mean ${near}?`;
}
