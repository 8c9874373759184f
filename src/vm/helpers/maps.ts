// Browser-safe.

import { ArrayMap } from "../maps/array.ts";
import { E2BIG, EAGAIN, EINVAL, ENOENT } from "../maps/errno.ts";
import { RingMap } from "../maps/ringbuf.ts";
import type { Helper, HelperCall } from "./call.ts";

const BPF_F_CURRENT_CPU = 0xffff_ffff;
const BPF_F_INDEX_MASK = 0xffff_ffffn;
/** What `ringbuf_query` is asked for. */
const RingQuery = { available: 0, size: 1, consumed: 2, produced: 3 } as const;

function ringOf(call: HelperCall, n: number): RingMap {
  const map = call.map(n);
  if (!(map instanceof RingMap)) throw call.fault(`${map.label} is no ring buffer`);
  return map;
}

function commit(call: HelperCall, discard: boolean): void {
  for (const map of call.run.world.maps) {
    if (map instanceof RingMap && map.commit(call.u32(1), discard)) return;
  }
  throw call.fault("r1 is no record that was reserved and not yet given back");
}

/** Helpers that work on maps. */
export const MAP_HELPERS: Readonly<Record<string, Helper>> = {
  map_lookup_elem(call) {
    const map = call.map(1);
    return map.lookup(call.readable(2, map.keySize), call.run.cpu);
  },
  map_lookup_percpu_elem(call) {
    const map = call.map(1);
    const cpu = call.u32(3);
    if (cpu >= call.run.world.cpus) return 0;
    return map.lookup(call.readable(2, map.keySize), cpu);
  },
  map_update_elem(call) {
    const map = call.map(1);
    const key = call.readable(2, map.keySize);
    return map.update(key, call.readable(3, map.valueSize), Number(call.u64(4)), call.run.cpu);
  },
  map_delete_elem(call) {
    const map = call.map(1);
    return map.remove(call.readable(2, map.keySize));
  },
  map_push_elem(call) {
    const map = call.map(1);
    return map.push(call.readable(2, map.valueSize), Number(call.u64(3)));
  },
  map_pop_elem(call) {
    const map = call.map(1);
    return map.pop(call.writable(2, map.valueSize));
  },
  map_peek_elem(call) {
    const map = call.map(1);
    // A Bloom filter looks for the value, the others fill it.
    return map.peek(map.type === "bloom_filter" ? call.readable(2, map.valueSize) : call.writable(2, map.valueSize));
  },
  for_each_map_elem(call) {
    const map = call.map(1);
    if (!map.walkable) throw call.fault(`${map.label} cannot be walked over`);
    if (call.u64(4) !== 0n) return -EINVAL;
    const { cpu } = call;
    const context = call.u32(3);
    const pointer = call.u32(1);
    const index = call.run.cpu;
    const keys = map.keys();
    let at = 0;
    let count = 0;
    /** Arguments for the next entry that is still there. */
    const next = (): readonly number[] | undefined => {
      while (at < keys.length) {
        const key = keys[at++]!;
        const found = map.find(key);
        if (found !== 0) return [pointer, key, found + (map.copies === 1 ? 0 : index * map.stride), context];
      }
      return undefined;
    };
    const first = next();
    if (first === undefined) return 0;
    call.callBack(2, first, (result) => {
      count++;
      const args = result === 0 ? next() : undefined;
      if (args !== undefined) {
        call.arguments(args);
        return true;
      }
      cpu.setResult(count);
      return false;
    });
    return 0;
  },
  ringbuf_output(call) {
    const ring = ringOf(call, 1);
    const size = call.size(3);
    const data = call.readable(2, size);
    const at = ring.reserve(size);
    if (at === 0) return -EAGAIN;
    call.memory.bytes.copyWithin(at, data, data + size);
    ring.commit(at, false);
    return 0;
  },
  ringbuf_reserve(call) {
    const ring = ringOf(call, 1);
    return call.u64(3) === 0n ? ring.reserve(call.size(2)) : 0;
  },
  ringbuf_submit(call) {
    commit(call, false);
  },
  ringbuf_discard(call) {
    commit(call, true);
  },
  ringbuf_query(call) {
    const ring = ringOf(call, 1);
    switch (Number(call.u64(2))) {
      case RingQuery.available:
        return ring.available;
      case RingQuery.size:
        return ring.maxEntries;
      case RingQuery.consumed:
        return ring.consumed;
      case RingQuery.produced:
        return ring.produced;
      default:
        return 0;
    }
  },
  perf_event_output(call) {
    const map = call.map(2);
    if (map.type !== "perf_event_array") throw call.fault(`${map.label} is no perf_event_array`);
    const flags = call.u64(3);
    if ((flags & ~(BPF_F_INDEX_MASK | (0xf_ffffn << 32n))) !== 0n) return -EINVAL;
    const index = Number(flags & BPF_F_INDEX_MASK);
    const cpu = index === BPF_F_CURRENT_CPU ? call.run.cpu : index;
    if (cpu >= map.maxEntries) return -E2BIG;
    const size = call.size(5);
    const own = call.read(4, size).slice();
    // The upper bits ask for so many bytes of the packet behind.
    const wanted = Number((flags >> 32n) & 0xf_ffffn);
    const packet = wanted === 0 ? undefined : call.run.packet?.bytes().subarray(0, wanted);
    const data = new Uint8Array(own.length + (packet?.length ?? 0));
    data.set(own);
    if (packet !== undefined) data.set(packet, own.length);
    call.run.world.perfEvents.push({ map: map.name, cpu, data });
    return 0;
  },
  tail_call(call) {
    call.context(1);
    const map = call.map(2);
    if (!(map instanceof ArrayMap) || map.type !== "prog_array") throw call.fault(`${map.label} is no prog_array`);
    const number = map.handleAt(call.u32(3));
    const program = number === undefined ? undefined : call.run.world.programs[number];
    if (program === undefined) return -ENOENT;
    return call.cpu.tailCall(program.code, program.name, call.u32(1)) ? 0 : -E2BIG;
  },
};
