import { bytes as bytesCodec, type Codec, makeCodec, u32, u64 } from "../bytes/index.ts";
import { BpfError } from "../errors.ts";
import { parseCpuList, readText } from "../syscall/host.ts";
import { MapFlag } from "./flags.ts";
import { isHandleMap, isIndexed, isPerCpu, isSocketMap, isStorage } from "./traits.ts";

/** Anything with a descriptor: an open map, program, perf event, or the number itself. */
export type Descriptor = number | { readonly fd: number };

/** Number of a descriptor. */
export function numberOf(descriptor: Descriptor): number {
  const number = typeof descriptor === "number" ? descriptor : descriptor?.fd;
  if (!(Number.isInteger(number) && number >= 0)) throw new TypeError(`Need a descriptor, not ${String(descriptor)}`);
  return number;
}

/** What is written as a descriptor and read as an id: entries of `prog_array`, `array_of_maps` and their kin. */
export const handle: Codec<number, Descriptor> = makeCodec<number, Descriptor>(
  4,
  4,
  (bytes, offset) => u32.decode(bytes, offset),
  (value, bytes, offset) => u32.encodeInto(numberOf(value), bytes, offset),
);

/**
 * A socket in a `sockmap`, `sockhash` or `reuseport_sockarray`: written as a descriptor, read as its cookie.
 *
 * @param size 8, or 4 for entries that cannot be read back
 */
function socketOf(size: 4 | 8): Codec<bigint, Descriptor> {
  return makeCodec<bigint, Descriptor>(
    size,
    size,
    (bytes, offset) => (size === 8 ? u64.decode(bytes, offset) : BigInt(u32.decode(bytes, offset))),
    (value, bytes, offset) => {
      if (size === 8) u64.encodeInto(BigInt(numberOf(value)), bytes, offset);
      else u32.encodeInto(numberOf(value), bytes, offset);
    },
  );
}

/** A socket: written as a descriptor, read as its cookie. */
export const socketHandle: Codec<bigint, Descriptor> = socketOf(8);

/** Where a `devmap` sends packets. */
export interface DeviceTarget {
  /** Index of the network interface. */
  readonly ifindex: number;
  /** Id of the program that runs on each packet before it leaves; 0 for none. */
  readonly programId: number;
}

/** Where a `devmap` is to send packets. */
export interface DeviceInput {
  /** Index of the network interface. */
  readonly ifindex: number;
  /** XDP program to run on each packet before it leaves, loaded for `BPF_XDP_DEVMAP`. */
  readonly program?: Descriptor | undefined;
}

/** How a `cpumap` hands packets to a CPU. */
export interface CpuTarget {
  /** Packets that may wait there. */
  readonly queueSize: number;
  /** Id of the program that runs on each packet there; 0 for none. */
  readonly programId: number;
}

/** How a `cpumap` is to hand packets to a CPU. */
export interface CpuInput {
  /** Packets that may wait there, 1 to 16384. */
  readonly queueSize: number;
  /** XDP program to run on each packet there, loaded for `BPF_XDP_CPUMAP`. */
  readonly program?: Descriptor | undefined;
}

/** A number and, in 8 bytes, a program: written as a descriptor, read as an id. */
function withProgram<V, I extends { readonly program?: Descriptor | undefined }>(
  size: 4 | 8,
  make: (number: number, programId: number) => V,
  numberIn: (value: I) => number,
): Codec<V, I> {
  return makeCodec<V, I>(
    size,
    4,
    (bytes, offset) => make(u32.decode(bytes, offset), size === 8 ? u32.decode(bytes, offset + 4) : 0),
    (value, bytes, offset) => {
      u32.encodeInto(numberIn(value), bytes, offset);
      const program = value.program === undefined ? 0 : numberOf(value.program);
      if (size === 8) u32.encodeInto(program, bytes, offset + 4);
      else if (program !== 0) throw new RangeError("A program needs values of 8 bytes");
    },
  );
}

function deviceOf(size: 4 | 8): Codec<DeviceTarget, DeviceInput> {
  return withProgram<DeviceTarget, DeviceInput>(
    size,
    (ifindex, programId) => ({ ifindex, programId }),
    ({ ifindex }) => ifindex,
  );
}

function cpuOf(size: 4 | 8): Codec<CpuTarget, CpuInput> {
  return withProgram<CpuTarget, CpuInput>(
    size,
    (queueSize, programId) => ({ queueSize, programId }),
    ({ queueSize }) => queueSize,
  );
}

/** Values of `devmap` and `devmap_hash` (Linux 5.8). */
export const deviceTarget: Codec<DeviceTarget, DeviceInput> = deviceOf(8);

/** Values of `cpumap` (Linux 5.9). */
export const cpuTarget: Codec<CpuTarget, CpuInput> = cpuOf(8);

/**
 * A stack as `stack_trace` maps keep it: addresses of code, innermost first, up to the first 0.
 *
 * @param depth most frames. Default 127, as deep as kernels go unless told otherwise
 */
export function stackTrace(depth = 127): Codec<bigint[], readonly bigint[]> {
  return makeCodec<bigint[], readonly bigint[]>(
    8 * depth,
    8,
    (bytes, offset) => {
      const frames: bigint[] = [];
      for (let i = 0; i < depth; i++) {
        const frame = u64.decode(bytes, offset + 8 * i);
        if (frame === 0n) break;
        frames.push(frame);
      }
      return frames;
    },
    (frames, bytes, offset) => {
      if (frames.length > depth) throw new RangeError(`A stack of ${frames.length} frames does not fit ${depth}`);
      bytes.fill(0, offset, offset + 8 * depth);
      for (const [i, frame] of frames.entries()) u64.encodeInto(frame, bytes, offset + 8 * i);
    },
  );
}

let cpus: readonly number[] | undefined;

/**
 * Ids of the CPUs that a per-CPU value has places for, in that order: the `n`th value is that of the `n`th id.
 *
 * @throws BpfError `ERR_NOT_SUPPORTED` when the kernel does not tell: the size of a buffer that it writes is not guessed
 */
export function valueCpus(): readonly number[] {
  if (cpus === undefined) {
    const text = readText("/sys/devices/system/cpu/possible");
    if (text === undefined) {
      throw new BpfError(
        "ERR_NOT_SUPPORTED",
        "Cannot use a per-CPU map: /sys/devices/system/cpu/possible is not there",
      );
    }
    cpus = parseCpuList(text);
  }
  return cpus;
}

/**
 * The values of all possible CPUs, each in a place of its own whose size is a multiple of 8.
 *
 * @param codec codec of the value of one CPU
 * @param count number of possible CPUs
 */
export function perCpu<V, I>(codec: Codec<V, I>, count: number): Codec<V[], readonly I[]> {
  const stride = Math.ceil(codec.size / 8) * 8;
  return makeCodec<V[], readonly I[]>(
    stride * count,
    8,
    (bytes, offset) => {
      const values: V[] = [];
      for (let i = 0; i < count; i++) values.push(codec.decode(bytes, offset + i * stride));
      return values;
    },
    (values, bytes, offset) => {
      if (!Array.isArray(values)) throw new TypeError("Values of a per-CPU map are arrays: one value for each CPU");
      if (values.length !== count)
        throw new RangeError(`Need ${count} values, one for each possible CPU, found ${values.length}`);
      for (let i = 0; i < count; i++) codec.encodeInto(values[i]!, bytes, offset + i * stride);
    },
  );
}

/** Codec of plain bytes, for maps without a schema. */
export function rawCodec(size: number): Codec<Uint8Array> {
  return bytesCodec(size);
}

/** A frame of a stack in a map with `stack_build_id`: where it is in a file rather than in memory. */
export interface BuildIdFrame {
  /** Build id of the file, 20 bytes; `undefined` where it has none, and `address` is what is known. */
  readonly buildId: Uint8Array | undefined;
  /** Offset in the file; with no build id the address in memory. */
  readonly address: bigint;
}

const BUILD_ID_BYTES = 20;
const BUILD_ID_FRAME = 32;
const BUILD_ID_VALID = 1;
/** `kernel.perf_event_max_stack`, unless it was changed. */
const DEEPEST_STACK = 127;

/**
 * A stack in a `stack_trace` map with the flag `stack_build_id`.
 *
 * @param depth most frames
 */
export function buildIdStack(depth: number): Codec<BuildIdFrame[]> {
  return makeCodec<BuildIdFrame[]>(
    BUILD_ID_FRAME * depth,
    8,
    (bytes, offset) => {
      const frames: BuildIdFrame[] = [];
      for (let i = 0, at = offset; i < depth; i++, at += BUILD_ID_FRAME) {
        const status = u32.decode(bytes, at);
        if (status === 0) break;
        const buildId = status === BUILD_ID_VALID ? bytes.slice(at + 4, at + 4 + BUILD_ID_BYTES) : undefined;
        frames.push({ buildId, address: u64.decode(bytes, at + 24) });
      }
      return frames;
    },
    () => {
      throw new TypeError("Stacks are written by programs only");
    },
  );
}

type AnyCodec = Codec<unknown, never>;

/**
 * The codec that keys of a type have when none is given.
 *
 * @param type map type
 * @param size bytes of a key, where they are given
 */
export function defaultKey(type: string, size?: number): AnyCodec | undefined {
  if (size !== undefined && size !== 4) return undefined;
  if (isIndexed(type) || type === "struct_ops" || type === "devmap_hash") return u32;
  return isStorage(type) ? (handle as AnyCodec) : undefined;
}

/**
 * The codec that values of a type have when none is given.
 *
 * @param type map type
 * @param size bytes of a value, where they are given
 * @param flags flags of the map
 */
export function defaultValue(type: string, size: number | undefined, flags: number): AnyCodec | undefined {
  const wide = size ?? 8;
  const known = wide === 4 || wide === 8;
  if (isHandleMap(type)) return size === undefined || size === 4 ? (handle as AnyCodec) : undefined;
  if (known && isSocketMap(type)) return socketOf(wide) as AnyCodec;
  if (known && (type === "devmap" || type === "devmap_hash")) return deviceOf(wide) as AnyCodec;
  if (known && type === "cpumap") return cpuOf(wide) as AnyCodec;
  if (type !== "stack_trace") return undefined;
  const frame = (flags & MapFlag.stack_build_id) === 0 ? 8 : BUILD_ID_FRAME;
  const depth = size === undefined ? DEEPEST_STACK : size / frame;
  if (!Number.isInteger(depth)) return undefined;
  return (frame === 8 ? stackTrace(depth) : buildIdStack(depth)) as AnyCodec;
}

/** The codec of what the kernel keeps for a key: the value, or the values of all CPUs. */
export function storedCodec(type: string, value: AnyCodec): AnyCodec {
  return isPerCpu(type) ? (perCpu(value, valueCpus().length) as AnyCodec) : value;
}

/**
 * Bytes that the kernel reads and writes for a key: the value, or the values of all possible CPUs, each in a place
 * whose size is a multiple of 8.
 */
export function storedSize({ type, valueSize }: { readonly type: string; readonly valueSize: number }): number {
  return isPerCpu(type) ? Math.ceil(valueSize / 8) * 8 * valueCpus().length : valueSize;
}
