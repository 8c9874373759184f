// Browser-safe.

import { EACCES, EFAULT, EINVAL, ENOMEM } from "../maps/errno.ts";
import type { Packet } from "../packet.ts";
import type { Helper, HelperCall } from "./call.ts";
import { add16, add32, complement, fold, sumOf } from "./checksum.ts";

const ETHERNET_HEADER = 14;
const MOST_SKB_OFFSET = 0xffff;
/** What the kernel keeps at the start of an XDP frame for itself. */
const XDP_FRAME = 40;
const MOST_METADATA = 252;
const XDP_REDIRECT = 4;
const TC_ACT_SHOT = 2;
const TC_ACT_REDIRECT = 7;
const BPF_F_INGRESS = 1n;
/** Header that `skb_load_bytes_relative` counts from. */
const Header = { link: 0, network: 1 } as const;
/** Flags of `l4_csum_replace`. */
const MARK_MANGLED_0 = 0x20;
const MARK_ENFORCE = 0x40;
const FIB_NOT_FORWARDED = 4;

function packetOf(call: HelperCall): Packet {
  const { packet } = call.run;
  if (packet === undefined) throw call.fault("the program has no packet");
  return packet;
}

/** Address of bytes of a packet; `undefined` when they are not all in it. */
function inside(packet: Packet, offset: number, size: number): number | undefined {
  const at = packet.data + offset;
  return offset <= 0x7fff_ffff && at + size <= packet.end ? at : undefined;
}

function load(call: HelperCall, at: number | undefined): number {
  const size = call.size(4);
  const into = call.writable(3, size);
  if (at === undefined) {
    call.memory.bytes.fill(0, into, into + size);
    return -EFAULT;
  }
  call.memory.bytes.copyWithin(into, at, at + size);
  return 0;
}

function store(call: HelperCall, at: number | undefined): number {
  const size = call.size(4);
  const from = call.readable(3, size);
  if (at === undefined) return -EFAULT;
  call.memory.bytes.copyWithin(at, from, from + size);
  return 0;
}

/** Puts a sum of 16 bits in the place of another, as if `from` had become `to`. */
function replaceSum(call: HelperCall, at: number, from: number, to: number): number {
  const { view } = call.memory;
  const old = complement(view.getUint16(at, true)) & 0xffff;
  const sum = complement(fold(add32(add32(old, complement(from)), to))) & 0xffff;
  view.setUint16(at, sum, true);
  return sum;
}

function redirect(call: HelperCall, target: number, flags: bigint, map: string | undefined): number {
  call.run.redirects.push({ helper: call.name, target, map, flags });
  return call.run.type === "xdp" ? XDP_REDIRECT : TC_ACT_REDIRECT;
}

/** Makes a packet longer or shorter at its end; new bytes are 0. */
function resizeTail(call: HelperCall, packet: Packet, end: number): void {
  if (end > packet.end) call.memory.bytes.fill(0, packet.end, end);
  packet.end = end;
  packet.protect();
  call.run.packetMoved();
}

const XDP: Readonly<Record<string, Helper>> = {
  xdp_adjust_head(call) {
    const packet = packetOf(call);
    const delta = call.s32(2);
    const data = packet.data + delta;
    const length = packet.data - packet.meta;
    if (data - length < packet.start + XDP_FRAME || data > packet.end - ETHERNET_HEADER) return -EINVAL;
    if (length > 0) call.memory.bytes.copyWithin(data - length, packet.meta, packet.data);
    packet.meta = data - length;
    packet.data = data;
    packet.link = data;
    packet.protect();
    call.run.packetMoved();
    return 0;
  },
  xdp_adjust_meta(call) {
    const packet = packetOf(call);
    const meta = packet.meta + call.s32(2);
    if (meta < packet.start + XDP_FRAME || meta > packet.data) return -EINVAL;
    const length = packet.data - meta;
    if (length % 4 !== 0 || length > MOST_METADATA) return -EACCES;
    packet.meta = meta;
    packet.protect();
    call.run.packetMoved();
    return 0;
  },
  xdp_adjust_tail(call) {
    const packet = packetOf(call);
    const end = packet.end + call.s32(2);
    if (end > packet.limit || end < packet.data + ETHERNET_HEADER) return -EINVAL;
    resizeTail(call, packet, end);
    return 0;
  },
  xdp_get_buff_len: (call) => packetOf(call).length,
  xdp_load_bytes(call) {
    const at = inside(packetOf(call), call.u32(2), call.size(4));
    const size = call.size(4);
    const into = call.writable(3, size);
    if (at === undefined) return -EINVAL;
    call.memory.bytes.copyWithin(into, at, at + size);
    return 0;
  },
  xdp_store_bytes(call) {
    const result = store(call, inside(packetOf(call), call.u32(2), call.size(4)));
    return result < 0 ? -EINVAL : 0;
  },
};

const SKB: Readonly<Record<string, Helper>> = {
  skb_load_bytes(call) {
    const offset = call.u32(2);
    return load(call, offset > MOST_SKB_OFFSET ? undefined : inside(packetOf(call), offset, call.size(4)));
  },
  skb_load_bytes_relative(call) {
    const packet = packetOf(call);
    const offset = call.u32(2);
    const base = call.u32(5);
    const start = base === Header.link ? packet.link : base === Header.network ? packet.network : undefined;
    if (start === undefined || offset > MOST_SKB_OFFSET) return load(call, undefined);
    return load(call, inside(packet, start - packet.data + offset, call.size(4)));
  },
  skb_store_bytes(call) {
    const offset = call.u32(2);
    if ((call.u64(5) & ~3n) !== 0n) return -EINVAL;
    if (offset > MOST_SKB_OFFSET) return -EFAULT;
    return store(call, inside(packetOf(call), offset, call.size(4)));
  },
  skb_pull_data: (call) => (call.u32(2) > packetOf(call).length ? -ENOMEM : 0),
  skb_change_tail(call) {
    const packet = packetOf(call);
    const length = call.u32(2);
    if (call.u64(3) !== 0n || length < ETHERNET_HEADER) return -EINVAL;
    if (packet.data + length > packet.limit) return -ENOMEM;
    resizeTail(call, packet, packet.data + length);
    return 0;
  },
  skb_change_head(call) {
    const packet = packetOf(call);
    const length = call.u32(2);
    if (call.u64(3) !== 0n) return -EINVAL;
    if (length > packet.data - packet.start) return -ENOMEM;
    packet.data -= length;
    packet.meta = packet.data;
    packet.link = packet.data;
    call.memory.bytes.fill(0, packet.data, packet.data + length);
    packet.protect();
    call.run.packetMoved();
    return 0;
  },
  l3_csum_replace(call) {
    const offset = call.u32(2);
    const flags = call.u64(5);
    if ((flags & ~0xfn) !== 0n) return -EINVAL;
    const at = offset > MOST_SKB_OFFSET || offset % 2 !== 0 ? undefined : inside(packetOf(call), offset, 2);
    if (at === undefined) return -EFAULT;
    switch (Number(flags)) {
      case 0:
        if (call.u64(3) !== 0n) return -EINVAL;
        replaceSum(call, at, 0, call.u32(4));
        return 0;
      case 2:
        replaceSum(call, at, call.u32(3) & 0xffff, call.u32(4) & 0xffff);
        return 0;
      case 4:
        replaceSum(call, at, call.u32(3), call.u32(4));
        return 0;
      default:
        return -EINVAL;
    }
  },
  l4_csum_replace(call) {
    const offset = call.u32(2);
    const flags = call.u32(5);
    if ((call.u64(5) & ~0x1ffn) !== 0n) return -EINVAL;
    const at = offset > MOST_SKB_OFFSET || offset % 2 !== 0 ? undefined : inside(packetOf(call), offset, 2);
    if (at === undefined) return -EFAULT;
    const { view } = call.memory;
    const mangled = (flags & MARK_MANGLED_0) !== 0;
    if (mangled && (flags & MARK_ENFORCE) === 0 && view.getUint16(at, true) === 0) return 0;
    const size = flags & 0xf;
    if (size === 0 && call.u64(3) !== 0n) return -EINVAL;
    if (size !== 0 && size !== 2 && size !== 4) return -EINVAL;
    const mask = size === 2 ? 0xffff : 0xffff_ffff;
    const sum = replaceSum(call, at, (call.u32(3) & mask) >>> 0, (call.u32(4) & mask) >>> 0);
    // 0 stands for "no checksum" in UDP.
    if (mangled && sum === 0) view.setUint16(at, 0xffff, true);
    return 0;
  },
  csum_diff(call) {
    const fromSize = call.size(2);
    const toSize = call.size(4);
    if (fromSize % 4 !== 0 || toSize % 4 !== 0) return -EINVAL;
    let sum = call.u32(5);
    if (toSize > 0) sum = add32(sum, sumOf(call.read(3, toSize)));
    if (fromSize > 0) sum = add32(sum, complement(sumOf(call.read(1, fromSize))));
    return add16(sum);
  },
  get_hash_recalc(call) {
    call.context(1);
    return call.run.hash;
  },
  set_hash(call) {
    call.context(1);
    call.run.hash = call.u32(2);
    return 0;
  },
  set_hash_invalid(call) {
    call.context(1);
    call.run.hash = 0;
  },
  get_socket_cookie: (call) => call.run.socketCookie,
  get_socket_uid: (call) => call.run.world.task.uid,
  redirect(call) {
    const flags = call.u64(2);
    if (call.run.type === "xdp") return flags !== 0n ? 0 : redirect(call, call.u32(1), flags, undefined);
    return (flags & ~BPF_F_INGRESS) !== 0n ? TC_ACT_SHOT : redirect(call, call.u32(1), flags, undefined);
  },
  redirect_peer(call) {
    const flags = call.u64(2);
    return flags !== 0n ? TC_ACT_SHOT : redirect(call, call.u32(1), flags, undefined);
  },
  redirect_neigh(call) {
    const flags = call.u64(4);
    if (flags !== 0n || (call.u32(3) !== 0 && call.u32(3) < 20)) return TC_ACT_SHOT;
    return redirect(call, call.u32(1), flags, undefined);
  },
  clone_redirect(call) {
    call.context(1);
    const flags = call.u64(3);
    if ((flags & ~BPF_F_INGRESS) !== 0n) return -EINVAL;
    redirect(call, call.u32(2), flags, undefined);
    return 0;
  },
  redirect_map(call) {
    const map = call.map(1);
    const flags = call.u64(3);
    const { memory } = call;
    if ((flags & ~0x1bn) !== 0n) return 0;
    const broadcast = (flags & 8n) !== 0n;
    // Keys of these maps are numbers in a register; a map looks for them in memory.
    const room = call.run.keyRoom();
    memory.view.setUint32(room, call.u32(2), true);
    if (!broadcast && map.find(room) === 0) return Number(flags & 3n);
    return redirect(call, call.u32(2), flags, map.name);
  },
  fib_lookup: () => FIB_NOT_FORWARDED,
};

/** Helpers that read and change packets, and send them elsewhere: where to is noted. */
export const PACKET_HELPERS: Readonly<Record<string, Helper>> = { ...XDP, ...SKB };
