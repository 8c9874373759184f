// Browser-safe.

import { BpfError } from "../errors.ts";
import { type FaultAccess, MachineFault } from "./errors.ts";

/**
 * What a program may do with a byte. The plane has one such byte for each byte of memory, so that a check is as
 * precise as the memory itself and does not depend on alignment.
 */
export const Permission = {
  /** It may be read. */
  read: 1,
  /** It may be written. */
  write: 2,
  /** It was never written: a write makes it readable. */
  uninitialized: 4,
  /** It was given back: the record of a ring buffer after `submit`, the frame of a function that has returned. */
  freed: 8,
} as const;

/** Readable and writable. */
export const READ_WRITE: number = Permission.read | Permission.write;

/** What a region is, which decides how a fault in it is told. */
export type RegionKind = "stack" | "context" | "packet" | "map-value" | "map-key" | "global" | "record" | "memory";

/** A range of addresses that belongs together. */
export interface Region {
  /** What it is. */
  readonly kind: RegionKind;
  /** Name for messages: `packet`, `map "counts"`. */
  readonly name: string;
  /** First address. */
  readonly start: number;
  /** Bytes from the first to the last address. */
  readonly size: number;
  /** Where the part begins that offsets in messages count from: behind the head room in a packet. */
  base: number;
  /** Bytes of that part. */
  length: number;
  /** Distance between equal elements, such as values of a map; 0 when it has none. */
  readonly stride: number;
}

/** How a region is made. */
export interface RegionOptions {
  readonly kind: RegionKind;
  readonly name: string;
  /** Bytes. */
  readonly size: number;
  /** Permission of all its bytes. Default: readable and writable. */
  readonly permission?: number | undefined;
  /** Distance between equal elements. Default 0: it is one. */
  readonly stride?: number | undefined;
  /** Bytes of an element, or of the whole, that are in use. Default `size`. */
  readonly length?: number | undefined;
}

/** Addresses below are never mapped: a pointer that is null, or nearly, always faults. */
export const GUARD = 0x1_0000;
/** Pointers to maps: addresses in the guard, which no program can follow. */
export const MAP_POINTERS = 0x8000;
/** Distance of pointers to maps, and with it how many there can be. */
export const MAP_POINTER_STRIDE = 8;
/** Most maps of a machine. */
export const MOST_MAPS: number = (GUARD - MAP_POINTERS) / MAP_POINTER_STRIDE;
/** Addresses of instructions: above all memory. */
export const CODE_ADDRESSES = 0xf000_0000;
/** Between regions, so that the byte behind one never belongs to another. */
const RED_ZONE = 64;
const ALIGNMENT = 16;
const FIRST_SIZE = 0x4_0000;
/** Memory may never reach the addresses of instructions, and addresses stay positive as 32-bit integers. */
const LARGEST = 0x4000_0000;

/** State of a memory at one moment. */
export interface MemoryImage {
  readonly top: number;
  readonly bytes: Uint8Array;
  readonly plane: Uint8Array;
  readonly regions: readonly Region[];
  readonly placements: readonly (readonly [base: number, length: number])[];
  readonly free: ReadonlyMap<number, readonly number[]>;
}

/**
 * The flat 32-bit address space of a machine: bytes, and beside them a plane with a permission for each. Address 0 up to
 * 64 KiB is a guard. It grows as regions are made; the arrays are replaced then, so nobody may keep them over a call
 * that makes a region.
 */
export class Memory {
  /** The bytes, by address. */
  bytes: Uint8Array;
  /** The same bytes for wider access. */
  view: DataView;
  /** A {@link Permission} for each byte. */
  plane: Uint8Array;
  /** The same plane for wider access. */
  planeView: DataView;
  readonly #limit: number;
  #top = GUARD;
  #regions: Region[] = [];
  #free = new Map<number, number[]>();

  /** @param limit most bytes, guard included */
  constructor(limit: number) {
    if (!(Number.isInteger(limit) && limit >= 2 * GUARD && limit <= LARGEST)) {
      throw new RangeError(`The memory must be ${2 * GUARD} to ${LARGEST} bytes, not ${limit}`);
    }
    this.#limit = limit;
    const size = Math.min(FIRST_SIZE, limit);
    this.bytes = new Uint8Array(size);
    this.plane = new Uint8Array(size);
    this.view = new DataView(this.bytes.buffer);
    this.planeView = new DataView(this.plane.buffer);
  }

  /** Addresses up to here have been given out. */
  get top(): number {
    return this.#top;
  }

  /** Regions in use, in no order. */
  get regions(): readonly Region[] {
    return this.#regions;
  }

  /**
   * Makes a region of zeros.
   *
   * @throws BpfError `ERR_LIMIT` when the memory would be larger than its limit
   */
  allocate(options: RegionOptions): Region {
    const { kind, name, size } = options;
    const room = Math.ceil((size + RED_ZONE) / ALIGNMENT) * ALIGNMENT;
    let start = this.#free.get(room)?.pop();
    if (start === undefined) {
      start = this.#top;
      if (!(start + room <= this.#limit)) {
        throw new BpfError("ERR_LIMIT", `Cannot give ${size} bytes to ${name}: the memory has ${this.#limit} bytes`, {
          hint: "limits.memory of createMachine() sets the limit",
        });
      }
      this.#grow(start + room);
      this.#top = start + room;
    } else this.bytes.fill(0, start, start + size);
    this.plane.fill(options.permission ?? READ_WRITE, start, start + size);
    const length = options.length ?? size;
    const region: Region = { kind, name, start, size, base: start, length, stride: options.stride ?? 0 };
    this.#regions.push(region);
    return region;
  }

  /** Gives a region back. */
  release(region: Region): void {
    const at = this.#regions.indexOf(region);
    if (at < 0) return;
    const last = this.#regions.pop()!;
    if (last !== region) this.#regions[at] = last;
    this.plane.fill(0, region.start, region.start + region.size);
    const room = Math.ceil((region.size + RED_ZONE) / ALIGNMENT) * ALIGNMENT;
    const list = this.#free.get(room);
    if (list === undefined) this.#free.set(room, [region.start]);
    else list.push(region.start);
  }

  #grow(needed: number): void {
    const old = this.bytes;
    if (needed <= old.length) return;
    const size = Math.min(this.#limit, Math.max(needed, 2 * old.length));
    const bytes = new Uint8Array(size);
    const plane = new Uint8Array(size);
    bytes.set(old);
    plane.set(this.plane);
    this.bytes = bytes;
    this.plane = plane;
    this.view = new DataView(bytes.buffer);
    this.planeView = new DataView(plane.buffer);
  }

  /** Sets the permission of a range. */
  protect(start: number, size: number, permission: number): void {
    this.plane.fill(permission, start, start + size);
  }

  /** Whether all bytes of a range have a permission. */
  allows(address: number, size: number, permission: number): boolean {
    const end = address + size;
    if (!(address >= 0 && end <= this.plane.length)) return false;
    const { plane } = this;
    for (let at = address; at < end; at++) if ((plane[at]! & permission) !== permission) return false;
    return true;
  }

  /** The bytes of a range as a program or the machine wrote them, without a check of permissions: a view. */
  range(address: number, size: number): Uint8Array {
    return this.bytes.subarray(address, address + size);
  }

  /**
   * Marks a range as written. Does nothing where that makes no difference.
   *
   * @returns `false`, with nothing changed, when a byte may not be written
   */
  written(address: number, size: number): boolean {
    if (!this.allows(address, size, Permission.write)) return false;
    const { plane } = this;
    for (let at = address; at < address + size; at++) {
      if ((plane[at]! & Permission.uninitialized) !== 0) plane[at] = READ_WRITE;
    }
    return true;
  }

  /**
   * The region that an address belongs to, or most likely was meant for.
   *
   * @returns `undefined` when none is near
   */
  find(address: number): Region | undefined {
    let near: Region | undefined;
    let distance = 0x1_0000;
    for (const region of this.#regions) {
      const end = region.start + region.size;
      if (address >= region.start && address < end) return region;
      const away = address < region.start ? region.start - address : address - end;
      if (away < distance) {
        distance = away;
        near = region;
      }
    }
    return near;
  }

  /**
   * Says why an access is not allowed, in the words of the verifier where it has some.
   *
   * @param low low half of the address
   * @param high high half
   * @param size bytes
   * @param kind read or write
   * @param what whose access, in front of the message: `map_lookup_elem: key`
   */
  fault(low: number, high: number, size: number, kind: "read" | "write", what = ""): MachineFault {
    const lead = what === "" ? "" : `${what}: `;
    const address = BigInt.asUintN(64, (BigInt(high) << 32n) | BigInt(low >>> 0));
    const tell = (reason: string, region?: Region): MachineFault => {
      const access: FaultAccess = { kind, address, size, region: region?.name };
      return new MachineFault("ERR_VM_FAULT", `${lead}${reason}`, { access });
    };
    if (high === POISON) {
      return tell(`${kind} through r${low & 0xf}, which was never written or was lost in a call`);
    }
    const signed = BigInt.asIntN(64, address);
    if (signed > -BigInt(MAP_POINTERS) && signed < BigInt(MAP_POINTERS)) {
      return tell(`${kind} through a null pointer: offset ${signed}, size ${size}`);
    }
    if (high !== 0) return tell(`${kind} at 0x${address.toString(16)}, size ${size}: no address of the machine`);
    const at = low >>> 0;
    if (at < GUARD) return tell(`${kind} through a pointer to a map, size ${size}`);
    if (at >= CODE_ADDRESSES) return tell(`${kind} at the address of an instruction, size ${size}`);
    const region = this.find(at);
    if (region === undefined) return tell(`${kind} at 0x${at.toString(16)}, size ${size}: no address of the machine`);
    return tell(this.#explain(region, at, size, kind), region);
  }

  #explain(region: Region, at: number, size: number, kind: "read" | "write"): string {
    const { name, base, length, stride } = region;
    if (region.kind === "stack") return this.#explainStack(region, at, size, kind);
    let offset = at - base;
    if (stride > 0 && offset >= 0) offset %= stride;
    const place = `offset ${offset}, size ${size}`;
    if (region.kind === "packet") {
      if (offset < 0) return `${kind} before the packet: ${place}`;
      if (offset + size > length) return `${kind} past packet end: ${place}, packet ${length}`;
      return `${kind} of the packet is not allowed: ${place}`;
    }
    const found = this.#faulty(at, size, kind);
    if ((found & Permission.freed) !== 0) return `${kind} of ${name} after it was given back: ${place}`;
    if (offset < 0 || offset + size > length) return `${kind} outside of ${name} of ${length} bytes: ${place}`;
    if (region.kind === "context") return `invalid access to context ${name}: ${kind} of ${place}`;
    return `${kind} of ${name} is not allowed: ${place}`;
  }

  #explainStack(region: Region, at: number, size: number, kind: "read" | "write"): string {
    const { start, stride } = region;
    // A frame is the upper part of its stride, the red zone the lower one.
    const frame = Math.floor((at - start) / stride);
    const offset = at - (start + (frame + 1) * stride);
    const found = this.#faulty(at, size, kind);
    if (kind === "read" && (found & Permission.uninitialized) !== 0) {
      return `read of uninitialized stack: offset ${offset}, size ${size}`;
    }
    if ((found & Permission.freed) !== 0) return `${kind} of the stack of a function that has returned`;
    // Between two frames is one red zone: what is nearer to the frame below was meant for that one.
    const above = offset + stride;
    if (above < (stride - region.length) / 2 && at >= start) {
      return `${kind} above the stack frame: offset ${above}, size ${size}`;
    }
    return `${kind} outside of the stack of ${region.length} bytes: offset ${offset}, size ${size}`;
  }

  /** Permission of the first byte that forbids an access. */
  #faulty(at: number, size: number, kind: "read" | "write"): number {
    const wanted = kind === "read" ? Permission.read : Permission.write;
    for (let i = at; i < Math.min(at + size, this.plane.length); i++) {
      if ((this.plane[i]! & wanted) === 0) return this.plane[i]!;
    }
    return 0;
  }

  /** Copies everything, to come back to it by {@link restore}. */
  save(): MemoryImage {
    return {
      top: this.#top,
      bytes: this.bytes.slice(0, this.#top),
      plane: this.plane.slice(0, this.#top),
      regions: this.#regions.slice(),
      placements: this.#regions.map((region) => [region.base, region.length] as const),
      free: new Map([...this.#free].map(([size, list]) => [size, list.slice()])),
    };
  }

  /** Makes everything as it was. What was allocated since is gone. */
  restore(image: MemoryImage): void {
    this.bytes.set(image.bytes);
    this.plane.set(image.plane);
    this.bytes.fill(0, image.top, this.#top);
    this.plane.fill(0, image.top, this.#top);
    this.#top = image.top;
    this.#regions = image.regions.slice();
    for (const [i, region] of this.#regions.entries()) [region.base, region.length] = image.placements[i]!;
    this.#free = new Map([...image.free].map(([size, list]) => [size, list.slice()]));
  }
}

/** High half of a register that holds nothing: an address that is never mapped, and easy to recognise. */
export const POISON = 0x0bad_0bad;
