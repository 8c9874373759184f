import { decodeUtf8 } from "../bytes/index.ts";
import { NotSupportedError } from "../errors.ts";
import { progAssocStructOpsAttr, progStreamReadAttr } from "../kernel-abi/index.ts";
import { bpf, bpfError, rawBpf } from "../syscall/bpf.ts";
import { kernelBuffer } from "../syscall/call.ts";
import { errnoName } from "../syscall/errno.ts";
import type { Fd } from "../syscall/fd.ts";

/** Streams that a program writes: what it prints, and what the kernel reports of its faults. */
export const ProgramStream = { stdout: 1, stderr: 2 } as const;
/** Name of a stream. */
export type ProgramStream = keyof typeof ProgramStream;

const ROOM = 16 * 1024;
/** The kernel keeps 100,000 bytes of each stream: more can only come when the program goes on writing. */
const MOST = 1 << 20;

/**
 * Takes what a program has written to a stream (`BPF_PROG_STREAM_READ_BY_FD`, Linux 6.17): what was read is gone.
 *
 * @param owner descriptor of a program
 * @param stream which one
 * @returns text; empty when nothing is there
 * @throws NotSupportedError on kernels without streams; SyscallError
 */
export function readStream(owner: Fd, stream: ProgramStream): string {
  const number = ProgramStream[stream];
  if (number === undefined) throw new TypeError(`"${String(stream)}" is no stream: use stdout or stderr`);
  const parts: Uint8Array[] = [];
  let total = 0;
  while (total < MOST) {
    const room = kernelBuffer(ROOM);
    const attr = { stream_buf: room, stream_buf_len: room.length, stream_id: number, prog_fd: owner.number };
    const { result } = rawBpf(owner.backend, "BPF_PROG_STREAM_READ_BY_FD", progStreamReadAttr, attr);
    if (result < 0) {
      // Older kernels do not know the command. A program has each of the two streams, so nothing else is wrong.
      if (errnoName(result) === "EINVAL") {
        throw new NotSupportedError("Streams of programs", { minimumKernel: "6.17" });
      }
      throw bpfError("BPF_PROG_STREAM_READ_BY_FD", result, { action: `Cannot read ${stream} of ${owner.label}` });
    }
    if (result === 0) break;
    parts.push(room.subarray(0, result));
    total += result;
  }
  const bytes = new Uint8Array(total);
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return decodeUtf8(bytes);
}

/**
 * Associates a program with a struct_ops map (`BPF_PROG_ASSOC_STRUCT_OPS`, Linux 7.0): functions of the kernel that the
 * program calls then know which of several it means.
 *
 * @param owner descriptor of a program, not of type `struct_ops`
 * @param map descriptor of a `struct_ops` map
 * @throws SyscallError `EBUSY` when it is associated with another one, `EINVAL` on kernels without it
 */
export function associateStructOps(owner: Fd, map: number): void {
  const attr = { map_fd: map, prog_fd: owner.number };
  bpf(owner.backend, "BPF_PROG_ASSOC_STRUCT_OPS", progAssocStructOpsAttr, attr, {
    action: `Cannot associate ${owner.label} with a struct_ops map`,
    hint: "needs Linux 7.0, a program that is not of type struct_ops, and a map of type struct_ops",
  });
}
