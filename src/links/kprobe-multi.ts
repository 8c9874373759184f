import { readFileSync } from "node:fs";
import { BpfError, NotSupportedError } from "../errors.ts";
import type { Program } from "../programs/index.ts";
import { keepAlive } from "../syscall/call.ts";
import { kernelString } from "../syscall/mount.ts";
import { openTracefs, type Tracefs } from "../syscall/tracefs.ts";
import { createLink, requireType } from "./create.ts";
import type { Link } from "./link.ts";
import { u64Array } from "./number-arrays.ts";

/** Which functions, and how. */
export interface KprobeMultiOptions {
  /** Functions by name. */
  readonly symbols?: readonly string[] | undefined;
  /** Functions by address, as in kallsyms. */
  readonly addresses?: readonly bigint[] | undefined;
  /** Functions whose names match, with `*` and `?`: among those that can be traced. */
  readonly pattern?: string | undefined;
  /** A value for `get_attach_cookie` for each symbol or address. */
  readonly cookies?: readonly bigint[] | undefined;
  /** At the returns of the functions. */
  readonly return?: boolean | undefined;
  /** Where tracefs is, for `pattern`. Default: where it is mounted, or a private instance. */
  readonly tracefs?: Tracefs | undefined;
}

const RETURN = 1;

/**
 * Attaches a program of type `kprobe`, loaded for `trace_kprobe_multi` or `trace_kprobe_session`, to many functions of the
 * kernel by one link (Linux 5.18; session 6.10). All or none: one function that cannot be traced fails the call.
 *
 * @param program open program
 * @param options functions: by name, by address or by pattern; cookies
 * @returns the attachment: close it to detach
 * @throws NotSupportedError on kernels without; BpfError `ERR_ATTACH_TARGET` for unknown functions, and patterns that match
 *   none; SyscallError
 */
export function attachKprobeMulti(program: Program, options: KprobeMultiOptions): Link {
  const attachType = program.expectedAttachType ?? "trace_kprobe_multi";
  requireType(program, "functions of the kernel", "kprobe");
  if (attachType !== "trace_kprobe_multi" && attachType !== "trace_kprobe_session") {
    const message = `Cannot attach ${program.owner.label} to functions of the kernel: it was loaded for ${attachType}`;
    throw new BpfError("ERR_TYPE_MISMATCH", message);
  }
  const given = [options.symbols, options.addresses, options.pattern].filter((one) => one !== undefined);
  if (given.length !== 1) throw new TypeError("Give one of symbols, addresses and pattern");
  const { addresses, cookies } = options;
  const symbols =
    options.pattern === undefined ? options.symbols : traceable(program, options.pattern, options.tracefs);
  const count = (symbols ?? addresses)!.length;
  if (count === 0) throw new RangeError("There are no functions to attach to");
  if (cookies !== undefined && options.pattern !== undefined) {
    throw new TypeError("Cookies go with symbols or addresses: the order of a pattern's matches is not known");
  }
  if (cookies !== undefined && cookies.length !== count) {
    throw new RangeError(`There are ${cookies.length} cookies for ${count} functions`);
  }
  const one = count === 1 && symbols !== undefined ? symbols[0] : undefined;
  const kind = attachType === "trace_kprobe_session" ? "session" : options.return === true ? "kretprobe" : "kprobe";
  const target = `${kind}.multi ${one ?? options.pattern ?? `${count} function${count === 1 ? "" : "s"}`}`;
  const texts = symbols?.map((symbol) => kernelString(symbol)) ?? [];
  const attr = {
    "kprobe_multi.flags": options.return === true ? RETURN : 0,
    "kprobe_multi.cnt": count,
    ...(symbols === undefined
      ? { "kprobe_multi.addrs": u64Array(addresses!) }
      : { "kprobe_multi.syms": u64Array(texts.map((text) => program.owner.backend.addressOf(text))) }),
    ...(cookies === undefined ? {} : { "kprobe_multi.cookies": u64Array(cookies) }),
  };
  try {
    return createLink(program, attr, {
      type: "kprobe_multi",
      attachType,
      target,
      since: attachType === "trace_kprobe_session" ? "6.10" : "5.18",
      meanings: {
        ESRCH: "a function of that name is not there, or cannot be traced",
        EINVAL: "a function is not there, is given twice, or cannot be traced",
        EOPNOTSUPP: "this kernel was built without CONFIG_FPROBE",
        E2BIG: "these are too many functions",
      },
    });
  } finally {
    keepAlive(texts);
  }
}

/** @internal Functions that can be traced and match, each name once. */
export function traceable(program: Program, pattern: string, given: Tracefs | undefined): string[] {
  const tracefs = given ?? openTracefs(program.owner.backend);
  let text: string;
  try {
    text = readFileSync(`${tracefs.path}/available_filter_functions`, "utf8");
  } catch (cause) {
    throw new NotSupportedError("Finding functions by a pattern", {
      cause,
      hint: "available_filter_functions of tracefs cannot be read (lockdown, or no CONFIG_DYNAMIC_FTRACE): name the functions",
    });
  } finally {
    if (given === undefined) tracefs.close();
  }
  const matches = globMatcher(pattern);
  const seen = new Map<string, number>();
  for (const line of text.split("\n")) {
    const name = line.split(/\s/, 1)[0]!;
    if (name !== "" && matches(name)) seen.set(name, (seen.get(name) ?? 0) + 1);
  }
  // The kernel refuses names that stand for several functions.
  const names = [...seen].filter(([, times]) => times === 1).map(([name]) => name);
  if (names.length === 0) {
    throw new BpfError("ERR_ATTACH_TARGET", `No function that can be traced matches "${pattern}"`);
  }
  return names;
}

/**
 * Makes a matcher of a pattern with `*` (any characters) and `?` (one).
 *
 * @param pattern for example `tcp_*`
 */
export function globMatcher(pattern: string): (name: string) => boolean {
  const source = pattern
    .replace(/[.+^${}()|[\]\\]/g, "\\$&")
    .replace(/\*+/g, ".*")
    .replace(/\?/g, ".");
  const regular = new RegExp(`^${source}$`, "s");
  return (name) => regular.test(name);
}
