import { encode, exit, type Instruction, link, mov, r0 } from "../asm/index.ts";
import { encodeBtf } from "../btf/index.ts";
import { decodeCString } from "../bytes/index.ts";
import { AttachType, btfLoadAttr, MapType, mapCreateAttr, ProgType, progLoadAttr } from "../kernel-abi/index.ts";
import type { AttrValues } from "./attr.ts";
import type { SyscallBackend } from "./backend.ts";
import { rawBpf } from "./bpf.ts";
import { kernelBuffer, toKernel } from "./call.ts";
import { errnoName } from "./errno.ts";
import { closeDescriptor } from "./fd.ts";
import { kernelVersion } from "./host.ts";
import { pageSize } from "./memory.ts";

/** @internal What came of trying something: the errno's name (`""` for success) and what the kernel said. */
export interface Attempt {
  readonly error: string;
  readonly log: string;
}

type ProgAttr = AttrValues<typeof progLoadAttr>;

const LOG_ROOM = 4096;
const F_SLEEPABLE = 1 << 4;
const F_NO_PREALLOC = 1;
const F_MMAPABLE = 1 << 10;
const RETURN_0: readonly Instruction[] = [mov(r0, 0), exit()];

/** Errors that say something about this process, or this moment, and nothing about the kernel. */
const INCONCLUSIVE: ReadonlySet<string> = new Set(
  "EPERM EACCES EMFILE ENFILE ENOMEM EAGAIN EINTR ENOSYS ENOSPC EBUSY".split(" "),
);

/** @internal Whether an error leaves open what the kernel can do. */
export function isInconclusive(error: string): boolean {
  return INCONCLUSIVE.has(error);
}

/** @internal What a program type needs to be loaded at all. */
function loadNeeds(type: ProgType): ProgAttr {
  switch (type) {
    case "kprobe": {
      // Before 5.0 a kprobe had to name the kernel it is for.
      const version = kernelVersion();
      if (version === undefined) return {};
      return { kern_version: (version.major << 16) | (version.minor << 8) | Math.min(255, version.patch) };
    }
    case "cgroup_sock_addr":
      return { expected_attach_type: AttachType.cgroup_inet4_connect };
    case "cgroup_sockopt":
      return { expected_attach_type: AttachType.cgroup_getsockopt };
    case "sk_lookup":
      return { expected_attach_type: AttachType.sk_lookup };
    case "netfilter":
      return { expected_attach_type: AttachType.netfilter };
    case "syscall":
      return { prog_flags: F_SLEEPABLE };
    case "tracing":
      return { expected_attach_type: AttachType.trace_fentry, attach_btf_id: 1 };
    case "lsm":
      return { expected_attach_type: AttachType.lsm_mac, attach_btf_id: 1 };
    case "ext":
      return { attach_btf_id: 1 };
    default:
      return {};
  }
}

/** @internal Loads a program and closes it; `fd` only for what is done with it in between. */
export function tryProgram(
  backend: SyscallBackend,
  type: ProgType,
  instructions: readonly Instruction[] = RETURN_0,
  more: ProgAttr = {},
  use?: (fd: number) => string,
): Attempt {
  const insns = toKernel(encode(link(instructions)));
  const log = kernelBuffer(LOG_ROOM);
  const { result } = rawBpf(backend, "BPF_PROG_LOAD", progLoadAttr, {
    prog_type: ProgType[type],
    insns,
    insn_cnt: insns.length / 8,
    license: "GPL",
    log_buf: log,
    log_size: log.length,
    log_level: 1,
    ...loadNeeds(type),
    ...more,
  });
  const text = decodeCString(log);
  if (result < 0) return { error: errnoName(result), log: text };
  try {
    return { error: use === undefined ? "" : use(result), log: text };
  } finally {
    closeDescriptor(backend, result);
  }
}

/** @internal Whether the kernel has a program type. */
export function probeProgramType(backend: SyscallBackend, type: ProgType): boolean | undefined {
  const { error, log } = tryProgram(backend, type);
  if (error === "") return true;
  // These cannot be loaded without a target: the kernel that knows them says what is wrong with the one given.
  if (/attach_btf_id 1 is not|Cannot replace kernel functions/.test(log)) return true;
  if (type === "struct_ops" && error === "ENOTSUPP") return true;
  return isInconclusive(error) && log === "" ? undefined : false;
}

type MapAttr = AttrValues<typeof mapCreateAttr>;

/** Attributes with which a map of a type can be created. */
function mapNeeds(backend: SyscallBackend, type: MapType): MapAttr {
  switch (type) {
    case "stack_trace":
      return { value_size: 8 };
    case "lpm_trie":
      return { key_size: 8, value_size: 8, map_flags: F_NO_PREALLOC };
    case "cgroup_storage":
    case "percpu_cgroup_storage":
      return { key_size: 16, value_size: 8, max_entries: 0 };
    case "queue":
    case "stack":
    case "bloom_filter":
      return { key_size: 0 };
    case "ringbuf":
    case "user_ringbuf":
      return { key_size: 0, value_size: 0, max_entries: pageSize(backend.architecture) };
    case "arena":
      return { key_size: 0, value_size: 0, map_flags: F_MMAPABLE };
    case "insn_array":
      return { value_size: 16 };
    case "rhash":
      return { map_flags: F_NO_PREALLOC };
    case "struct_ops":
      return { btf_vmlinux_value_type_id: 1 };
    default:
      return {};
  }
}

const STORAGE: ReadonlySet<MapType> = new Set<MapType>(["sk_storage", "inode_storage", "task_storage", "cgrp_storage"]);

/** Descriptor or `-errno` of a map; the caller closes it. */
function createRaw(backend: SyscallBackend, type: MapType, more: MapAttr = {}): number {
  const attr = { map_type: MapType[type], key_size: 4, value_size: 4, max_entries: 1, ...more };
  return rawBpf(backend, "BPF_MAP_CREATE", mapCreateAttr, attr).result;
}

function withDescriptor(backend: SyscallBackend, fd: number, use: (fd: number) => number): number {
  if (fd < 0) return fd;
  try {
    return use(fd);
  } finally {
    closeDescriptor(backend, fd);
  }
}

/** @internal Creates a map and closes it: 0 or `-errno`. */
export function tryMap(backend: SyscallBackend, type: MapType, more: MapAttr = {}): number {
  const made = (attr: MapAttr): number =>
    withDescriptor(backend, createRaw(backend, type, { ...attr, ...more }), () => 0);
  if (type === "array_of_maps" || type === "hash_of_maps") {
    return withDescriptor(backend, createRaw(backend, "hash"), (inner) => made({ inner_map_fd: inner }));
  }
  if (STORAGE.has(type)) {
    // Keys and values of these must be described.
    const image = toKernel(encodeBtf([{ kind: "int", name: "int", size: 4, signed: true }]));
    const { result } = rawBpf(backend, "BPF_BTF_LOAD", btfLoadAttr, { btf: image, btf_size: image.length });
    return withDescriptor(backend, result, (btf) =>
      made({ max_entries: 0, map_flags: F_NO_PREALLOC, btf_fd: btf, btf_key_type_id: 1, btf_value_type_id: 1 }),
    );
  }
  return made(mapNeeds(backend, type));
}

/** @internal Whether the kernel has a map type. */
export function probeMapType(backend: SyscallBackend, type: MapType): boolean | undefined {
  const result = tryMap(backend, type);
  if (result >= 0) return true;
  const error = errnoName(result);
  // A struct_ops map needs a struct of the kernel: type 1 is none, and that is what it says.
  if (type === "struct_ops" && error === "ENOTSUPP") return true;
  return isInconclusive(error) ? undefined : false;
}
