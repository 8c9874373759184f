import {
  add,
  call,
  encode,
  exit,
  type Instruction,
  ldMapValue,
  mov,
  r0,
  r1,
  r2,
  r3,
  r10,
  store,
} from "../asm/index.ts";
import { type BtfTypeSpec, encodeBtf } from "../btf/index.ts";
import { NotSupportedError } from "../errors.ts";
import {
  AttachType,
  BPF_F_MMAPABLE,
  btfLoadAttr,
  linkCreateAttr,
  MapType,
  mapBatchAttr,
  mapCreateAttr,
  ProgType,
  progBindMapAttr,
  progLoadAttr,
} from "../kernel-abi/index.ts";
import type { AttrValues } from "./attr.ts";
import type { SyscallBackend } from "./backend.ts";
import { rawBpf } from "./bpf.ts";
import { kernelBuffer, call as systemCall, toKernel } from "./call.ts";
import { errnoName } from "./errno.ts";
import { type BackendOption, backendOf } from "./select.ts";

/** @internal Asks a kernel, with a BPF token where one is given: the result of the deciding call, or `-errno`. */
export type Probe = (backend: SyscallBackend, token?: number) => number;

/** What is known of a feature, and how a kernel is asked for it. */
export interface Feature {
  /** What it is, in the kernel's terms. */
  readonly description: string;
  /** First release of Linux that has it. */
  readonly since: string;
  /** @internal */
  readonly probe: Probe;
  /** @internal Errors that are as good as success: the kernel knew what was asked, and got further. */
  readonly fineErrors?: readonly string[] | undefined;
}

const BPF_F_TOKEN_FD = 0x10000;
const PROGRAM = [mov(r0, 0), exit()];

/** Makes something, gives it back at once, and says how that went. */
function closing(backend: SyscallBackend, result: number): number {
  if (result < 0) return result;
  systemCall(backend, "close", [result], () => ({ fd: result }));
  return 0;
}

type ProgAttr = AttrValues<typeof progLoadAttr>;

function loadRaw(
  backend: SyscallBackend,
  type: ProgType,
  instructions: readonly Instruction[],
  more: ProgAttr,
  token: number | undefined,
): number {
  const insns = toKernel(encode(instructions));
  const delegated = token === undefined ? {} : { prog_flags: BPF_F_TOKEN_FD, prog_token_fd: token };
  const attr = { prog_type: ProgType[type], insns, insn_cnt: insns.length / 8, license: "GPL", ...more, ...delegated };
  return rawBpf(backend, "BPF_PROG_LOAD", progLoadAttr, attr).result;
}

function program(type: ProgType, instructions: readonly Instruction[] = PROGRAM, more: ProgAttr = {}): Probe {
  return (backend, token) => closing(backend, loadRaw(backend, type, instructions, more, token));
}

function createRaw(backend: SyscallBackend, more: AttrValues<typeof mapCreateAttr>, token: number | undefined): number {
  const flags = Number(more.map_flags ?? 0);
  const delegated = token === undefined ? {} : { map_flags: flags | BPF_F_TOKEN_FD, map_token_fd: token };
  const attr = { map_type: MapType.array, key_size: 4, value_size: 32, max_entries: 1, ...more, ...delegated };
  return rawBpf(backend, "BPF_MAP_CREATE", mapCreateAttr, attr).result;
}

function map(more: AttrValues<typeof mapCreateAttr>): Probe {
  return (backend, token) => closing(backend, createRaw(backend, more, token));
}

/** Does something with a map, and closes it. */
function withMap(
  backend: SyscallBackend,
  more: AttrValues<typeof mapCreateAttr>,
  token: number | undefined,
  use: (fd: number) => number,
): number {
  const fd = createRaw(backend, more, token);
  if (fd < 0) return fd;
  try {
    return use(fd);
  } finally {
    closing(backend, fd);
  }
}

function loadTypes(backend: SyscallBackend, types: readonly BtfTypeSpec[], token: number | undefined): number {
  const image = toKernel(encodeBtf([{ kind: "int", name: "int", size: 4, signed: true }, ...types]));
  return rawBpf(backend, "BPF_BTF_LOAD", btfLoadAttr, {
    btf: image,
    btf_size: image.length,
    ...(token === undefined ? {} : { btf_flags: BPF_F_TOKEN_FD, btf_token_fd: token }),
  }).result;
}

function btf(...types: readonly BtfTypeSpec[]): Probe {
  return (backend, token) => closing(backend, loadTypes(backend, types, token));
}

/** Functions of the program that {@link argumentTag} loads: slot and type of each. */
const TAGGED_FUNCTIONS = [0, 4, 2, 6];

/** A program with a global function whose parameter `void *` is said to be the context: only then may it use it so. */
function argumentTag(backend: SyscallBackend, token?: number): number {
  const proto = (name: string): BtfTypeSpec => ({ kind: "func_proto", returnType: 1, params: [{ name, type: 2 }] });
  const types: readonly BtfTypeSpec[] = [
    { kind: "ptr", type: 0 },
    proto("a"),
    { kind: "func", name: "a", type: 3, linkage: "global" },
    proto("b"),
    { kind: "func", name: "b", type: 5, linkage: "global" },
    { kind: "decl_tag", name: "arg:ctx", type: 6, componentIndex: 0 },
  ];
  const fd = loadTypes(backend, types, token);
  if (fd < 0) return fd;
  // The call leads over one instruction. bpf_get_func_ip takes nothing but the context.
  const code = [{ ...call(0), src: 1, imm: 1 }, exit(), call("get_func_ip"), exit()];
  const records = toKernel(new Uint8Array(Uint32Array.from(TAGGED_FUNCTIONS).buffer));
  const more = { prog_btf_fd: fd, func_info: records, func_info_cnt: 2, func_info_rec_size: 8 };
  const result = program("kprobe", code, more)(backend, token);
  closing(backend, fd);
  return result;
}

const POINTER: BtfTypeSpec = { kind: "ptr", type: 1 };
const VARIABLE: BtfTypeSpec = { kind: "var", name: "x", type: 1, linkage: "static" };
const SECTION = { kind: "datasec", size: 4, vars: [{ type: 2, offset: 0, size: 4 }] } as const;
const PROTO: BtfTypeSpec = { kind: "func_proto", returnType: 0, params: [{ name: "a", type: 1 }] };

/**
 * A directory cannot be probed (`EBADF`), where such links are known. Those of the first kernels that have them do not
 * keep to one process, and are as good as none: later ones check the number of the process first, and none has this one.
 */
function uprobeMulti(backend: SyscallBackend, token?: number): number {
  const prog = loadRaw(backend, "kprobe", PROGRAM, { expected_attach_type: AttachType.trace_uprobe_multi }, token);
  if (prog < 0) return prog;
  const link = (pid: number): number => {
    const { result } = rawBpf(backend, "BPF_LINK_CREATE", linkCreateAttr, {
      prog_fd: prog,
      attach_type: AttachType.trace_uprobe_multi,
      "uprobe_multi.path": toKernel(Uint8Array.of(0x2f, 0)),
      "uprobe_multi.offsets": kernelBuffer(8),
      "uprobe_multi.cnt": 1,
      "uprobe_multi.pid": pid,
    });
    return closing(backend, result);
  };
  const first = link(0);
  const second = first < 0 && errnoName(first) === "EBADF" ? link(0xffffffff) : undefined;
  closing(backend, prog);
  if (second === undefined) return first;
  return second < 0 && errnoName(second) === "EINVAL" ? 0 : first;
}

function featureTable<const Name extends string>(
  table: { readonly [N in Name]: Feature },
): {
  readonly [N in Name]: Feature;
} {
  return table;
}

/** Features that loading asks for, by name. */
export const FEATURES: { readonly [N in FeatureName]: Feature } = /* @__PURE__ */ (() =>
  featureTable({
    prog_name: {
      description: "names of programs and maps",
      since: "4.15",
      probe: program("socket_filter", PROGRAM, { prog_name: "probe" }),
    },
    expected_attach_type: {
      description: "expected attach types",
      since: "4.17",
      probe: program("cgroup_sock", [mov(r0, 1), exit()], {
        expected_attach_type: AttachType.cgroup_inet_sock_create,
      }),
    },
    btf: { description: "BTF", since: "4.18", probe: btf() },
    btf_func: {
      description: "BTF of functions, with func_info and line_info",
      since: "5.0",
      probe: btf(PROTO, { kind: "func", name: "f", type: 2, linkage: "static" }),
    },
    btf_datasec: {
      description: "BTF of variables and their sections",
      since: "5.2",
      probe: btf(VARIABLE, { ...SECTION, name: ".data" }),
    },
    global_data: {
      description: "global variables",
      since: "5.2",
      probe: (backend, token) =>
        withMap(backend, {}, token, (fd) =>
          program("socket_filter", [ldMapValue(r1, fd, 16), store("u64", r1, 0, 42), mov(r0, 0), exit()])(
            backend,
            token,
          ),
        ),
    },
    mmapable: {
      description: "mapping the values of array maps into memory",
      since: "5.5",
      probe: map({ map_flags: BPF_F_MMAPABLE }),
    },
    probe_read_kernel: {
      description: "bpf_probe_read_kernel and bpf_probe_read_user",
      since: "5.5",
      probe: program("tracepoint", [
        mov(r1, r10),
        add(r1, -8),
        mov(r2, 8),
        mov(r3, 0),
        call("probe_read_kernel"),
        mov(r0, 0),
        exit(),
      ]),
    },
    btf_func_global: {
      description: "BTF of global functions",
      since: "5.6",
      probe: btf(PROTO, { kind: "func", name: "f", type: 2, linkage: "global" }),
    },
    map_batch: {
      description: "batches of map operations",
      since: "5.6",
      probe: (backend, token) =>
        withMap(backend, { map_type: MapType.hash, value_size: 4 }, token, (fd) => {
          const attr = { map_fd: fd, keys: kernelBuffer(4), values: kernelBuffer(4), count: 1 };
          return rawBpf(backend, "BPF_MAP_UPDATE_BATCH", mapBatchAttr, attr).result;
        }),
    },
    prog_bind_map: {
      description: "binding maps to programs",
      since: "5.10",
      probe: (backend, token) =>
        withMap(backend, {}, token, (fd) => {
          const prog = loadRaw(backend, "socket_filter", PROGRAM, {}, token);
          if (prog < 0) return prog;
          const attr = { prog_fd: prog, map_fd: fd };
          const { result } = rawBpf(backend, "BPF_PROG_BIND_MAP", progBindMapAttr, attr);
          closing(backend, prog);
          return result;
        }),
    },
    memcg_account: {
      description: "counting the memory of maps and programs against the cgroup",
      since: "5.11",
      // A helper of the same release.
      probe: program("socket_filter", [call("ktime_get_coarse_ns"), mov(r0, 0), exit()]),
    },
    btf_float: {
      description: "BTF of floating-point numbers",
      since: "5.13",
      probe: btf({ kind: "float", name: "float", size: 4 }),
    },
    bpf_cookie: {
      description: "bpf_get_attach_cookie",
      since: "5.15",
      probe: program("tracepoint", [call("get_attach_cookie"), mov(r0, 0), exit()]),
    },
    perf_event_link: {
      description: "bpf_link for perf events",
      since: "5.15",
      // Descriptors that cannot be: where such links are known, that is what is wrong.
      probe: (backend, token) => {
        const prog = loadRaw(backend, "tracepoint", PROGRAM, {}, token);
        if (prog < 0) return prog;
        const attr = { prog_fd: prog, target_fd: 0x7fffffff, attach_type: AttachType.perf_event };
        const { result } = rawBpf(backend, "BPF_LINK_CREATE", linkCreateAttr, attr);
        closing(backend, prog);
        return closing(backend, result);
      },
      fineErrors: ["EBADF"],
    },
    btf_decl_tag: {
      description: "BTF declaration tags",
      since: "5.16",
      probe: btf(VARIABLE, { kind: "decl_tag", name: "tag", type: 2, componentIndex: -1 }),
    },
    btf_type_tag: {
      description: "BTF type tags",
      since: "5.17",
      probe: btf({ kind: "type_tag", name: "tag", type: 1 }, { kind: "ptr", type: 2 }),
    },
    btf_enum64: {
      description: "BTF of 64-bit enums",
      since: "6.0",
      probe: btf({ kind: "enum64", name: "e", size: 8, values: [{ name: "v", value: 1n }] }),
    },
    uprobe_multi: {
      description: "links of many uprobes",
      since: "6.6",
      probe: uprobeMulti,
    },
    arg_ctx_tag: {
      description: "parameters of global functions that a tag says to be the context",
      since: "6.8",
      probe: argumentTag,
    },
    btf_question_mark_datasec: {
      description: "BTF of sections whose names begin with a question mark",
      since: "6.9",
      probe: btf(VARIABLE, { ...SECTION, name: "?.data" }),
    },
    btf_attribute_tag: {
      description: "BTF tags that are any attribute",
      since: "6.14",
      probe: btf({ kind: "type_tag", name: "tag", type: 1, attribute: true }, { ...POINTER, type: 2 }),
    },
  }))();

/** Name of a feature in {@link FEATURES}. */
export type FeatureName =
  | "prog_name"
  | "expected_attach_type"
  | "btf"
  | "btf_func"
  | "btf_datasec"
  | "global_data"
  | "mmapable"
  | "probe_read_kernel"
  | "btf_func_global"
  | "map_batch"
  | "prog_bind_map"
  | "memcg_account"
  | "btf_float"
  | "bpf_cookie"
  | "perf_event_link"
  | "btf_decl_tag"
  | "btf_type_tag"
  | "btf_enum64"
  | "uprobe_multi"
  | "arg_ctx_tag"
  | "btf_question_mark_datasec"
  | "btf_attribute_tag";

// These say something about this process, or this moment, and nothing about the kernel.
const INCONCLUSIVE = new Set(["EPERM", "EMFILE", "ENFILE", "ENOMEM", "EAGAIN", "EINTR", "ENOSYS"]);

/** How a kernel is asked. */
export interface ProbeOptions extends BackendOption {
  /** Descriptor of a BPF token (Linux 6.9): what it does not allow cannot be told. */
  readonly token?: number | undefined;
}

const known = new WeakMap<SyscallBackend, Map<FeatureName, boolean>>();

/**
 * Asks the kernel whether it has a feature, by trying it. An answer is kept for the life of the shim; that there was
 * none, for want of privileges or memory, is not.
 *
 * @param name feature
 * @param options shim, token
 * @returns `undefined` when it cannot be told
 *
 * @example
 * ```ts
 * import { probeFeature } from "rawbpf/syscall";
 *
 * if (probeFeature("mmapable") === false) console.log("global variables are read by system calls here");
 * ```
 */
export function probeFeature(name: FeatureName, options: ProbeOptions = {}): boolean | undefined {
  const backend = backendOf(options);
  let answers = known.get(backend);
  if (answers === undefined) {
    answers = new Map();
    known.set(backend, answers);
  }
  const before = answers.get(name);
  if (before !== undefined) return before;
  const { probe, fineErrors } = FEATURES[name];
  const result = probe(backend, options.token);
  const error = result < 0 ? errnoName(result) : undefined;
  if (error !== undefined && INCONCLUSIVE.has(error)) return undefined;
  const answer = error === undefined || fineErrors?.includes(error) === true;
  answers.set(name, answer);
  return answer;
}

/**
 * Checks that the kernel has a feature. When it cannot be told, it is taken to be there: what needs it will say more.
 *
 * @param name feature
 * @param options shim, token
 * @throws NotSupportedError with the first release that has it
 */
export function requireFeature(name: FeatureName, options: ProbeOptions = {}): void {
  if (probeFeature(name, options) !== false) return;
  const { description, since } = FEATURES[name];
  throw new NotSupportedError(description, { minimumKernel: since });
}
