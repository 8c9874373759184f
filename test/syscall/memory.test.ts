import { spawnSync } from "node:child_process";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { BpfError } from "../../src/errors.ts";
import { createMap, openRingBuffer, u32 } from "../../src/maps/index.ts";
import { mapCreate, mapMemory, openBackend } from "../../src/syscall/index.ts";
import { failOnLeaks, requires } from "../support/harness.ts";

const test = suite("mapped memory");
failOnLeaks(test);
const kernel = requires(test, "bpf", "koffi");

const BPF_F_MMAPABLE = 1024;

kernel("an mmapable array is seen live, both ways", () => {
  const backend = openBackend();
  const attr = { map_type: 2, key_size: 4, value_size: 8, max_entries: 512, map_flags: BPF_F_MMAPABLE };
  using fd = mapCreate(backend, attr);
  using memory = mapMemory(backend, { fd: fd.number, length: 4096, access: "read-write" });
  const values = new BigUint64Array(memory.buffer);
  using map = createMap({ type: "array", key: u32, value: 8, maxEntries: 1 });
  void map;
  values[5] = 77n;
  const got = new BigUint64Array(1);
  lookup(fd.number, 5, new Uint8Array(got.buffer));
  assert.is(got[0], 77n);
});

function lookup(fd: number, key: number, into: Uint8Array): void {
  const backend = openBackend();
  const attr = new Uint8Array(new ArrayBuffer(32));
  const keys = Uint32Array.of(key);
  const view = new DataView(attr.buffer);
  view.setUint32(0, fd, true);
  view.setBigUint64(8, BigInt(backend.addressOf(keys)), true);
  view.setBigUint64(16, BigInt(backend.addressOf(into)), true);
  assert.is(backend.bpf(1, backend.addressOf(attr), 32), 0);
  assert.is(keys[0], key);
}

kernel("views read zeros after close, and the process lives", () => {
  const backend = openBackend();
  using fd = mapCreate(backend, { map_type: 2, key_size: 4, value_size: 8, max_entries: 8, map_flags: BPF_F_MMAPABLE });
  const memory = mapMemory(backend, { fd: fd.number, length: 4096, access: "read-write", label: "the array" });
  const held = new Uint8Array(memory.buffer);
  held[0] = 1;
  memory.close();
  memory.close();
  assert.is(held[0], 0);
  held[4095] = 9;
  assert.is(held[4095], 9);
  assert.is(memory.closed, true);
  try {
    void memory.buffer;
    assert.unreachable();
  } catch (error) {
    assert.is((error as BpfError).code, "ERR_CLOSED");
    assert.is((error as Error).message, "Cannot use the array: it is closed");
  }
});

kernel("a closed ring buffer can still be touched through whatever was kept of it", () => {
  const script = `
    import { createMap, openRingBuffer } from "${new URL("../../src/maps/index.js", import.meta.url)}";
    const map = createMap({ type: "ringbuf", maxEntries: 4096 });
    const ring = openRingBuffer(map);
    const data = ring.data;
    ring.close();
    map.close();
    let sum = 0;
    for (let i = 0; i < data.length; i++) sum += data[i];
    data[0] = 1;
    console.log("alive", sum, data.length);
  `;
  const child = spawnSync(process.execPath, ["--input-type=module", "-e", script], { encoding: "utf8" });
  assert.is(child.stdout.trim(), "alive 0 8192", child.stderr);
  assert.is(child.status, 0);
});

kernel("a mapping that the kernel refuses is a clear error", () => {
  const backend = openBackend();
  using fd = mapCreate(backend, { map_type: 27, max_entries: 4096, map_name: "ring" });
  assert.throws(
    () => mapMemory(backend, { fd: fd.number, length: 4096, offset: 4096, access: "read-write", label: "the ring" }),
    /^Error|Cannot map the ring: EPERM, operation not permitted/,
  );
});

kernel("opening and closing many ring buffers leaves no mappings of them", async () => {
  const { readFileSync } = await import("node:fs");
  const count = (): number => readFileSync("/proc/self/maps", "utf8").split("\n").length;
  const before = count();
  for (let i = 0; i < 300; i++) {
    using map = createMap({ type: "ringbuf", maxEntries: 4096 });
    openRingBuffer(map).close();
  }
  const after = count();
  assert.ok(after - before < 60, `${before} lines in /proc/self/maps before, ${after} after: ranges should merge`);
});

test.run();
