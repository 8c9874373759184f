// Browser-safe.

import {
  decodeStruct,
  encodeStruct,
  type ProgType,
  type StructInput,
  type StructLayout,
} from "../../kernel-abi/index.ts";
import { type Memory, Permission, READ_WRITE, type Region } from "../memory.ts";
import { HEAD_ROOM, Packet } from "../packet.ts";
import type { Run } from "../run-state.ts";
import { type ContextShape, contextShape, WRITABLE_BYTES } from "./layouts.ts";

/** Fields of a context by name, as the layouts of `rawbpf/kernel-abi` have them. */
export type ContextFields = Readonly<Record<string, number | bigint | Uint8Array | readonly (number | bigint)[]>>;

/** What a program is given to run on. */
export interface MachineInput {
  /** Packet, from its Ethernet header on, for programs that see packets. Default: 64 zeros for those. */
  readonly data?: Uint8Array | undefined;
  /**
   * Context: the bytes of the struct or of the registers, or for types whose context has a layout its fields by name.
   * Of an `xdp_md`, `data` is the number of bytes of metadata in front of the packet, as in `BPF_PROG_TEST_RUN`.
   */
  readonly context?: Uint8Array | ContextFields | undefined;
}

const ETHERNET_HEADER = 14;
const DEFAULT_PACKET = 64;
/** Types that see packets from the Ethernet header on; others with an `__sk_buff` see them from what follows it. */
const LINK_LAYER: ReadonlySet<ProgType> = /* @__PURE__ */ new Set<ProgType>(["sched_cls", "sched_act"]);
/** Types that reach the packet by helpers only. */
const NO_DIRECT: ReadonlySet<ProgType> = /* @__PURE__ */ new Set<ProgType>(["socket_filter", "flow_dissector"]);
const READ_ONLY: ReadonlySet<ProgType> = /* @__PURE__ */ new Set<ProgType>(["lwt_in", "lwt_out", "cgroup_skb"]);
const POINTERS = ["data", "data_end", "data_meta"] as const;
/** Loopback, which packets of a test come from in the kernel too. */
const LOOPBACK = 1;

/** A context in memory, and what it works on. */
export class Input {
  readonly #memory: Memory;
  readonly #run: Run;
  readonly #shape: ContextShape | undefined;
  readonly #region: Region | undefined;
  readonly #given: boolean;

  /**
   * Puts packet and context into memory.
   *
   * @throws TypeError for data that a program of the type does not take, or a context without layout given as fields
   * @throws RangeError for a context that is too long, or a value that does not fit
   */
  constructor(run: Run, input: MachineInput) {
    const { type, memory } = run;
    this.#memory = memory;
    this.#run = run;
    this.#given = input.context !== undefined;
    const shape = contextShape(type);
    this.#shape = shape;
    const isPacket = shape !== undefined && "data_end" in shape.layout.fields && shape.layout.fields.data!.size === 4;
    if (!isPacket && input.data !== undefined) throw new TypeError(`A ${type} program takes no data`);
    const bytes = contextBytes(type, shape, input.context);
    if (isPacket) this.#makePacket(type, input.data ?? new Uint8Array(DEFAULT_PACKET), bytes);
    if (bytes.length === 0) return;
    this.#region = memory.allocate({
      kind: "context",
      name: shape?.layout.name ?? `of a ${type} program`,
      size: bytes.length,
      permission: shape === undefined && WRITABLE_BYTES.has(type) ? READ_WRITE : Permission.read,
    });
    memory.bytes.set(bytes, this.#region.start);
    run.contextAddress = this.#region.start;
    if (shape === undefined) return;
    if (isPacket && type !== "xdp") this.#describePacket(shape.layout);
    this.#protect(shape);
    if (isPacket) {
      run.packetMoved = () => this.#place(shape.layout);
      this.#place(shape.layout);
    }
  }

  #makePacket(type: ProgType, data: Uint8Array, context: Uint8Array): void {
    if (data.length < ETHERNET_HEADER) {
      throw new RangeError(`A packet needs ${ETHERNET_HEADER} bytes (an Ethernet header) or more, not ${data.length}`);
    }
    let metadata = 0;
    if (type === "xdp") {
      metadata = context[0]! | (context[1]! << 8);
      if (metadata % 4 !== 0 || metadata > HEAD_ROOM - 4 || metadata > data.length) {
        throw new RangeError(
          `data in the context says how many bytes of metadata come first: ${metadata} is no such number`,
        );
      }
    }
    const skip = type === "xdp" || LINK_LAYER.has(type) ? 0 : ETHERNET_HEADER;
    const direct = NO_DIRECT.has(type) ? 0 : READ_ONLY.has(type) ? Permission.read : READ_WRITE;
    this.#run.packet = new Packet(this.#memory, data, { metadata, skip, direct });
  }

  /** Fields that follow from the packet, where they were not given. */
  #describePacket(layout: StructLayout): void {
    const packet = this.#run.packet!;
    const { bytes } = this.#memory;
    const { link } = packet;
    const kind = bytes[link + 12]! | (bytes[link + 13]! << 8);
    // Below 0x600 it is a length: IEEE 802.2, or 802.3 of Novell.
    const isLength = (bytes[link + 12]! << 8) + bytes[link + 13]! < 0x600;
    const novell = bytes[link + 14] === 0xff && bytes[link + 15] === 0xff;
    this.#default(layout, "protocol", isLength ? (novell ? 0x0100 : 0x0400) : kind);
    this.#default(layout, "pkt_type", packetKind(bytes.subarray(link, link + 6)));
    this.#default(layout, "ifindex", LOOPBACK);
  }

  #default(layout: StructLayout, field: string, value: number): void {
    const at = this.#region!.start + layout.fields[field]!.offset;
    if (this.#memory.view.getUint32(at, true) === 0) this.#memory.view.setUint32(at, value, true);
  }

  #protect(shape: ContextShape): void {
    const { start } = this.#region!;
    const { layout } = shape;
    const used = new Uint8Array(layout.size);
    for (const field of Object.values(layout.fields)) used.fill(1, field.offset, field.offset + field.size);
    for (const [at, is] of used.entries()) if (is === 0) this.#memory.protect(start + at, 1, 0);
    for (const [names, permission] of [
      [shape.hidden, 0],
      [shape.writable, READ_WRITE],
    ] as const) {
      for (const name of names) {
        const field = layout.fields[name];
        if (field !== undefined) this.#memory.protect(start + field.offset, field.size, permission);
      }
    }
  }

  /** Writes where the packet is. */
  #place(layout: StructLayout): void {
    const packet = this.#run.packet!;
    const { start } = this.#region!;
    const put = (field: string, value: number): void => {
      const offset = layout.fields[field]?.offset;
      if (offset !== undefined) this.#memory.view.setUint32(start + offset, value, true);
    };
    put("data", packet.data);
    put("data_end", packet.end);
    put("data_meta", Math.min(packet.meta, packet.data));
    put("len", packet.length);
  }

  /** A copy of the context, without addresses; empty when none was given. */
  context(): Uint8Array {
    const region = this.#region;
    if (region === undefined || !this.#given) return new Uint8Array(0);
    const bytes = this.#memory.bytes.slice(region.start, region.start + region.size);
    const shape = this.#shape;
    if (shape === undefined) return bytes;
    const view = new DataView(bytes.buffer);
    for (const name of POINTERS) {
      const field = shape.layout.fields[name];
      if (field !== undefined && field.size === 4) view.setUint32(field.offset, 0, true);
    }
    const { packet } = this.#run;
    if (this.#run.type === "xdp" && packet !== undefined) {
      view.setUint32(0, packet.data - packet.meta, true);
      view.setUint32(4, packet.end - packet.meta, true);
    }
    return bytes;
  }

  /** A copy of the packet; empty when there is none. */
  data(): Uint8Array {
    return this.#run.packet?.bytes() ?? new Uint8Array(0);
  }

  /** Gives the memory back. */
  release(): void {
    if (this.#region !== undefined) this.#memory.release(this.#region);
    this.#run.packet?.release();
    this.#run.packet = undefined;
  }
}

function contextBytes(type: ProgType, shape: ContextShape | undefined, given: MachineInput["context"]): Uint8Array {
  if (shape === undefined) {
    if (given === undefined) return new Uint8Array(0);
    if (given instanceof Uint8Array) return given;
    throw new TypeError(`The context of a ${type} program has no fields: give its bytes`);
  }
  const { layout } = shape;
  if (given === undefined) return new Uint8Array(layout.size);
  if (!(given instanceof Uint8Array)) return encodeStruct(layout, given as StructInput<StructLayout>);
  if (given.length > layout.size) {
    throw new RangeError(`A context of ${given.length} bytes is longer than ${layout.name}, which has ${layout.size}`);
  }
  const bytes = new Uint8Array(layout.size);
  bytes.set(given);
  return bytes;
}

/** `PACKET_HOST` and so on, for a device whose address is all zeros. */
function packetKind(destination: Uint8Array): number {
  if (destination.every((byte) => byte === 0)) return 0;
  if (destination.every((byte) => byte === 0xff)) return 1;
  return (destination[0]! & 1) !== 0 ? 2 : 3;
}

/**
 * The fields of a context that a run gave back.
 *
 * @param type program type
 * @param context bytes
 * @returns fields by name; `undefined` for types whose context has no layout
 */
export function contextFields(type: ProgType, context: Uint8Array): Record<string, unknown> | undefined {
  const shape = contextShape(type);
  return shape && (decodeStruct(shape.layout, context) as Record<string, unknown>);
}
