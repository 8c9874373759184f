import type { Btf, BtfFunc, BtfFuncProto, BtfTypeSpec, TypeId } from "../btf/index.ts";
import type { FunctionSpec, ObjectProgramSpec } from "../elf/index.ts";
import type { ProgType } from "../kernel-abi/index.ts";
import type { Architecture } from "../syscall/backend.ts";

/** Tag of a parameter that is the program's context: `__arg_ctx`. */
const TAG = "arg:ctx";

const SKB = "__sk_buff";

/** Names of structs by which kernels before 6.8 recognise the context of a program; other types have none. */
const CONTEXTS: { readonly [T in ProgType]?: string } = {
  cgroup_device: "bpf_cgroup_dev_ctx",
  cgroup_skb: SKB,
  cgroup_sock: "bpf_sock",
  cgroup_sock_addr: "bpf_sock_addr",
  cgroup_sockopt: "bpf_sockopt",
  cgroup_sysctl: "bpf_sysctl",
  flow_dissector: SKB,
  kprobe: "bpf_user_pt_regs_t",
  lwt_in: SKB,
  lwt_out: SKB,
  lwt_seg6local: SKB,
  lwt_xmit: SKB,
  netfilter: "bpf_nf_ctx",
  perf_event: "bpf_perf_event_data",
  raw_tracepoint: "bpf_raw_tracepoint_args",
  raw_tracepoint_writable: "bpf_raw_tracepoint_args",
  sched_act: SKB,
  sched_cls: SKB,
  sk_lookup: "bpf_sk_lookup",
  sk_msg: "sk_msg_md",
  sk_reuseport: "sk_reuseport_md",
  sk_skb: SKB,
  sock_ops: "bpf_sock_ops",
  socket_filter: SKB,
  xdp: "xdp_md",
};

/** What `bpf_user_pt_regs_t` is. */
const REGISTERS: { readonly [A in Architecture]: string } = { x64: "pt_regs", arm64: "user_pt_regs" };

/** Functions of programs with the types that the kernel is given for them. */
export interface ContextArguments {
  /** All types: those of the object, behind them what was added. */
  readonly types: readonly BtfTypeSpec[];
  /** Functions of the programs that have others than the object says. */
  readonly functions: ReadonlyMap<ObjectProgramSpec, readonly FunctionSpec[]>;
  /** What is odd, one sentence each. */
  readonly warnings: readonly string[];
}

/**
 * Types of global functions as kernels before 6.8 want them, which do not know the tag `arg:ctx`: a parameter is the
 * context only if it points to the struct that belongs to the type of the program. Functions with a tagged parameter of
 * another type get a type of their own, once for each type of program that calls them. The object's own types stay.
 *
 * @param btf types of the object
 * @param programs programs that will be loaded
 * @param architecture of the machine: registers differ
 * @returns `undefined` when nothing has to be changed
 */
export function fixContextArguments(
  btf: Btf,
  programs: Iterable<ObjectProgramSpec>,
  architecture: Architecture,
): ContextArguments | undefined {
  const tagged = taggedParameters(btf);
  if (tagged.size === 0) return undefined;
  const types: BtfTypeSpec[] = [...btf.types()];
  const add = (type: BtfTypeSpec): TypeId => (btf.firstId + types.push(type) - 1) as TypeId;
  const pointers = new Map<string, TypeId>();
  const pointerTo = (name: string): TypeId => {
    let id = pointers.get(name);
    if (id === undefined) {
      id = add({ kind: "ptr", type: add({ kind: "struct", name, size: 0, members: [] }) });
      pointers.set(name, id);
    }
    return id;
  };
  const warnings = new Set<string>();
  const copies = new Map<string, TypeId>();
  const copyOf = (id: TypeId, program: ObjectProgramSpec, context: string): TypeId => {
    const key = `${program.type} ${id}`;
    const before = copies.get(key);
    if (before !== undefined) return before;
    const func = btf.typeById(id) as BtfFunc;
    const { returnType, params } = btf.typeById(func.type) as BtfFuncProto;
    const wrong = new Set<number>();
    for (const index of tagged.get(id)!) {
      const parameter = params[index];
      if (parameter === undefined) continue;
      const fits = judge(btf, parameter.type, program.type, context, architecture);
      if (fits === "other") {
        warnings.add(
          `Function "${func.name}", called by program "${program.name}": parameter ${index + 1} should be of type struct ${context} *, or void *`,
        );
      } else if (fits === "replace") wrong.add(index);
    }
    let copy = id;
    if (wrong.size > 0) {
      const pointer = pointerTo(context);
      const type = add({
        kind: "func_proto",
        returnType,
        params: params.map(({ name, type }, index) => ({ name, type: wrong.has(index) ? pointer : type })),
      });
      copy = add({ kind: "func", name: func.name, type, linkage: func.linkage });
    }
    copies.set(key, copy);
    return copy;
  };
  const functions = new Map<ObjectProgramSpec, readonly FunctionSpec[]>();
  for (const program of programs) {
    const context = CONTEXTS[program.type];
    if (context === undefined) continue;
    const fixed = program.functions.map((each) => {
      if (each.type === undefined || !tagged.has(each.type)) return each;
      const type = copyOf(each.type, program, context);
      return type === each.type ? each : { ...each, type };
    });
    if (fixed.some((each, index) => each !== program.functions[index])) functions.set(program, fixed);
  }
  return functions.size === 0 && warnings.size === 0 ? undefined : { types, functions, warnings: [...warnings] };
}

/** Whether a type has parameters that are tagged; a first look, for objects that need no second one. */
export function hasTaggedContext(btf: Btf): boolean {
  return btf.idsByName(TAG, "decl_tag").length > 0;
}

/** Numbers of tagged parameters by number of the global function. */
function taggedParameters(btf: Btf): Map<number, number[]> {
  const found = new Map<number, number[]>();
  for (const id of btf.idsByName(TAG, "decl_tag")) {
    const tag = btf.typeById(id);
    if (tag.kind !== "decl_tag" || tag.componentIndex < 0) continue;
    const func = btf.typeById(tag.type);
    if (func.kind !== "func" || func.linkage !== "global" || btf.typeById(func.type).kind !== "func_proto") continue;
    found.set(func.id, [...(found.get(func.id) ?? []), tag.componentIndex]);
  }
  return found;
}

/**
 * Whether older kernels take a parameter for the context, would take it if its type were replaced, or it is something
 * else, which they shall refuse.
 */
function judge(
  btf: Btf,
  id: number,
  type: ProgType,
  context: string,
  architecture: Architecture,
): "fits" | "replace" | "other" {
  const pointer = btf.resolve(id);
  if (pointer.kind !== "ptr") return "other";
  const registers = type === "kprobe" || type === "perf_event";
  if (registers && typedefsOf(btf, pointer.type).includes("bpf_user_pt_regs_t")) return "fits";
  const target = btf.resolve(pointer.type);
  if (target.kind === "void") return "replace";
  if (target.kind === "struct" && target.name === context) return "fits";
  if (registers && target.kind === "struct") {
    const known = type === "kprobe" ? ["pt_regs", REGISTERS[architecture]] : [REGISTERS[architecture]];
    if (known.includes(target.name)) return "replace";
  }
  const raw = type === "raw_tracepoint" || type === "raw_tracepoint_writable";
  if (raw && target.kind === "int" && target.size === 8) return "replace";
  return "other";
}

/** Names of the typedefs that a type goes through. */
function typedefsOf(btf: Btf, id: number): string[] {
  const names: string[] = [];
  for (let type = btf.typeById(id); ; type = btf.typeById(type.type)) {
    switch (type.kind) {
      case "typedef":
        names.push(type.name);
        break;
      case "const":
      case "volatile":
      case "restrict":
      case "type_tag":
        break;
      default:
        return names;
    }
  }
}
