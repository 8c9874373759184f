import { decodeUtf8 } from "../bytes/index.ts";
import {
  decodeStruct,
  infoByFdAttr,
  type MapType,
  MapType as MapTypes,
  mapInfo,
  nameOfValue,
  type StructOutput,
} from "../kernel-abi/index.ts";
import type { SyscallBackend } from "../syscall/backend.ts";
import { bpfError, rawBpf } from "../syscall/bpf.ts";
import { call, keepAlive, kernelBuffer } from "../syscall/call.ts";
import { errnoName } from "../syscall/errno.ts";
import { closeDescriptor, type Fd } from "../syscall/fd.ts";
import { kernelString } from "../syscall/mount.ts";

/** What a map is, as it was created. */
export interface MapDescription {
  /** Map type in the kernel's lower-case spelling, for example `hash`; a number for one that has no name here. */
  readonly type: MapType | (string & {});
  /** Name; empty when it has none. */
  readonly name: string;
  /** Bytes of a key. */
  readonly keySize: number;
  /** Bytes of a value; of one CPU's value in per-CPU maps. */
  readonly valueSize: number;
  /** Most entries it can hold. */
  readonly maxEntries: number;
  /** `BPF_F_*` flags it was created with. */
  readonly flags: number;
  /** What it means depends on the type: hash functions of a bloom filter, address of an arena. */
  readonly mapExtra: bigint;
}

/** All that the kernel tells about a map. What a kernel does not tell is 0, or `undefined` where 0 would mean something. */
export interface MapInfo extends MapDescription {
  /** Id in this kernel; 0 before Linux 4.13. */
  readonly id: number;
  /** Id of the BTF that describes key and value. */
  readonly btfId: number;
  /** Type of the key in that BTF. */
  readonly btfKeyTypeId: number;
  /** Type of the value in that BTF. */
  readonly btfValueTypeId: number;
  /** Type of the value in the kernel's BTF, for `struct_ops`. */
  readonly btfVmlinuxValueTypeId: number;
  /** Interface it is offloaded to; 0 for none. */
  readonly ifindex: number;
  /** Whether user space may not change it any more (`map.freeze`). */
  readonly frozen: boolean | undefined;
  /** Memory it takes, in bytes, by the kernel's own reckoning. */
  readonly memory: number | undefined;
  /** Type of the program that uses it, for a `prog_array` that one uses. */
  readonly ownerProgramType: number | undefined;
}

const AT_FDCWD = -100;
const O_CLOEXEC = 0o2000000;
const FDINFO_ROOM = 4096;

/**
 * Reads what `/proc/self/fdinfo` says of a descriptor.
 *
 * @returns values by name, for example `map_type`; `undefined` when it cannot be read
 */
export function readFdinfo(backend: SyscallBackend, fd: number): ReadonlyMap<string, string> | undefined {
  const path = `/proc/self/fdinfo/${fd}`;
  const name = kernelString(path);
  // Through the shim, not through the runtime: it is the shim's descriptor, and a fake kernel has its own.
  const file = call(backend, "openat", [AT_FDCWD, backend.addressOf(name), O_CLOEXEC, 0], () => ({
    path,
    flags: "O_CLOEXEC",
  }));
  keepAlive(name);
  if (file < 0) return undefined;
  try {
    const room = kernelBuffer(FDINFO_ROOM);
    const length = call(backend, "read", [file, backend.addressOf(room), room.length], () => ({ fd: file }));
    keepAlive(room);
    if (length < 0) return undefined;
    const found = new Map<string, string>();
    for (const line of decodeUtf8(room.subarray(0, length)).split("\n")) {
      const colon = line.indexOf(":");
      if (colon > 0) found.set(line.slice(0, colon), line.slice(colon + 1).trim());
    }
    return found;
  } finally {
    closeDescriptor(backend, file);
  }
}

/**
 * Asks the kernel what a map is: `BPF_OBJ_GET_INFO_BY_FD`, and `/proc/self/fdinfo` for what only stands there, or for
 * everything where that command is missing (before Linux 4.13).
 *
 * @param owner descriptor of a map
 * @throws SyscallError `EBADF` and others; `EINVAL` when it is no map
 */
export function readMapInfo(owner: Fd): MapInfo {
  const info = kernelBuffer(mapInfo.size);
  const { result } = rawBpf(owner.backend, "BPF_OBJ_GET_INFO_BY_FD", infoByFdAttr, {
    bpf_fd: owner.number,
    info_len: mapInfo.size,
    info,
  });
  const text = readFdinfo(owner.backend, owner.number);
  const fromText = (name: string): number | undefined => {
    const value = text?.get(name);
    return value === undefined ? undefined : Number(value);
  };
  const others = {
    frozen: fromText("frozen") === undefined ? undefined : fromText("frozen") === 1,
    memory: fromText("memlock"),
    ownerProgramType: fromText("owner_prog_type"),
  };
  if (result < 0 || (text !== undefined && !text.has("map_type"))) {
    const type = fromText("map_type");
    const missing = result < 0 && errnoName(result) === "EINVAL";
    if (type === undefined || !missing) {
      const detail = text === undefined || text.has("map_type") ? undefined : "it is no map";
      const action = `Cannot get information about ${owner.label}`;
      throw bpfError("BPF_OBJ_GET_INFO_BY_FD", result < 0 ? result : -22, { action, detail });
    }
    return {
      type: typeName(type),
      name: "",
      keySize: fromText("key_size") ?? 0,
      valueSize: fromText("value_size") ?? 0,
      maxEntries: fromText("max_entries") ?? 0,
      flags: fromText("map_flags") ?? 0,
      mapExtra: BigInt(text?.get("map_extra") ?? "0"),
      id: fromText("map_id") ?? 0,
      btfId: 0,
      btfKeyTypeId: 0,
      btfValueTypeId: 0,
      btfVmlinuxValueTypeId: 0,
      ifindex: 0,
      ...others,
    };
  }
  // An older kernel writes fewer bytes than there is room for; the rest stays 0.
  const fields = decodeStruct(mapInfo, info) as StructOutput<typeof mapInfo>;
  return {
    type: typeName(fields.type),
    name: fields.name,
    keySize: fields.key_size,
    valueSize: fields.value_size,
    maxEntries: fields.max_entries,
    flags: fields.map_flags,
    mapExtra: fields.map_extra,
    id: fields.id,
    btfId: fields.btf_id,
    btfKeyTypeId: fields.btf_key_type_id,
    btfValueTypeId: fields.btf_value_type_id,
    btfVmlinuxValueTypeId: fields.btf_vmlinux_value_type_id,
    ifindex: fields.ifindex,
    ...others,
  };
}

function typeName(number: number): string {
  return nameOfValue(MapTypes, number) ?? String(number);
}
