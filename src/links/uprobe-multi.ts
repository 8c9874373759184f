import { BpfError } from "../errors.ts";
import type { Program } from "../programs/index.ts";
import { createLink, requireType } from "./create.ts";
import type { Link } from "./link.ts";
import { u64Array } from "./number-arrays.ts";
import { type UprobePlace, UprobePlaces } from "./uprobe-place.ts";

/** Which places, and how. */
export interface UprobeMultiOptions {
  /** Functions by name, or offsets in the file. */
  readonly places?: readonly UprobePlace[] | undefined;
  /** Functions whose names match, with `*` and `?`. */
  readonly pattern?: string | undefined;
  /** A value for `get_attach_cookie` for each place. */
  readonly cookies?: readonly bigint[] | undefined;
  /** For each place, the offset in the file of a counter that the kernel raises while the probe is there; 0 for none. */
  readonly referenceCounterOffsets?: readonly (number | bigint)[] | undefined;
  /** At the returns of the functions. */
  readonly return?: boolean | undefined;
  /** Only this process; default: all that run the file. */
  readonly pid?: number | undefined;
}

const RETURN = 1;

/**
 * Attaches a program of type `kprobe`, loaded for `trace_uprobe_multi` or `trace_uprobe_session`, to many places of a program
 * or library by one link (Linux 6.6; session 6.13). All or none.
 *
 * @param program open program
 * @param binary path or name, as `attachUprobe` takes it
 * @param options places or a pattern; cookies, process
 * @returns the attachment: close it to detach
 * @throws NotSupportedError on kernels without; BpfError `ERR_FILE_NOT_FOUND`, `ERR_SYMBOL_NOT_FOUND`;
 *   SyscallError
 */
export function attachUprobeMulti(program: Program, binary: string, options: UprobeMultiOptions): Link {
  const attachType = program.expectedAttachType ?? "trace_uprobe_multi";
  const file = new UprobePlaces(binary, options.pid);
  const { path } = file;
  requireType(program, path, "kprobe");
  if (attachType !== "trace_uprobe_multi" && attachType !== "trace_uprobe_session") {
    const message = `Cannot attach ${program.owner.label} to ${path}: it was loaded for ${attachType}`;
    throw new BpfError("ERR_TYPE_MISMATCH", message);
  }
  const { places, pattern, cookies, referenceCounterOffsets } = options;
  if ((places === undefined) === (pattern === undefined)) throw new TypeError("Give places or a pattern");
  if (pattern !== undefined && (cookies !== undefined || referenceCounterOffsets !== undefined)) {
    throw new TypeError("Cookies and counters go with places: the order of a pattern's matches is not known");
  }
  const session = attachType === "trace_uprobe_session";
  const kind = session ? "session" : options.return === true ? "uretprobe" : "uprobe";
  const label = `${kind}.multi of ${path}`;
  const offsets = pattern === undefined ? places!.map((place) => file.offsetOf(place)) : file.matching(pattern);
  if (offsets.length === 0) throw new RangeError("There are no places to attach to");
  for (const [name, list] of [
    ["cookies", cookies],
    ["counters", referenceCounterOffsets],
  ] as const) {
    if (list !== undefined && list.length !== offsets.length) {
      throw new RangeError(`There are ${list.length} ${name} for ${offsets.length} places`);
    }
  }
  const attr = {
    "uprobe_multi.path": path,
    "uprobe_multi.offsets": u64Array(offsets),
    "uprobe_multi.cnt": offsets.length,
    "uprobe_multi.flags": options.return === true ? RETURN : 0,
    "uprobe_multi.pid": options.pid ?? 0,
    ...(cookies === undefined ? {} : { "uprobe_multi.cookies": u64Array(cookies) }),
    ...(referenceCounterOffsets === undefined
      ? {}
      : { "uprobe_multi.ref_ctr_offsets": u64Array(referenceCounterOffsets) }),
  };
  return createLink(program, attr, {
    type: "uprobe_multi",
    attachType,
    target: `${label}: ${offsets.length} place${offsets.length === 1 ? "" : "s"}`,
    since: session ? "6.13" : "6.6",
    meanings: {
      EINVAL: "the kernel does not take one of the places: no instruction begins there, or the file cannot be executed",
      EBADF: "the file is not there, or cannot be executed",
      ESRCH: `there is no process ${options.pid}`,
      E2BIG: "these are too many places",
    },
  });
}
