/** Answers `lookup hash|array N` with the CPU time of N lookups, as the C peer does. Arguments: adapter, raw or map. */
import { createInterface } from "node:readline";
import { mapElemAttr } from "../../src/kernel-abi/index.ts";
import { type BpfMap, createMap, u32, u64 } from "../../src/maps/index.ts";
import { type BackendName, openBackend } from "../../src/syscall/index.ts";

const [adapter, style] = process.argv.slice(2);
const backend = openBackend(adapter as BackendName);
const maps = new Map<string, BpfMap<number, bigint>>();

function mapOf(type: string): BpfMap<number, bigint> {
  let map = maps.get(type);
  if (map === undefined) {
    map = createMap({ type: type as "hash" | "array", key: u32, value: u64, maxEntries: 1024 }, { backend });
    for (let key = 0; key < 1024; key++) map.set(key, BigInt(key * 3));
    maps.set(type, map);
  }
  return map;
}

function raw(map: BpfMap<number, bigint>, count: number): number {
  const attr = new Uint8Array(new ArrayBuffer(mapElemAttr.size));
  const key = new Uint32Array(new ArrayBuffer(4));
  const value = new Uint32Array(new ArrayBuffer(8));
  const view = new DataView(attr.buffer);
  const { fields } = mapElemAttr;
  view.setUint32(fields.map_fd.offset, map.fd, true);
  view.setBigUint64(fields.key.offset, BigInt(backend.addressOf(key)), true);
  view.setBigUint64(fields.value.offset, BigInt(backend.addressOf(value)), true);
  const address = backend.addressOf(attr);
  let sum = 0;
  for (let i = 0; i < count; i++) {
    key[0] = i & 1023;
    if (backend.bpf(1, address, mapElemAttr.size) !== 0) throw new Error("The lookup failed");
    sum += value[0]! + value[1]! * 2 ** 32;
  }
  // Used behind the loop: the addresses alone would not keep them.
  return sum + attr.length + key.length;
}

function typed(map: BpfMap<number, bigint>, count: number): bigint {
  let sum = 0n;
  for (let i = 0; i < count; i++) sum += map.get(i & 1023)!;
  return sum;
}

createInterface({ input: process.stdin }).on("line", (line) => {
  const [, type, count] = line.split(" ");
  const map = mapOf(type!);
  const before = process.cpuUsage();
  const sum = style === "raw" ? raw(map, Number(count)) : typed(map, Number(count));
  const used = process.cpuUsage(before);
  console.log(`${(used.user + used.system) * 1000} ${sum}`);
});
