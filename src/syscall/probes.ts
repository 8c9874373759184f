import {
  add,
  addrSpaceCast,
  atomic,
  bswap,
  call,
  exit,
  gotol,
  type Instruction,
  jeq,
  jlt,
  jne,
  label,
  load,
  loadAcquire,
  mayGoto,
  mov,
  movsx,
  program,
  r0,
  r1,
  r2,
  r5,
  r10,
  sdiv,
  store,
  sub,
  w0,
} from "../asm/index.ts";
import type { Btf } from "../btf/index.ts";
import { BtfError, NotSupportedError } from "../errors.ts";
import { AttachType, findHelper, type HelperName, MapType, ProgType } from "../kernel-abi/index.ts";
import type { SyscallBackend } from "./backend.ts";
import { type KernelBtfCache, kernelBtfNames, loadKernelBtf } from "./kernel-btf.ts";
import { probeAttachType } from "./probe-attach.ts";
import { isInconclusive, probeMapType, probeProgramType, tryProgram } from "./probe-types.ts";
import { type BackendOption, backendOf } from "./select.ts";

const answers = new WeakMap<SyscallBackend, Map<string, boolean>>();

/** Asks once: an answer is kept for the life of the shim; that there was none is not. */
function remembered(
  options: BackendOption,
  key: string,
  ask: (backend: SyscallBackend) => boolean | undefined,
): boolean | undefined {
  const backend = backendOf(options);
  let known = answers.get(backend);
  if (known === undefined) {
    known = new Map();
    answers.set(backend, known);
  }
  const before = known.get(key);
  if (before !== undefined) return before;
  const answer = ask(backend);
  if (answer !== undefined) known.set(key, answer);
  return answer;
}

function checkName(table: object, name: string, what: string): void {
  if (!Object.hasOwn(table, name)) throw new TypeError(`"${name}" is no ${what}`);
}

/**
 * Whether the kernel has a program type, found out by loading a program of it.
 *
 * @param type for example `xdp`
 * @param options shim
 * @returns `undefined` when it cannot be told: privileges are missing, or the kernel refuses before it looks
 *
 * @example
 * ```ts
 * import { haveProgramType } from "rawbpf/syscall";
 *
 * console.log(haveProgramType("xdp"), haveProgramType("lirc_mode2"));
 * ```
 */
export function haveProgramType(type: ProgType, options: BackendOption = {}): boolean | undefined {
  checkName(ProgType, type, "program type");
  if (type === "unspec") return false;
  return remembered(options, `prog ${type}`, (backend) => probeProgramType(backend, type));
}

/**
 * Whether the kernel has a map type, found out by creating a map of it.
 *
 * @param type for example `arena`
 * @param options shim
 * @returns `undefined` when it cannot be told
 */
export function haveMapType(type: MapType, options: BackendOption = {}): boolean | undefined {
  checkName(MapType, type, "map type");
  if (type === "unspec") return false;
  return remembered(options, `map ${type}`, (backend) => probeMapType(backend, type));
}

/**
 * Whether the kernel has an attach type. Programs and links are made for targets that cannot be: a kernel that knows the
 * attach type complains about the target, another one about the attach type.
 *
 * @param type for example `tcx_ingress`
 * @param options shim
 * @returns `undefined` when it cannot be told
 */
export function haveAttachType(type: AttachType, options: BackendOption = {}): boolean | undefined {
  checkName(AttachType, type, "attach type");
  return remembered(options, `attach ${type}`, (backend) => probeAttachType(backend, type));
}

const NO_HELPER = /invalid func |unknown func |program of this type cannot use helper /;

/**
 * Whether programs of a type may call a helper.
 *
 * Which helpers `tracing`, `lsm`, `ext` and `struct_ops` programs have depends on what they are attached to: there it
 * cannot be told.
 *
 * @param type program type
 * @param helper its name, with or without `bpf_`, or number
 * @param options shim
 * @returns `undefined` when it cannot be told
 * @throws TypeError when there is no such program type or helper
 *
 * @example
 * ```ts
 * import { haveHelper } from "rawbpf/syscall";
 *
 * haveHelper("xdp", "xdp_adjust_head"); // true
 * haveHelper("xdp", "get_current_comm");
 * ```
 */
export function haveHelper(
  type: ProgType,
  helper: HelperName | `bpf_${HelperName}` | number,
  options: BackendOption = {},
): boolean | undefined {
  checkName(ProgType, type, "program type");
  const number = typeof helper === "number" ? helper : findHelper(helper)?.number;
  if (number === undefined) throw new TypeError(`"${helper}" is no helper`);
  if (type === "tracing" || type === "lsm" || type === "ext" || type === "struct_ops") return undefined;
  return remembered(options, `helper ${type} ${number}`, (backend) => {
    const { error, log } = tryProgram(backend, type, [call(number), exit()]);
    if (error === "") return true;
    if (NO_HELPER.test(log)) return false;
    // It complains about arguments: the helper itself is fine.
    if (log !== "") return true;
    if (isInconclusive(error)) return undefined;
    return haveProgramType(type, { backend }) === false ? false : undefined;
  });
}

/** Levels of the instruction set as compilers count them (`-mcpu`), and instructions that came by themselves. */
export const INSTRUCTION_PROBES: {
  readonly [N in InstructionFeature]: { readonly since: string; readonly program: () => readonly Instruction[] };
} = /* @__PURE__ */ (() => ({
  v2: { since: "4.14", program: () => program(mov(r0, 0), jlt(r0, 1, "out"), mov(r0, 1), label("out"), exit()) },
  v3: { since: "5.1", program: () => program(mov(r0, 0), jlt(w0, 1, "out"), mov(r0, 1), label("out"), exit()) },
  v4: {
    since: "6.6",
    // All that came with it: 6.1 with fixes of later years knows gotol, and nothing of the rest.
    program: () =>
      program(
        store("u64", r10, -8, 4),
        load("s8", r1, r10, -8),
        movsx(r0, r1, 8),
        bswap(r0, 16),
        sdiv(r0, 2),
        gotol("out"),
        label("out"),
        exit(),
      ),
  },
  gotol: {
    since: "6.6",
    // A kernel that takes it for a conditional jump to the next instruction comes to where none may come.
    program: () =>
      program(mov(r0, 0), jeq(w0, 1, "bad"), gotol("out"), label("bad"), mov(r0, r5), label("out"), exit()),
  },
  atomic_fetch: {
    since: "5.12",
    program: () => [mov(r0, 1), store("u64", r10, -8, 0), atomic("fetch_add", "u64", r10, -8, r0), exit()],
  },
  movsx: { since: "6.6", program: () => [mov(r1, 1), movsx(r0, r1, 8), exit()] },
  ldsx: { since: "6.6", program: () => [store("u64", r10, -8, 0), load("s8", r0, r10, -8), exit()] },
  bswap: { since: "6.6", program: () => [mov(r0, 1), bswap(r0, 16), exit()] },
  sdiv: { since: "6.6", program: () => [mov(r0, 4), sdiv(r0, 2), exit()] },
  may_goto: { since: "6.9", program: () => program(mov(r0, 0), mayGoto("out"), label("out"), exit()) },
  addr_space_cast: {
    since: "6.9",
    program: () => [mov(r1, 0), addrSpaceCast(r2, r1, 0, 1), mov(r0, 0), exit()],
  },
  load_acquire: { since: "6.15", program: () => [store("u64", r10, -8, 0), loadAcquire("u64", r0, r10, -8), exit()] },
}))();

/** A level of the instruction set, or an instruction. */
export type InstructionFeature =
  | "v2"
  | "v3"
  | "v4"
  | "gotol"
  | "atomic_fetch"
  | "movsx"
  | "ldsx"
  | "bswap"
  | "sdiv"
  | "may_goto"
  | "addr_space_cast"
  | "load_acquire";

/**
 * Whether the kernel has a level of the instruction set, or a single instruction: a program with it is loaded.
 *
 * @param feature `v2`, `v3` or `v4`, as `-mcpu` of compilers, or an instruction
 * @param options shim
 * @returns `undefined` when it cannot be told
 */
export function haveInstructions(feature: InstructionFeature, options: BackendOption = {}): boolean | undefined {
  checkName(INSTRUCTION_PROBES, feature, "level of the instruction set");
  return remembered(options, `isa ${feature}`, (backend) => {
    const { error, log } = tryProgram(backend, "socket_filter", INSTRUCTION_PROBES[feature].program());
    if (error === "") return true;
    // A cast needs an arena: the kernel that says so knows the instruction.
    if (feature === "addr_space_cast" && /arena/.test(log)) return true;
    return isInconclusive(error) && log === "" ? undefined : false;
  });
}

const OLD_LIMIT = 4096;

/**
 * Whether programs may have more than 4096 instructions: up to a million (Linux 5.2).
 *
 * @param options shim
 * @returns `undefined` when it cannot be told
 */
export function haveLargePrograms(options: BackendOption = {}): boolean | undefined {
  return remembered(options, "large", (backend) => {
    const instructions = [...Array.from({ length: OLD_LIMIT }, () => mov(r0, 0)), exit()];
    const { error } = tryProgram(backend, "socket_filter", instructions, { log_buf: 0, log_size: 0, log_level: 0 });
    if (error === "") return true;
    return isInconclusive(error) ? undefined : false;
  });
}

/**
 * Whether programs may have loops that end (Linux 5.3).
 *
 * @param options shim
 * @returns `undefined` when it cannot be told
 */
export function haveBoundedLoops(options: BackendOption = {}): boolean | undefined {
  return remembered(options, "loops", (backend) => {
    const instructions = program(mov(r0, 10), label("again"), sub(r0, 1), jne(r0, 0, "again"), add(r0, 0), exit());
    const { error, log } = tryProgram(backend, "socket_filter", instructions);
    if (error === "") return true;
    return isInconclusive(error) && log === "" ? undefined : false;
  });
}

/**
 * Whether the kernel, or one of its modules, has a function that programs may call (a kfunc). Kernels since 6.10 mark
 * them in their BTF; of older ones only a function that is not there can be told.
 *
 * @param name for example `bpf_task_from_pid`
 * @param options where the kernel's BTF is looked for; `cache` saves reading it each time
 * @returns `undefined` when it cannot be told
 */
export function haveKfunc(
  name: string,
  options: { readonly cache?: KernelBtfCache | undefined; readonly root?: string | undefined } = {},
): boolean | undefined {
  const cache = options.cache ?? new Map<string, Btf>();
  let marked = false;
  let there = false;
  const root = options.root === undefined ? {} : { root: options.root };
  for (const each of kernelBtfNames(root)) {
    let btf: Btf;
    try {
      btf = loadKernelBtf(each, { ...root, cache });
    } catch (error) {
      if (error instanceof NotSupportedError || error instanceof BtfError) continue;
      throw error;
    }
    for (const id of btf.idsByName(name, "func")) {
      there = true;
      if (btf.declTags(id).some((tag) => tag.name === "bpf_kfunc")) return true;
    }
    marked ||= btf.idsByName("bpf_kfunc", "decl_tag").length > 0;
  }
  if (cache.size === 0) return undefined;
  return there && !marked ? undefined : false;
}
