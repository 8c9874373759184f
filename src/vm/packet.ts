// Browser-safe.

import { type Memory, READ_WRITE, type Region } from "./memory.ts";

/** Room in front of a packet, as drivers leave for XDP programs. */
export const HEAD_ROOM = 256;
/** Most bytes of a packet that is not longer already: a page without what the kernel keeps at its two ends. */
const MOST_BYTES = 3520;
/** Room behind a longer one. */
const TAIL_ROOM = 512;
/** `SKF_NET_OFF` and `SKF_LL_OFF` of the classic filter. */
const NETWORK_OFFSET = -0x10_0000;
const LINK_OFFSET = -0x20_0000;

/** A packet in the memory of the machine, with room before and behind. Addresses are absolute. */
export class Packet {
  /** First byte of the packet as the program sees it. */
  data: number;
  /** Behind its last byte. */
  end: number;
  /** First byte of metadata, which ends where the packet begins; `data` when there is none. */
  meta: number;
  /** First byte of the link layer's header; of the network layer's for `ld_abs`. */
  link: number;
  network: number;
  readonly #memory: Memory;
  readonly #region: Region;
  readonly #permission: number;

  /**
   * @param memory address space
   * @param bytes the packet from its link layer header on
   * @param options `metadata`: so many of the first bytes are metadata; `skip`: bytes in front of what the program sees
   *   as data; `direct`: what the program may do with the bytes itself
   */
  constructor(
    memory: Memory,
    bytes: Uint8Array,
    options: { readonly metadata?: number; readonly skip?: number; readonly direct?: number } = {},
  ) {
    const { metadata = 0, skip = 0, direct = READ_WRITE } = options;
    this.#memory = memory;
    this.#permission = direct;
    // Rounded, so that packets of many sizes share places.
    const size = HEAD_ROOM + Math.max(MOST_BYTES, Math.ceil(bytes.length / 512) * 512 + TAIL_ROOM);
    this.#region = memory.allocate({ kind: "packet", name: "the packet", size, permission: 0 });
    this.meta = this.#region.start + HEAD_ROOM;
    this.link = this.meta + metadata;
    this.data = this.link + skip;
    this.network = this.link + 14;
    this.end = this.meta + bytes.length;
    memory.bytes.set(bytes, this.meta);
    this.protect();
  }

  /** Bytes of the packet as the program sees it. */
  get length(): number {
    return this.end - this.data;
  }

  /** Lowest address that it can be moved to. */
  get start(): number {
    return this.#region.start;
  }

  /** Highest address that it can end at. */
  get limit(): number {
    return this.#region.start + this.#region.size;
  }

  /** First byte with the link layer's header, or of what a helper has put in front of it. */
  get first(): number {
    return Math.min(this.data, this.link);
  }

  /** A copy of the packet from its link layer header on. */
  bytes(): Uint8Array {
    return this.#memory.bytes.slice(this.first, this.end);
  }

  /** Makes what the program may touch fit where the packet is now. */
  protect(): void {
    const { start, size } = this.#region;
    this.#memory.protect(start, size, 0);
    this.#memory.protect(this.meta, this.end - this.meta, this.#permission);
    this.#region.base = this.data;
    this.#region.length = this.end - this.data;
  }

  /**
   * Address of bytes of the packet, by their offset from its data, or from one of its headers.
   *
   * @returns `undefined` when they are not all in the packet
   */
  relative(offset: number, size: number): number | undefined {
    let at = this.data + offset;
    if (offset < 0) {
      if (offset >= NETWORK_OFFSET) at = this.network + (offset - NETWORK_OFFSET);
      else if (offset >= LINK_OFFSET) at = this.link + (offset - LINK_OFFSET);
      else return undefined;
    }
    return at >= this.first && at + size <= this.end ? at : undefined;
  }

  /** Keeps where it is, and gives a function that brings it back. */
  save(): () => void {
    const { data, end, meta, link, network } = this;
    return () => {
      Object.assign(this, { data, end, meta, link, network });
    };
  }

  /** Gives the memory back. */
  release(): void {
    this.#memory.release(this.#region);
  }
}
