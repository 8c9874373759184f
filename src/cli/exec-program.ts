import {
  add,
  and,
  atomic,
  call,
  exit,
  type Instruction,
  jeq,
  label,
  ldMap,
  load,
  type MapReference,
  mov,
  program,
  r0,
  r1,
  r2,
  r3,
  r6,
  r7,
  r10,
  rsh,
  store,
} from "../asm/index.ts";
import { cstring, type StructCodec, struct, u32, u64 } from "../bytes/index.ts";

/** One process that started. */
export interface ExecEvent {
  readonly pid: number;
  readonly ppid: number;
  readonly uid: number;
  /** 1 when `ppid` is known. */
  readonly hasParent: number;
  /** Nanoseconds on the monotonic clock. */
  readonly time: bigint;
  readonly comm: string;
  readonly filename: string;
}

/** One process that started, as the program submits it. */
export const execEvent: StructCodec<ExecEvent> = struct({
  pid: u32,
  ppid: u32,
  uid: u32,
  hasParent: u32,
  time: u64,
  comm: cstring(16),
  filename: cstring(160),
});

/** What the program needs to know about the running kernel. */
export interface ExecKernel {
  /** Offset of `filename` in the record of `sched:sched_process_exec`, from its `format` file. */
  readonly filenameOffset: number;
  /** Offsets in `struct task_struct`, from the kernel's BTF; absent without BTF: then there is no parent. */
  readonly task: { readonly realParent: number; readonly tgid: number } | undefined;
}

/**
 * The program of the demo: reserves a record in the ring buffer, fills it in, submits it. When the ring is full it
 * counts the loss.
 *
 * @param kernel offsets on the running kernel
 * @param events ring buffer
 * @param lost array with one 64-bit counter
 */
export function execProgram(kernel: ExecKernel, events: MapReference, lost: MapReference): Instruction[] {
  const at = execEvent.offsets;
  return program(
    mov(r6, r1),
    ldMap(r1, events),
    mov(r2, execEvent.size),
    mov(r3, 0),
    call("ringbuf_reserve"),
    jeq(r0, 0, "full"),
    mov(r7, r0),

    call("get_current_pid_tgid"),
    rsh(r0, 32),
    store("u32", r7, at.pid, r0),
    call("get_current_uid_gid"),
    store("u32", r7, at.uid, r0),
    call("ktime_get_ns"),
    store("u64", r7, at.time, r0),
    parent(kernel),

    mov(r1, r7),
    add(r1, at.comm),
    mov(r2, 16),
    call("get_current_comm"),

    // `__data_loc`: where in the record the text is (low 16 bits), and how long it is.
    load("u32", r3, r6, kernel.filenameOffset),
    and(r3, 0xffff),
    add(r3, r6),
    mov(r1, r7),
    add(r1, at.filename),
    mov(r2, execEvent.size - at.filename),
    call("probe_read_kernel_str"),

    mov(r1, r7),
    mov(r2, 0),
    call("ringbuf_submit"),
    mov(r0, 0),
    exit(),

    label("full"),
    store("u32", r10, -4, 0),
    ldMap(r1, lost),
    mov(r2, r10),
    add(r2, -4),
    call("map_lookup_elem"),
    jeq(r0, 0, "out"),
    mov(r1, 1),
    atomic("add", "u64", r0, 0, r1),
    label("out"),
    mov(r0, 0),
    exit(),
  );
}

/** Reads `current->real_parent->tgid`, two pointers away. */
function parent(kernel: ExecKernel): Instruction[] {
  const at = execEvent.offsets;
  if (kernel.task === undefined) {
    return [store("u32", r7, at.ppid, 0), store("u32", r7, at.hasParent, 0)];
  }
  return [
    store("u32", r7, at.hasParent, 1),
    call("get_current_task"),
    mov(r3, r0),
    add(r3, kernel.task.realParent),
    mov(r1, r10),
    add(r1, -8),
    mov(r2, 8),
    call("probe_read_kernel"),
    load("u64", r3, r10, -8),
    add(r3, kernel.task.tgid),
    mov(r1, r7),
    add(r1, at.ppid),
    mov(r2, 4),
    call("probe_read_kernel"),
  ];
}
