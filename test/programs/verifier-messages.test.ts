import { suite } from "uvu";
import * as assert from "uvu/assert";
import { assemble, type Instruction, instruction, link, withMeta } from "../../src/asm/index.ts";
import { type BtfTypeSpec, layoutBtf } from "../../src/btf/index.ts";
import { type AttachType, BPF_F_RDONLY_PROG, BPF_F_SLEEPABLE, type ProgType } from "../../src/kernel-abi/index.ts";
import { createMap } from "../../src/maps/index.ts";
import { loadProgram, VERIFIER_MESSAGES, VerifierError } from "../../src/programs/index.ts";
import { type KernelBtfCache, loadBtf, loadKernelBtf, openBackend } from "../../src/syscall/index.ts";
import { failOnLeaks, requires, rounds, skip } from "../support/harness.ts";

const test = suite("programs/verifier-messages");
failOnLeaks(test);

/** A program the verifier refuses, and what is to be said of it. */
interface Case {
  /** Name of the message in the table. */
  readonly message: string;
  readonly text: string;
  /** Slot of the instruction at fault; `undefined` where the kernel names none. */
  readonly at?: number | undefined;
  /** What the kernel says. */
  readonly says: RegExp;
  readonly type?: ProgType;
  readonly license?: string;
  readonly flags?: number;
  /** Instructions that the assembler would refuse, put before the text. */
  readonly before?: readonly Instruction[];
  readonly attachType?: AttachType;
  /** Typedef or function in the kernel's BTF that it is attached to. */
  readonly target?: string;
  /** Takes the kernel several seconds to write down. */
  readonly slow?: boolean;
  /** Whether functions are given types: the second one is global then. */
  readonly types?: boolean;
}

const LOOKUP = `
  *(u32 *)(r10 - 4) = 0
  r2 = r10
  r2 += -4
  r1 = counts ll
  call 1                          # map_lookup_elem`;

const CASES: readonly Case[] = [
  { message: "null_check", says: /'map_value_or_null'/, at: 6, text: `${LOOKUP}\n r0 = *(u32 *)(r0 + 0)\n exit` },
  {
    message: "null_check",
    says: /null-check it first/,
    at: 6,
    text: `${LOOKUP}\n r0 += 4\n if r0 == 0 goto out\n r0 = *(u32 *)(r0 + 0)\n out: r0 = 0\n exit`,
  },
  {
    message: "packet_bounds",
    says: /invalid access to packet, off=12 size=4/,
    at: 5,
    type: "xdp",
    text: `
      r2 = *(u32 *)(r1 + 0)
      r3 = *(u32 *)(r1 + 4)
      r4 = r2
      r4 += 14
      if r4 > r3 goto out
      r0 = *(u32 *)(r2 + 12)
      out: r0 = 2
      exit`,
  },
  {
    message: "not_a_pointer",
    says: /invalid mem access 'scalar'/,
    at: 1,
    text: "r1 = *(u32 *)(r1 + 0)\n r0 = *(u32 *)(r1 + 0)\n exit",
  },
  {
    message: "map_value_bounds",
    says: /invalid access to map value, value_size=16 off=16 size=4/,
    at: 7,
    text: `${LOOKUP}\n if r0 == 0 goto out\n r0 = *(u32 *)(r0 + 16)\n out: r0 = 0\n exit`,
  },
  {
    message: "map_value_bounds",
    says: /unbounded memory access|outside of the allowed memory range/,
    at: 9,
    text: `r6 = *(u32 *)(r1 + 0)\n${LOOKUP}\n if r0 == 0 goto out\n r0 += r6\n r0 = *(u8 *)(r0 + 0)\n out: r0 = 0\n exit`,
  },
  {
    message: "pointer_offset",
    says: /math between map_value pointer and register with unbounded min value/,
    at: 10,
    text: `r6 = *(u32 *)(r1 + 0)\n r6 -= 10\n${LOOKUP}\n if r0 == 0 goto out\n r6 *= r6\n r0 -= r6\n r0 = *(u8 *)(r0 + 0)\n out: r0 = 0\n exit`,
  },
  {
    message: "negative_size",
    says: /R4 min value is negative/,
    at: 5,
    text: "r4 = *(u32 *)(r1 + 0)\n r4 += -10\n r2 = 0\n r3 = r10\n r3 += -16\n call 26\n r0 = 0\n exit",
  },
  {
    message: "negative_size",
    says: /zero-sized/,
    at: 4,
    text: "r4 = 0\n r2 = 0\n r3 = r10\n r3 += -16\n call 26\n r0 = 0\n exit",
  },
  {
    message: "too_complex",
    says: /infinite loop detected/,
    at: 1,
    text: "r0 = 0\n again: if r0 != 1 goto again\n exit",
  },
  {
    message: "too_complex",
    says: /BPF program is too large\. Processed 1000001 insn/,
    at: 1,
    slow: true,
    text: "r0 = 0\n again: r0 += 1\n if r0 != 2000000 goto again\n exit",
  },
  {
    message: "too_complex",
    says: /The sequence of 8193 jumps is too complex/,
    at: 8193,
    text: `r0 = *(u32 *)(r1 + 0)\n${Array.from({ length: 8400 }, (_, i) => `if r0 == ${i} goto out`).join("\n")}\n out: exit`,
  },
  { message: "uninitialized", says: /R0 !read_ok/, at: 0, text: "exit" },
  { message: "uninitialized", says: /R1 !read_ok/, at: 1, text: "call 7\n r0 = r1\n exit" },
  {
    message: "helper_not_available",
    says: /program of this type cannot use helper bpf_redirect_map/,
    at: 4,
    text: "r1 = counts ll\n r2 = 0\n r3 = 0\n call 51\n exit",
  },
  { message: "helper_not_available", says: /unknown#9999/, at: 0, text: "call 9999\n exit" },
  {
    message: "gpl_only",
    says: /GPL-restricted function/,
    at: 4,
    type: "tracepoint",
    license: "Proprietary",
    text: "r1 = r10\n r1 += -8\n r2 = 8\n r3 = 0\n call 4\n r0 = 0\n exit",
  },
  {
    message: "stack_limit",
    says: /invalid write to stack R10 off=-520/,
    at: 0,
    text: "*(u64 *)(r10 - 520) = 0\n r0 = 0\n exit",
  },
  {
    message: "stack_limit",
    says: /combined stack size of \d calls is/,
    text: `
      *(u64 *)(r10 - 400) = 0
      call one
      r0 = 0
      exit
    one:
      *(u64 *)(r10 - 400) = 0
      call two
      r0 = 0
      exit
    two:
      *(u64 *)(r10 - 400) = 0
      r0 = 0
      exit`,
  },
  {
    message: "context_access",
    says: /invalid bpf_context access off=200 size=4/,
    at: 0,
    text: "r0 = *(u32 *)(r1 + 200)\n exit",
  },
  {
    message: "context_access",
    says: /dereference of modified ctx ptr R1 off=4/,
    at: 1,
    text: "r1 += 4\n r0 = *(u32 *)(r1 + 0)\n exit",
  },
  {
    message: "context_access",
    says: /variable ctx access/,
    at: 3,
    text: "r2 = *(u32 *)(r1 + 0)\n r2 &= 4\n r1 += r2\n r0 = *(u32 *)(r1 + 0)\n exit",
  },
  {
    message: "reference_leak",
    says: /Unreleased reference id=\d+ alloc_insn=4/,
    at: 6,
    text: "r1 = ring ll\n r2 = 8\n r3 = 0\n call 131\n r0 = 0\n exit",
  },
  {
    message: "return_value",
    says: /At program exit the register R0 has/,
    at: 1,
    type: "cgroup_sock",
    attachType: "cgroup_inet_sock_create",
    text: "r0 = 5\n exit",
  },
  { message: "unreachable", says: /unreachable insn 2/, at: 2, text: "r0 = 0\n exit\n r0 = 1\n exit" },
  { message: "no_exit", says: /last insn is not an exit or jmp/, text: "r0 = 0\n r0 = 1" },
  {
    message: "jump_range",
    says: /jump out of range from insn 1/,
    at: 1,
    text: "r0 = *(u32 *)(r1 + 0)\n if r0 == 1 goto inside\n call other\n exit\n other: r0 = 1\n inside: r0 = 2\n exit",
  },
  {
    message: "argument_type",
    says: /R1 type=scalar expected=map_ptr/,
    at: 3,
    text: "r1 = 0\n r2 = r10\n r2 += -4\n call 1\n r0 = 0\n exit",
  },
  {
    message: "argument_type",
    says: /R2 type=scalar expected=fp/,
    at: 3,
    text: "r1 = counts ll\n r2 = 5\n call 1\n r0 = 0\n exit",
  },
  {
    message: "constant_argument",
    says: /R2 (is not|must be) a known constant/,
    at: 4,
    text: "r2 = *(u32 *)(r1 + 0)\n r1 = ring ll\n r3 = 0\n call 131\n r0 = 0\n exit",
  },
  {
    message: "pointer_arithmetic",
    says: /pointer arithmetic with \*= operator prohibited/,
    at: 1,
    text: "r2 = r10\n r2 *= 2\n r0 = 0\n exit",
  },
  { message: "pointer_arithmetic", says: /pointer \+= pointer prohibited/, at: 0, text: "r1 += r10\n r0 = 0\n exit" },
  { message: "alignment", says: /misaligned stack access/, at: 0, text: "*(u64 *)(r10 - 12) = 0\n r0 = 0\n exit" },
  { message: "frame_pointer", says: /frame pointer is read only/, at: 0, text: "r10 = 1\n r0 = 0\n exit" },
  {
    message: "division_by_zero",
    says: /div by zero/,
    at: 1,
    before: [instruction(0xb7, 0), instruction(0x37, 0, 0, 0, 0)],
    text: "exit",
  },
  {
    message: "shift",
    says: /invalid shift 64/,
    at: 1,
    before: [instruction(0xb7, 0), instruction(0x67, 0, 0, 0, 64)],
    text: "exit",
  },
  { message: "unknown_opcode", says: /unknown opcode ff/, before: [instruction(0xff)], text: "r0 = 0\n exit" },
  { message: "unknown_opcode", says: /reserved fields/, at: 0, before: [instruction(0xbf, 0, 1, 7, 0)], text: "exit" },
  {
    message: "map_type",
    says: /cannot pass map_type 1 into func bpf_ringbuf_output/,
    at: 7,
    text: "*(u64 *)(r10 - 8) = 0\n r2 = r10\n r2 += -8\n r1 = counts ll\n r3 = 8\n r4 = 0\n call 130\n r0 = 0\n exit",
  },
  {
    message: "read_only",
    says: /write into map forbidden/,
    at: 8,
    text: "r1 = constants ll\n *(u32 *)(r10 - 4) = 0\n r2 = r10\n r2 += -4\n call 1\n if r0 == 0 goto out\n r1 = 1\n *(u32 *)(r0 + 0) = r1\n out: r0 = 0\n exit",
  },
  {
    message: "context_access",
    says: /BPF_ST stores into R1 ctx is not allowed|invalid bpf_context access/,
    at: 0,
    text: "*(u32 *)(r1 + 0) = 0\n r0 = 0\n exit",
  },
  {
    message: "stack_limit",
    says: /call stack of \d+ frames is too deep/,
    at: 3,
    text: "call f\n r0 = 0\n exit\n f: call f\n r0 = 0\n exit",
  },
  {
    message: "spilled_pointer",
    says: /attempt to corrupt spilled pointer on stack|invalid size of register fill|leaking pointer/,
    at: 1,
    text: "*(u64 *)(r10 - 8) = r1\n r0 = *(u32 *)(r10 - 8)\n exit",
  },
  {
    message: "sleepable",
    says: /programs can be sleepable/,
    flags: BPF_F_SLEEPABLE,
    text: "r0 = 0\n exit",
  },
  {
    message: "missing_kfunc",
    says: /calling kernel function bpf_task_from_pid is not allowed/,
    at: 1,
    text: "r1 = 1\n call bpf_task_from_pid\n r0 = 0\n exit",
  },
  {
    message: "region",
    says: /bpf_rcu_read_lock-ed region|bpf_rcu_read_unlock is missing/,
    at: 2,
    type: "syscall",
    flags: BPF_F_SLEEPABLE,
    text: "call bpf_rcu_read_lock\n r0 = 0\n exit",
  },
  {
    message: "region",
    says: /unmatched rcu read unlock/,
    at: 0,
    type: "syscall",
    flags: BPF_F_SLEEPABLE,
    text: "call bpf_rcu_read_unlock\n r0 = 0\n exit",
  },
  {
    message: "region",
    says: /preempt/,
    at: 2,
    type: "syscall",
    flags: BPF_F_SLEEPABLE,
    text: "call bpf_preempt_disable\n r0 = 0\n exit",
  },
  {
    message: "trusted_pointer",
    says: /Possibly NULL pointer passed to trusted arg0/,
    at: 3,
    type: "syscall",
    flags: BPF_F_SLEEPABLE,
    text: "r1 = 1\n call bpf_task_from_pid\n r1 = r0\n call bpf_task_release\n r0 = 0\n exit",
  },
  {
    message: "reference_leak",
    says: /Unreleased reference/,
    at: 3,
    type: "syscall",
    flags: BPF_F_SLEEPABLE,
    text: "r1 = 1\n call bpf_task_from_pid\n r0 = 0\n exit",
  },
  {
    message: "iterator",
    says: /expected an initialized iter_num as arg/,
    at: 2,
    type: "syscall",
    flags: BPF_F_SLEEPABLE,
    text: "r1 = r10\n r1 += -8\n call bpf_iter_num_next\n r0 = 0\n exit",
  },
  {
    message: "dynptr",
    says: /Expected an initialized dynptr as arg/,
    at: 8,
    text: "r1 = r10\n r1 += -32\n r2 = 8\n r3 = r10\n r3 += -16\n r4 = 0\n r5 = 0\n r6 = 0\n call 201\n r0 = 0\n exit",
  },
  {
    message: "kernel_memory",
    says: /only read is supported/,
    at: 2,
    type: "tracing",
    attachType: "trace_raw_tp",
    target: "btf_trace_sched_process_exit",
    text: "r1 = *(u64 *)(r1 + 0)\n r0 = 0\n *(u32 *)(r1 + 0) = r0\n exit",
  },
  {
    message: "kernel_memory",
    says: /access beyond struct task_struct/,
    at: 1,
    type: "tracing",
    attachType: "trace_raw_tp",
    target: "btf_trace_sched_process_exit",
    text: "r1 = *(u64 *)(r1 + 0)\n r0 = *(u64 *)(r1 + 30000)\n exit",
  },
  {
    message: "trusted_pointer",
    says: /must be /,
    at: 2,
    type: "tracing",
    attachType: "trace_raw_tp",
    target: "btf_trace_sched_process_exit",
    text: "r1 = *(u64 *)(r1 + 0)\n r1 = *(u64 *)(r1 + LAST_WAKEE)\n call bpf_task_acquire\n r0 = 0\n exit",
  },
  {
    message: "lock",
    says: /bpf_spin_lock/,
    at: 10,
    type: "sched_cls",
    text: `${LOOKUP.replace("counts", "locked")}\n if r0 == 0 goto out\n r1 = r0\n call 93\n out: r0 = 0\n exit`,
  },
  {
    message: "return_value",
    says: /At subprogram exit the register R0 is not a scalar value/,
    at: 5,
    types: true,
    text: "r1 = 5\n call helper\n r0 = 0\n exit\n helper: r0 = r10\n exit",
  },
  {
    message: "global_function",
    says: /Caller passes invalid args into func#1/,
    at: 1,
    types: true,
    text: "r1 = r10\n call helper\n r0 = 0\n exit\n helper: r0 = 0\n exit",
  },
  {
    message: "sleepable",
    says: /./,
    at: 5,
    type: "tracing",
    attachType: "trace_raw_tp",
    target: "btf_trace_sched_process_exit",
    text: "r1 = r10\n r1 += -8\n r2 = 8\n r3 = 0\n r6 = 0\n call 148\n r0 = 0\n exit",
  },
  {
    message: "same_instruction",
    says: /same insn cannot be used with different pointers/,
    at: 6,
    text: "r2 = r10\n r2 += -8\n *(u64 *)(r2 + 0) = 0\n r3 = *(u32 *)(r1 + 0)\n if r3 == 0 goto other\n r2 = r1\n other: r0 = *(u32 *)(r2 + 0)\n exit",
  },
];

const TYPES: readonly BtfTypeSpec[] = [
  { kind: "int", name: "int", size: 4, signed: true },
  { kind: "func_proto", returnType: 1, params: [] },
  { kind: "func", name: "main", type: 2, linkage: "global" },
  { kind: "func_proto", returnType: 1, params: [{ name: "value", type: 1 }] },
  { kind: "func", name: "helper", type: 4, linkage: "global" },
  { kind: "int", name: "unsigned int", size: 4 },
  {
    kind: "struct",
    name: "bpf_spin_lock",
    size: 4,
    members: [{ name: "val", type: 6, bitOffset: 0, bitfieldSize: 0 }],
  },
  {
    kind: "struct",
    name: "locked",
    size: 16,
    members: [
      { name: "lock", type: 7, bitOffset: 0, bitfieldSize: 0 },
      { name: "value", type: 6, bitOffset: 32, bitfieldSize: 0 },
      { name: "more", type: 6, bitOffset: 64, bitfieldSize: 0 },
      { name: "most", type: 6, bitOffset: 96, bitfieldSize: 0 },
    ],
  },
];

const statement = (line: number): string => `statement ${line}`;

/** Loads a program that has types and lines, and gives the error. */
function refuse(each: Case): unknown {
  const kernel = loadKernelBtf("vmlinux", { cache });
  const task = kernel.typeByName("task_struct", "struct");
  const members = task.kind === "struct" ? task.members : [];
  const lastWakee = (members.find((member) => member.name === "last_wakee")?.bitOffset ?? 0) / 8;
  const functionsOf = [...each.text.matchAll(/call (bpf_\w+)/g)].map(([, name]) => `.extern ${name}\n`);
  const text = functionsOf.join("") + each.text.replaceAll("LAST_WAKEE", String(lastWakee));
  const code = [...(each.before ?? []), ...assemble(text)];
  const lines = code.map((_, line) => statement(line));
  const { bytes, offsetOf } = layoutBtf(TYPES, { strings: new Set(["example.c", ...lines]) });
  using btf = loadBtf(openBackend(), bytes);
  using counts = createMap({ type: "hash", key: 4, value: 16, maxEntries: 4 });
  using ring = createMap({ type: "ringbuf", maxEntries: 4096 });
  using constants = createMap({ type: "array", key: 4, value: 4, maxEntries: 1, flags: BPF_F_RDONLY_PROG });
  using locked = createMap({
    type: "hash",
    key: 4,
    value: 16,
    maxEntries: 4,
    btf: { fd: btf.number, keyTypeId: 6, valueTypeId: 8 },
  });
  const kfuncs: Record<string, { btfId: number }> = {};
  for (const { meta } of code) {
    const name = meta?.reference;
    if (name?.startsWith("bpf_")) kfuncs[name] = { btfId: kernel.idsByName(name, "func")[0] ?? 0 };
  }
  const lined = code.map((insn, line) => {
    const labels = line === 0 ? [...(insn.meta?.labels ?? []), "main"] : insn.meta?.labels;
    return withMeta(insn, { labels, source: { file: "example.c", line: line + 1, column: 1, text: statement(line) } });
  });
  const maps = { counts: counts.fd, ring: ring.fd, constants: constants.fd, locked: locked.fd };
  const instructions = link(lined, { maps, kfuncs });
  const functions = [{ label: "main", type: 3 }, ...(each.types ? [{ label: "helper", type: 5 }] : [])];
  const single = !instructions.some(({ meta }) => meta?.labels?.some((label) => /^(one|two|other|f)$/.test(label)));
  try {
    loadProgram({
      type: each.type ?? "socket_filter",
      name: "example",
      instructions,
      license: each.license ?? "GPL",
      flags: each.flags,
      expectedAttachType: each.attachType,
      attachBtfId: each.target === undefined ? undefined : kernel.idsByName(each.target)[0],
      btf: single ? { fd: btf.number, functions, offsetOf } : undefined,
    }).close();
  } catch (error) {
    return error;
  }
  return undefined;
}

const cache: KernelBtfCache = new Map();

for (const each of CASES) {
  const name = `${each.message}: ${each.says.source}`;
  if (each.slow && rounds(0, 1) === 0) {
    skip(test, name, "takes the kernel 17 s: in the long run only");
    continue;
  }
  requires(
    test,
    "bpf",
    "net-admin",
    "kernel-btf",
  )(name, () => {
    const error = refuse(each);
    assert.instance(error, VerifierError);
    const { explanation, instruction, log, source, message } = error as VerifierError;
    assert.match(log, each.says);
    const found = VERIFIER_MESSAGES.find(({ meaning, fix }) => explanation?.endsWith(`${meaning}. ${fix}`));
    assert.is(found?.name, each.message, message);
    // Reports of newer kernels name an instruction where older ones name none.
    if (each.at !== undefined || !log.includes("Verification failed: ")) assert.is(instruction, each.at, log);
    if (each.at !== undefined) {
      assert.is(source?.file, "example.c");
      assert.match(message, new RegExp(` at example\\.c:${source?.line}$`));
    }
  });
}

test.run();
