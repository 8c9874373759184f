import { decodeCString } from "../bytes/index.ts";
import { taskFdQueryAttr } from "../kernel-abi/index.ts";
import { bpfError } from "../syscall/bpf.ts";
import { kernelBuffer } from "../syscall/call.ts";
import { taskFdQuery } from "../syscall/commands.ts";
import { errnoName } from "../syscall/errno.ts";
import { type BackendOption, backendOf } from "../syscall/select.ts";

/** What a perf event, or an attachment to a raw tracepoint, of a process runs, and where. */
export type TaskFd =
  | { readonly kind: "raw_tracepoint" | "tracepoint"; readonly programId: number; readonly name: string }
  | {
      readonly kind: "kprobe" | "kretprobe";
      readonly programId: number;
      /** Function; empty when it was given by address. */
      readonly name: string;
      /** Bytes from its start. */
      readonly offset: bigint;
      /** Address; 0 when it was given by name, or the kernel hides it. */
      readonly address: bigint;
    }
  | {
      readonly kind: "uprobe" | "uretprobe";
      readonly programId: number;
      /** Path of the binary. */
      readonly name: string;
      /** Place in the file, bytes. */
      readonly offset: bigint;
    };

const KINDS = ["raw_tracepoint", "tracepoint", "kprobe", "kretprobe", "uprobe", "uretprobe"] as const;
const FIRST_ROOM = 256;
const LARGEST_ROOM = 64 * 1024;

/**
 * Tells what a descriptor of a process runs (`BPF_TASK_FD_QUERY`, Linux 4.18).
 *
 * @param pid process
 * @param fd number of a descriptor in that process: a perf event with a program, or a raw tracepoint's
 * @param options shim
 * @returns `undefined` when it is none of them
 * @throws SyscallError `ENOENT` for a process that there is none of, `EBADF`, `EPERM` without CAP_SYS_ADMIN
 */
export function queryTaskFd(pid: number, fd: number, options: BackendOption = {}): TaskFd | undefined {
  const backend = backendOf(options);
  const { fields } = taskFdQueryAttr;
  for (let size = FIRST_ROOM; ; ) {
    const room = kernelBuffer(size);
    const { result, attr } = taskFdQuery(backend, { pid, fd, buf: room, buf_len: size });
    const name = result < 0 ? errnoName(result) : "";
    const needed = attr.readU32(fields.buf_len.offset) + 1;
    if (name === "ENOSPC" && size < LARGEST_ROOM) {
      size = Math.min(LARGEST_ROOM, Math.max(needed, size * 2));
      continue;
    }
    if (name === "ENOTSUPP" || name === "EOPNOTSUPP") return undefined;
    if (result < 0) {
      throw bpfError("BPF_TASK_FD_QUERY", result, {
        action: `Cannot ask what descriptor ${fd} of process ${pid} runs`,
      });
    }
    const view = new DataView(attr.bytes.buffer);
    const kind = KINDS[attr.readU32(fields.fd_type.offset)];
    const programId = attr.readU32(fields.prog_id.offset);
    const text = decodeCString(room);
    const offset = view.getBigUint64(fields.probe_offset.offset, true);
    const address = view.getBigUint64(fields.probe_addr.offset, true);
    switch (kind) {
      case undefined:
        return undefined;
      case "raw_tracepoint":
      case "tracepoint":
        return { kind, programId, name: text };
      case "kprobe":
      case "kretprobe":
        return { kind, programId, name: text, offset, address };
      default:
        return { kind, programId, name: text, offset };
    }
  }
}
