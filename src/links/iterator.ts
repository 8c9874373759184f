import { decodeUtf8 } from "../bytes/index.ts";
import { BpfError } from "../errors.ts";
import { CgroupIterOrder, encodeStruct, iterLinkInfo } from "../kernel-abi/index.ts";
import type { Program } from "../programs/index.ts";
import { call, keepAlive, kernelBuffer, toKernel } from "../syscall/call.ts";
import { iterCreate } from "../syscall/commands.ts";
import { errnoName } from "../syscall/errno.ts";
import { SyscallError } from "../syscall/errors.ts";
import type { Fd } from "../syscall/fd.ts";
import { createLink, requireType } from "./create.ts";
import type { HasDescriptor, Link } from "./link.ts";

/** What an iterator walks, where that is not everything. */
export interface IteratorOptions {
  /** For `bpf_map_elem`, `bpf_sk_storage_map` and `sockmap`: the map whose elements it walks. */
  readonly map?: HasDescriptor | undefined;
  /** For `cgroup`: where it starts, by descriptor of the folder or by number, and in which order it goes. */
  readonly cgroup?:
    | {
        readonly fd?: number | undefined;
        readonly id?: bigint | undefined;
        /** Default `self_only`. */
        readonly order?: CgroupIterOrder | undefined;
      }
    | undefined;
  /** For `task`, `task_file` and `task_vma`: one thread, or the threads of one process (Linux 6.1). */
  readonly task?:
    | { readonly tid?: number | undefined; readonly pid?: number | undefined; readonly pidFd?: number | undefined }
    | undefined;
}

/**
 * Makes an iterator of a program that was loaded for one (`iter/task`, `iter/bpf_map_elem`...). Each
 * {@link readIterator} of the link runs it over all there is; a pin of the link can be read with `cat`.
 *
 * @param program open program of type `tracing`, attach type `trace_iter`
 * @param options what it walks
 * @throws BpfError `ERR_TYPE_MISMATCH`; SyscallError `EINVAL` when it needs a map and none, or an unfit one, was given
 */
export function attachIterator(program: Program, options: IteratorOptions = {}): Link {
  const target = "an iterator";
  requireType(program, target, "tracing");
  const given = program.expectedAttachType;
  if (given !== undefined && given !== "trace_iter") {
    const message = `Cannot attach ${program.owner.label} as an iterator: it was loaded for ${given}`;
    throw new BpfError("ERR_TYPE_MISMATCH", message);
  }
  const info = targetInfo(options);
  const attr = info === undefined ? {} : { iter_info: toKernel(info), iter_info_len: info.length };
  return createLink(program, attr, {
    type: "iter",
    attachType: "trace_iter",
    target,
    since: "5.8",
    meanings: {
      EINVAL: "the iterator needs a target that was not given, takes none, or not this one",
      EBADF: "the iterator needs a map, a cgroup or a process, and none was given",
    },
  });
}

function targetInfo(options: IteratorOptions): Uint8Array | undefined {
  const { map, cgroup, task } = options;
  if ([map, cgroup, task].filter((one) => one !== undefined).length > 1) {
    throw new TypeError("An iterator walks a map, or a cgroup, or a task: give one of them");
  }
  if (map !== undefined) return encodeStruct(iterLinkInfo, { "map.map_fd": map.fd });
  if (cgroup !== undefined) {
    if (cgroup.fd !== undefined && cgroup.id !== undefined)
      throw new TypeError("Give fd or id of the cgroup, not both");
    return encodeStruct(iterLinkInfo, {
      "cgroup.order": CgroupIterOrder[cgroup.order ?? "self_only"],
      "cgroup.cgroup_fd": cgroup.fd,
      "cgroup.cgroup_id": cgroup.id,
    });
  }
  if (task !== undefined) {
    if (Object.values(task).filter((one) => one !== undefined).length !== 1) {
      throw new TypeError("Give one of tid, pid and pidFd of the task");
    }
    return encodeStruct(iterLinkInfo, { "task.tid": task.tid, "task.pid": task.pid, "task.pid_fd": task.pidFd });
  }
  return undefined;
}

const ROOM = 64 * 1024;
// The kernel answers EAGAIN after so many objects without output, to let others run. Each is progress.
const MAX_INTERRUPTIONS = 100_000;

/**
 * Runs an iterator once, piece by piece.
 *
 * @param link from {@link attachIterator}
 * @returns what the program wrote, as the kernel hands it over: pieces end anywhere
 * @throws SyscallError with what the program's callbacks failed with
 */
export function* iterate(link: Link): Generator<Uint8Array, void> {
  const walk = iterCreate(link.owner);
  try {
    const room = kernelBuffer(ROOM);
    for (let interruptions = 0; ; ) {
      const result = readInto(walk, room);
      if (result === 0) return;
      if (result > 0) {
        yield room.slice(0, result);
        continue;
      }
      const name = errnoName(result);
      if ((name === "EAGAIN" || name === "EINTR") && interruptions++ < MAX_INTERRUPTIONS) continue;
      const detail = name === "E2BIG" ? "one record is longer than the kernel's buffer of 32 KiB" : undefined;
      throw new SyscallError(`Cannot read ${link.target}`, "read", result, { detail });
    }
  } finally {
    walk.close();
  }
}

function readInto(file: Fd, room: Uint8Array): number {
  const args = [file.number, file.backend.addressOf(room), room.length];
  const result = call(file.backend, "read", args, () => ({ fd: file.number, count: room.length }));
  keepAlive(room);
  return result;
}

/**
 * Runs an iterator once.
 *
 * @param link from {@link attachIterator}
 * @returns all that the program wrote, with `bpf_seq_write` or `bpf_seq_printf`
 * @throws SyscallError
 */
export function readIterator(link: Link): Uint8Array {
  const pieces = [...iterate(link)];
  const all = new Uint8Array(pieces.reduce((length, piece) => length + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    all.set(piece, at);
    at += piece.length;
  }
  return all;
}

/**
 * Runs an iterator once, and reads what it wrote as text.
 *
 * @param link from {@link attachIterator}
 * @throws SyscallError
 */
export function readIteratorText(link: Link): string {
  return decodeUtf8(readIterator(link));
}

/** Reads one record of a fixed size: a codec of a map, or of BTF. */
export interface RecordDecoder<T> {
  /** Bytes of a record. */
  readonly size: number;
  /** Reads the record at an offset. */
  decode(bytes: Uint8Array, offset: number): T;
}

/**
 * Runs an iterator once, and reads what it wrote as records of one size.
 *
 * @param link from {@link attachIterator}
 * @param decoder size and shape of a record
 * @throws SyscallError; BpfError `ERR_TRUNCATED` when the program did not write whole records
 */
export function* iterateRecords<T>(link: Link, decoder: RecordDecoder<T>): Generator<T, void> {
  const { size } = decoder;
  if (!(size > 0)) throw new RangeError("Records of an iterator have a fixed size above 0");
  let rest: Uint8Array = new Uint8Array(0);
  for (const piece of iterate(link)) {
    let bytes = piece;
    if (rest.length > 0) {
      bytes = new Uint8Array(rest.length + piece.length);
      bytes.set(rest);
      bytes.set(piece, rest.length);
    }
    let at = 0;
    for (; at + size <= bytes.length; at += size) yield decoder.decode(bytes, at);
    rest = bytes.subarray(at);
  }
  if (rest.length > 0) {
    throw new BpfError("ERR_TRUNCATED", `${link.target} ended with ${rest.length} bytes of a record of ${size}`);
  }
}
