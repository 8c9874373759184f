import { toHex } from "../bytes/index.ts";
import {
  BpfCommand,
  btfLoadAttr,
  infoByFdAttr,
  linkCreateAttr,
  MapType,
  mapCreateAttr,
  mapElemAttr,
  nameOfValue,
  objAttr,
  progAttachAttr,
  progBindMapAttr,
  progLoadAttr,
  progTestRunAttr,
  rawTracepointOpenAttr,
} from "../kernel-abi/index.ts";
import type { StructLayout } from "../kernel-abi/layout.ts";
import type { DescriptorWatcher, SyscallBackend } from "./backend.ts";
import { errnoNumber } from "./errno.ts";
import { type SyscallNumbers, syscallNumbers } from "./numbers.ts";

/** A `bpf` command as it reached the fake kernel: attributes and the memory they point at. */
export interface FakeRequest {
  /** Command, as the kernel spells it. */
  readonly command: BpfCommand;
  /** The attributes' bytes: writing to them writes back to the caller. */
  readonly attr: Uint8Array;
  /** Reads an integer field of the attributes. */
  get(layout: StructLayout, field: string): number;
  /** Writes a 32-bit field of the attributes back. */
  put(layout: StructLayout, field: string, value: number): void;
  /** Memory at the address in a pointer field; an empty array for 0. */
  memory(layout: StructLayout, field: string, length: number): Uint8Array;
  /** Text at the address in a pointer field. */
  text(layout: StructLayout, field: string): string;
}

/** Answers a command: a result, or an errno name for a failure; `undefined` leaves it to the fake kernel. */
export type FakeHandler = (request: FakeRequest) => number | string | undefined;

/** A system call other than `bpf`, as it reached the fake kernel. */
export interface FakeCall {
  /** Its arguments. */
  readonly args: readonly number[];
  /** Memory at an address. */
  memory(address: number, length: number): Uint8Array;
  /** Text at an address. */
  text(address: number): string;
}

/** Answers a system call: a result, or an errno name for a failure; `undefined` leaves it to the fake kernel. */
export type FakeCallHandler = (call: FakeCall) => number | string | undefined;

/** What stands behind a descriptor of the fake kernel. */
export type FakeObject =
  | { readonly kind: "map"; readonly map: FakeMap }
  | { readonly kind: "prog"; readonly name: string; readonly license: string; readonly instructions: Uint8Array }
  | { readonly kind: "link"; readonly program: number; readonly target: string }
  | { readonly kind: "btf"; readonly bytes: Uint8Array }
  | { readonly kind: "perf_event"; memory: ArrayBuffer | undefined }
  | { readonly kind: "other" }
  | { readonly kind: "epoll"; readonly interest: Set<number>; readonly ready: Set<number> };

/** A map of the fake kernel. */
export interface FakeMap {
  readonly type: string;
  readonly name: string;
  readonly keySize: number;
  readonly valueSize: number;
  readonly maxEntries: number;
  /** Entries of a hash or array: keys as hex. */
  readonly entries: Map<string, Uint8Array>;
  /** Memory of a ring buffer. */
  readonly ring: FakeRing | undefined;
}

interface FakeRing {
  readonly consumer: ArrayBuffer;
  readonly producer: ArrayBuffer;
}

/** How a record is put into a ring buffer of the fake kernel. */
export interface FakeRecordOptions {
  /** Discarded by its writer. */
  readonly discard?: boolean;
  /** Still being written. */
  readonly busy?: boolean;
  /** Do not wake the reader. */
  readonly silent?: boolean;
}

const PAGE = 4096;
const FIRST_DESCRIPTOR = 3;
const FIRST_ADDRESS = 0x10_0000_0000;
const EPOLL_CTL_ADD = 1;
/** Offsets in `struct perf_event_mmap_page`. */
const DATA_HEAD = 1024;
const DATA_TAIL = 1032;
const BUSY_BIT = 0x8000_0000;
const DISCARD_BIT = 0x4000_0000;

/**
 * A kernel made of JavaScript objects, for tests without root: hash and array maps, ring buffers, programs that are
 * accepted (or rejected by a handler), links, perf events, epoll. Every command can be answered by a handler instead.
 *
 * It keeps no program running: records reach a ring buffer through {@link submit}.
 *
 * @example
 * ```ts
 * const kernel = new FakeKernel();
 * kernel.on("BPF_PROG_LOAD", () => "EPERM");
 * const spec = { type: "socket_filter", instructions: [mov(r0, 0), exit()], license: "GPL" } as const;
 * loadProgram(spec, { backend: kernel.backend }); // throws EPERM
 * ```
 */
export class FakeKernel {
  /** The shim to pass as `backend`. */
  readonly backend: SyscallBackend;
  /** Where the rings of perf events begin to count when they are mapped. */
  perfStart = 0n;
  /** Every command so far, by name. */
  readonly commands: BpfCommand[] = [];
  readonly #objects = new Map<number, FakeObject>();
  readonly #handlers = new Map<BpfCommand, FakeHandler>();
  readonly #callHandlers = new Map<keyof SyscallNumbers, FakeCallHandler>();
  readonly #pins = new Map<string, FakeObject>();
  readonly #regions: { readonly address: number; readonly buffer: ArrayBufferLike }[] = [];
  readonly #known = new WeakMap<ArrayBufferLike, number>();
  readonly #numbers = new Map<number, keyof SyscallNumbers>();
  readonly #watchers = new Map<number, () => void>();
  #nextAddress = FIRST_ADDRESS;

  constructor() {
    for (const [name, number] of Object.entries(syscallNumbers.x64)) {
      this.#numbers.set(number, name as keyof SyscallNumbers);
    }
    this.backend = {
      name: "fake",
      architecture: "x64",
      addressOf: (view) => {
        if (view.byteLength === 0) throw new TypeError("An empty view has no address");
        return this.#addressOf(view.buffer) + view.byteOffset;
      },
      syscall: (number, a = 0, b = 0, c = 0, d = 0, e = 0, f = 0) => this.#syscall(number, [a, b, c, d, e, f]),
      bpf: (command, attr, size) => this.#bpf(command, attr, size),
      viewMemory: (address, length) => this.#viewMemory(address, length),
      loadWord: (words, index) => Atomics.load(words, index),
      watch: (descriptor, ready) => this.#watch(descriptor, ready),
    };
  }

  /**
   * Answers a command, or some of its calls, in place of the fake kernel.
   *
   * @param command as the kernel spells it
   * @param handler gives a result, an errno name, or `undefined` to let the fake kernel answer
   */
  on(command: BpfCommand, handler: FakeHandler): this {
    this.#handlers.set(command, handler);
    return this;
  }

  /**
   * Answers a system call other than `bpf`, or some of its calls, in place of the fake kernel.
   *
   * @param name system call
   * @param handler gives a result, an errno name, or `undefined` to let the fake kernel answer
   */
  onCall(name: keyof SyscallNumbers, handler: FakeCallHandler): this {
    this.#callHandlers.set(name, handler);
    return this;
  }

  /**
   * Opens a descriptor of no particular kind: a socket, say, for a handler of {@link onCall}.
   *
   * @returns its number
   */
  addDescriptor(): number {
    return this.#add({ kind: "other" });
  }

  /** Descriptors that are open, with what they are: empty when nothing leaked. */
  get open(): readonly string[] {
    return [...this.#objects]
      .filter(([, object]) => object.kind !== "epoll")
      .map(([fd, object]) => `${object.kind} ${fd}`);
  }

  /**
   * What stands behind a descriptor.
   *
   * @throws RangeError when it is not open
   */
  object(fd: number): FakeObject {
    const object = this.#objects.get(fd);
    if (object === undefined) throw new RangeError(`Descriptor ${fd} is not open`);
    return object;
  }

  /**
   * Text that ends with a zero, in memory that was handed to the fake kernel.
   *
   * @param address where it begins; 0 gives an empty text
   */
  textAt(address: number): string {
    let text = "";
    for (let at = address; address !== 0; at++) {
      const byte = this.#at(at, 1)[0]!;
      if (byte === 0) break;
      text += String.fromCharCode(byte);
    }
    return text;
  }

  /**
   * Puts a record into a ring buffer, as a program would with `ringbuf_output`.
   *
   * @param fd descriptor of the ring buffer map
   * @param data the record
   * @param options discarded, busy, silent
   * @returns position of the record, for {@link commit}; -1 when the ring is full
   */
  submit(fd: number, data: Uint8Array, options: FakeRecordOptions = {}): number {
    const map = this.#map(fd);
    const ring = map?.ring;
    if (map === undefined || ring === undefined) throw new RangeError(`Descriptor ${fd} is no ring buffer`);
    const positions = new DataView(ring.producer);
    const produced = positions.getBigUint64(0, true);
    const consumed = new DataView(ring.consumer).getBigUint64(0, true);
    const step = (data.length + 15) & ~7;
    if (Number(produced - consumed) + step > map.maxEntries) return -1;
    const at = Number(produced & BigInt(map.maxEntries - 1));
    const header =
      (data.length | (options.busy === true ? BUSY_BIT : 0) | (options.discard === true ? DISCARD_BIT : 0)) >>> 0;
    const record = new Uint8Array(step);
    new DataView(record.buffer).setUint32(0, header, true);
    record.set(data, 8);
    this.#writeRing(map, at, record);
    positions.setBigUint64(0, produced + BigInt(step), true);
    if (options.silent !== true) this.#news(fd);
    return at;
  }

  /** Finishes a record that was submitted as busy, and wakes the reader. */
  commit(fd: number, position: number): void {
    const map = this.#map(fd);
    if (map?.ring === undefined) throw new RangeError(`Descriptor ${fd} is no ring buffer`);
    const view = new DataView(map.ring.producer);
    const header = new Uint8Array(4);
    new DataView(header.buffer).setUint32(0, view.getUint32(PAGE + position, true) & ~BUSY_BIT, true);
    this.#writeRing(map, position, header);
    this.#news(fd);
  }

  /**
   * Puts a record into the ring of a perf event, whether or not there is room, and wakes the reader.
   *
   * @param fd descriptor of the perf event, mapped
   * @param type `PERF_RECORD_SAMPLE` is 9, `PERF_RECORD_LOST` 2
   * @param payload what follows the header, a multiple of 8 bytes
   * @param options `size` that the header claims, where it is not the true one
   */
  perfRecord(fd: number, type: number, payload: Uint8Array, options: { readonly size?: number } = {}): void {
    const object = this.object(fd);
    if (object.kind !== "perf_event" || object.memory === undefined)
      throw new RangeError(`Descriptor ${fd} has no ring`);
    const positions = new DataView(object.memory);
    const head = positions.getBigUint64(DATA_HEAD, true);
    const record = new Uint8Array(8 + payload.length);
    const header = new DataView(record.buffer);
    header.setUint32(0, type, true);
    header.setUint16(6, options.size ?? record.length, true);
    record.set(payload, 8);
    const data = new Uint8Array(object.memory, PAGE);
    for (const [i, byte] of record.entries()) data[(Number(head & 0xffffffffn) + i) % data.length] = byte;
    positions.setBigUint64(DATA_HEAD, head + BigInt(record.length), true);
    this.#news(fd);
  }

  /** Moves both positions of an empty ring buffer, to test what happens at their ends. */
  setPosition(fd: number, position: bigint): void {
    const ring = this.#map(fd)?.ring;
    if (ring === undefined) throw new RangeError(`Descriptor ${fd} is no ring buffer`);
    new DataView(ring.producer).setBigUint64(0, position, true);
    new DataView(ring.consumer).setBigUint64(0, position, true);
  }

  /** The data lies twice in a row in the mapping: what is written once appears in both. */
  #writeRing(map: FakeMap, at: number, bytes: Uint8Array): void {
    const data = new Uint8Array(map.ring!.producer, PAGE);
    for (let i = 0; i < bytes.length; i++) {
      const offset = (at + i) % map.maxEntries;
      data[offset] = bytes[i]!;
      data[offset + map.maxEntries] = bytes[i]!;
    }
  }

  #news(fd: number): void {
    for (const [epoll, object] of this.#objects) {
      if (object.kind !== "epoll" || !object.interest.has(fd)) continue;
      object.ready.add(fd);
      const ready = this.#watchers.get(epoll);
      if (ready !== undefined) setImmediate(ready);
    }
  }

  #map(fd: number): FakeMap | undefined {
    const object = this.#objects.get(fd);
    return object?.kind === "map" ? object.map : undefined;
  }

  #addressOf(buffer: ArrayBufferLike): number {
    let address = this.#known.get(buffer);
    if (address === undefined) {
      address = this.#nextAddress;
      this.#nextAddress += Math.ceil(buffer.byteLength / PAGE) * PAGE + PAGE;
      this.#known.set(buffer, address);
      this.#regions.push({ address, buffer });
    }
    return address;
  }

  #at(address: number, length: number): Uint8Array {
    for (let i = this.#regions.length - 1; i >= 0; i--) {
      const { address: start, buffer } = this.#regions[i]!;
      if (address >= start && address + length <= start + buffer.byteLength) {
        return new Uint8Array(buffer, address - start, length);
      }
    }
    throw new RangeError(`Nothing is at address ${address}`);
  }

  #viewMemory(address: number, length: number): ArrayBuffer {
    const region = this.#regions.find((candidate) => candidate.address === address);
    if (region === undefined || region.buffer.byteLength < length) throw new RangeError(`Nothing is at ${address}`);
    return region.buffer as ArrayBuffer;
  }

  #watch(descriptor: number, ready: () => void): DescriptorWatcher {
    this.#watchers.set(descriptor, ready);
    return { arm() {}, ref() {}, unref() {}, close: () => void this.#watchers.delete(descriptor) };
  }

  #add(object: FakeObject): number {
    let fd = FIRST_DESCRIPTOR;
    while (this.#objects.has(fd)) fd++;
    this.#objects.set(fd, object);
    return fd;
  }

  #syscall(number: number, args: readonly number[]): number {
    const name = this.#numbers.get(number);
    const [a = 0, b = 0, c = 0] = args;
    const handler = name === undefined ? undefined : this.#callHandlers.get(name);
    const memory = (address: number, length: number): Uint8Array => this.#at(address, length);
    const answer = handler?.({ args, memory, text: (address) => this.textAt(address) });
    if (answer !== undefined) return typeof answer === "string" ? -errnoNumber(answer) : answer;
    switch (name) {
      case "close":
        return this.#objects.delete(a) ? 0 : -errnoNumber("EBADF");
      case "fcntl": {
        const object = this.#objects.get(a);
        return object === undefined ? -errnoNumber("EBADF") : this.#add(object);
      }
      case "perf_event_open":
        return this.#add({ kind: "perf_event", memory: undefined });
      case "ioctl":
        return this.#objects.has(a) ? 0 : -errnoNumber("EBADF");
      case "mmap":
        return this.#mmap(a, b, args[4] ?? -1, args[5] ?? 0);
      case "munmap":
        return 0;
      case "epoll_create1":
        return this.#add({ kind: "epoll", interest: new Set(), ready: new Set() });
      case "epoll_ctl":
        return this.#epollControl(a, b, c);
      case "epoll_pwait":
        return this.#epollWait(a, b, c);
      case "clock_gettime": {
        const view = this.#at(b, 16);
        new DataView(view.buffer, view.byteOffset).setBigInt64(0, BigInt(Math.floor(performance.now() / 1000)), true);
        return 0;
      }
      case "getpid":
        return 1;
      default:
        return -errnoNumber("ENOSYS");
    }
  }

  #mmap(address: number, length: number, fd: number, offset: number): number {
    if (address !== 0) return address;
    const object = this.#objects.get(fd);
    if (object?.kind === "perf_event") {
      object.memory = new ArrayBuffer(length);
      const positions = new DataView(object.memory);
      positions.setBigUint64(DATA_HEAD, this.perfStart, true);
      positions.setBigUint64(DATA_TAIL, this.perfStart, true);
      return this.#addressOf(object.memory);
    }
    const map = this.#map(fd);
    if (map?.ring !== undefined) return this.#addressOf(offset === 0 ? map.ring.consumer : map.ring.producer);
    return fd === -1 ? this.#addressOf(new ArrayBuffer(length)) : -errnoNumber("EINVAL");
  }

  #epollControl(epoll: number, operation: number, fd: number): number {
    const object = this.#objects.get(epoll);
    if (object?.kind !== "epoll") return -errnoNumber("EBADF");
    if (operation !== EPOLL_CTL_ADD) {
      object.interest.delete(fd);
      object.ready.delete(fd);
      return 0;
    }
    const ring = this.#map(fd)?.ring;
    if (ring === undefined) return -errnoNumber("EPERM");
    object.interest.add(fd);
    const unread =
      new DataView(ring.producer).getBigUint64(0, true) !== new DataView(ring.consumer).getBigUint64(0, true);
    if (unread) this.#news(fd);
    return 0;
  }

  #epollWait(epoll: number, events: number, limit: number): number {
    const object = this.#objects.get(epoll);
    if (object?.kind !== "epoll") return -errnoNumber("EBADF");
    const ready = [...object.ready].slice(0, limit);
    const view = this.#at(events, 12 * limit);
    const data = new DataView(view.buffer, view.byteOffset);
    ready.forEach((fd, i) => {
      object.ready.delete(fd);
      data.setUint32(12 * i, 1, true);
      data.setInt32(12 * i + 4, fd, true);
    });
    return ready.length;
  }

  #bpf(number: number, address: number, size: number): number {
    const command = nameOfValue(BpfCommand, number);
    if (command === undefined) return -errnoNumber("EINVAL");
    this.commands.push(command);
    const request = this.#request(command, this.#at(address, size));
    const answer = this.#handlers.get(command)?.(request) ?? this.#answer(request);
    return typeof answer === "string" ? -errnoNumber(answer) : answer;
  }

  #request(command: BpfCommand, attr: Uint8Array): FakeRequest {
    const view = new DataView(attr.buffer, attr.byteOffset, attr.byteLength);
    const get = (layout: StructLayout, field: string): number => {
      const place = layout.fields[field];
      if (place === undefined) throw new TypeError(`There is no attribute "${field}"`);
      return place.size === 8 ? Number(view.getBigUint64(place.offset, true)) : view.getUint32(place.offset, true);
    };
    const memory = (layout: StructLayout, field: string, length: number): Uint8Array => {
      const pointer = get(layout, field);
      return pointer === 0 || length === 0 ? new Uint8Array(0) : this.#at(pointer, length);
    };
    return {
      command,
      attr,
      get,
      memory,
      put: (layout, field, value) => view.setUint32(layout.fields[field]!.offset, value, true),
      text: (layout, field) => this.textAt(get(layout, field)),
    };
  }

  #answer(request: FakeRequest): number | string {
    switch (request.command) {
      case "BPF_MAP_CREATE":
        return this.#mapCreate(request);
      case "BPF_MAP_LOOKUP_ELEM":
      case "BPF_MAP_UPDATE_ELEM":
      case "BPF_MAP_DELETE_ELEM":
      case "BPF_MAP_GET_NEXT_KEY":
        return this.#mapElement(request);
      case "BPF_PROG_LOAD": {
        const name = fixedText(request.attr, progLoadAttr, "prog_name");
        const bytes = 8 * request.get(progLoadAttr, "insn_cnt");
        const instructions = request.memory(progLoadAttr, "insns", bytes).slice();
        return this.#add({ kind: "prog", name, license: request.text(progLoadAttr, "license"), instructions });
      }
      case "BPF_BTF_LOAD": {
        const bytes = request.memory(btfLoadAttr, "btf", request.get(btfLoadAttr, "btf_size")).slice();
        return this.#add({ kind: "btf", bytes });
      }
      case "BPF_MAP_FREEZE":
        return this.#map(request.get(mapElemAttr, "map_fd")) === undefined ? "EBADF" : 0;
      case "BPF_PROG_BIND_MAP": {
        if (this.#objects.get(request.get(progBindMapAttr, "prog_fd"))?.kind !== "prog") return "EBADF";
        return this.#map(request.get(progBindMapAttr, "map_fd")) === undefined ? "EBADF" : 0;
      }
      case "BPF_PROG_TEST_RUN":
        if (this.#objects.get(request.get(progTestRunAttr, "prog_fd"))?.kind !== "prog") return "EBADF";
        request.put(progTestRunAttr, "retval", 0);
        return 0;
      case "BPF_RAW_TRACEPOINT_OPEN": {
        const program = request.get(rawTracepointOpenAttr, "prog_fd");
        if (this.#objects.get(program)?.kind !== "prog") return "EBADF";
        return this.#add({ kind: "link", program, target: request.text(rawTracepointOpenAttr, "name") });
      }
      case "BPF_PROG_ATTACH":
      case "BPF_PROG_DETACH": {
        const program = this.#objects.get(request.get(progAttachAttr, "attach_bpf_fd"));
        return program?.kind === "prog" ? 0 : "EBADF";
      }
      case "BPF_LINK_CREATE": {
        const program = request.get(linkCreateAttr, "prog_fd");
        if (this.#objects.get(program)?.kind !== "prog") return "EBADF";
        return this.#add({ kind: "link", program, target: `fd ${request.get(linkCreateAttr, "target_fd")}` });
      }
      case "BPF_OBJ_PIN": {
        const object = this.#objects.get(request.get(objAttr, "bpf_fd"));
        const path = request.text(objAttr, "pathname");
        if (object === undefined) return "EBADF";
        if (this.#pins.has(path)) return "EEXIST";
        this.#pins.set(path, object);
        return 0;
      }
      case "BPF_OBJ_GET": {
        const object = this.#pins.get(request.text(objAttr, "pathname"));
        return object === undefined ? "ENOENT" : this.#add(object);
      }
      case "BPF_OBJ_GET_INFO_BY_FD":
        return this.#objects.has(request.get(infoByFdAttr, "bpf_fd")) ? 0 : "EBADF";
      default:
        return "EINVAL";
    }
  }

  #mapCreate(request: FakeRequest): number | string {
    const get = (field: string): number => request.get(mapCreateAttr, field);
    const type = nameOfValue(MapType, get("map_type"));
    if (type === undefined) return "EINVAL";
    const maxEntries = get("max_entries");
    const keySize = get("key_size");
    const valueSize = get("value_size");
    const entries = new Map<string, Uint8Array>();
    if (type === "array") {
      const key = new Uint8Array(4);
      for (let i = 0; i < maxEntries; i++) {
        new DataView(key.buffer).setUint32(0, i, true);
        entries.set(toHex(key), new Uint8Array(valueSize));
      }
    }
    const ring =
      type === "ringbuf"
        ? { consumer: new ArrayBuffer(PAGE), producer: new ArrayBuffer(PAGE + 2 * maxEntries) }
        : undefined;
    const name = fixedText(request.attr, mapCreateAttr, "map_name");
    return this.#add({ kind: "map", map: { type, name, keySize, valueSize, maxEntries, entries, ring } });
  }

  #mapElement(request: FakeRequest): number | string {
    const map = this.#map(request.get(mapElemAttr, "map_fd"));
    if (map === undefined) return "EBADF";
    const key = request.memory(mapElemAttr, "key", map.keySize);
    const name = toHex(key);
    const entry = map.entries.get(name);
    switch (request.command) {
      case "BPF_MAP_LOOKUP_ELEM":
        if (entry === undefined) return "ENOENT";
        request.memory(mapElemAttr, "value", map.valueSize).set(entry);
        return 0;
      case "BPF_MAP_UPDATE_ELEM": {
        const flags = request.get(mapElemAttr, "flags");
        if (entry === undefined && (map.type === "array" || map.entries.size >= map.maxEntries)) return "E2BIG";
        if (flags === 1 && entry !== undefined) return "EEXIST";
        if (flags === 2 && entry === undefined) return "ENOENT";
        map.entries.set(name, request.memory(mapElemAttr, "value", map.valueSize).slice());
        return 0;
      }
      case "BPF_MAP_DELETE_ELEM":
        if (map.type === "array") return "EINVAL";
        return map.entries.delete(name) ? 0 : "ENOENT";
      default: {
        const keys = [...map.entries.keys()];
        const next = keys[keys.indexOf(name) + 1];
        if (next === undefined) return "ENOENT";
        const into = request.memory(mapElemAttr, "next_key", map.keySize);
        for (let i = 0; i < into.length; i++) into[i] = Number.parseInt(next.slice(2 * i, 2 * i + 2), 16);
        return 0;
      }
    }
  }
}

function fixedText(attr: Uint8Array, layout: StructLayout, field: string): string {
  const { offset, size } = layout.fields[field]!;
  const bytes = attr.subarray(offset, offset + size);
  const end = bytes.indexOf(0);
  return String.fromCharCode(...bytes.subarray(0, end < 0 ? size : end));
}
