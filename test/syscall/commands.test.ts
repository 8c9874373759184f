import { readFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { exit, mov, program, r0 } from "../../src/asm/index.ts";
import { decodeStruct, mapInfo, progInfo } from "../../src/kernel-abi/index.ts";
import { loadProgram } from "../../src/programs/index.ts";
import {
  FakeKernel,
  kernelBuffer,
  mapCreate,
  mapDelete,
  mapLookup,
  mapNextKey,
  mapUpdate,
  monotonicTime,
  mountDetached,
  objGet,
  objInfo,
  objPin,
  openBackend,
  perfEventOpen,
  perfIoctl,
  type SyscallError,
} from "../../src/syscall/index.ts";
import { onBothKernels } from "../support/backends.ts";
import { failOnLeaks, requires } from "../support/harness.ts";

const test = suite("bpf commands");
failOnLeaks(test);
const kernel = requires(test, "bpf", "sys-admin", "koffi");

function codeOf(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    return (error as SyscallError).code;
  }
  return "none";
}

const HASH = { map_type: 1, key_size: 4, value_size: 8, max_entries: 4, map_name: "raw" };

onBothKernels(test, "map elements by bytes", (backend) => {
  using map = mapCreate(backend, HASH);
  const key = Uint8Array.of(1, 2, 3, 4);
  const value = Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8);
  const room = kernelBuffer(8);
  assert.is(
    codeOf(() => mapLookup(map, key, room)),
    "ENOENT",
  );
  mapUpdate(map, key, value);
  mapLookup(map, key, room);
  assert.equal(room, value);
  assert.is(
    codeOf(() => mapUpdate(map, key, value, 1)),
    "EEXIST",
  );
  const next = kernelBuffer(4);
  mapNextKey(map, undefined, next);
  assert.equal(next, key);
  assert.is(
    codeOf(() => mapNextKey(map, key, next)),
    "ENOENT",
  );
  mapDelete(map, key);
  assert.is(
    codeOf(() => mapDelete(map, key)),
    "ENOENT",
  );
});

kernel("a map and a program can be pinned and opened again", () => {
  const backend = openBackend();
  // A BPF file system that is mounted nowhere: it needs no cleaning up.
  using bpffs = mountDetached(backend, "bpf");
  const folder = `/proc/self/fd/${bpffs.number}`;
  using map = mapCreate(backend, HASH);
  mapUpdate(map, Uint8Array.of(9, 0, 0, 0), new Uint8Array(8).fill(7));
  objPin(map, `${folder}/map`);
  assert.is(
    codeOf(() => objPin(map, `${folder}/map`)),
    "EEXIST",
  );
  assert.is(
    codeOf(() => objPin(map, `${folder}/no/map`)),
    "ENOENT",
  );
  assert.is(
    codeOf(() => objPin(map, `${folder}/with.dot`)),
    "EPERM",
  );
  assert.is(
    codeOf(() => objPin(map, "/tmp/not-a-bpf-file-system")),
    "EPERM",
  );
  assert.is(
    codeOf(() => objGet(backend, `${folder}/none`)),
    "ENOENT",
  );
  using again = objGet(backend, `${folder}/map`);
  const room = kernelBuffer(8);
  mapLookup(again, Uint8Array.of(9, 0, 0, 0), room);
  assert.equal(room, new Uint8Array(8).fill(7));
  using loaded = loadProgram({ type: "socket_filter", instructions: program(mov(r0, 0), exit()), license: "GPL" });
  objPin(loaded.owner, `${folder}/prog`);
  objGet(backend, `${folder}/prog`).close();
});

kernel("a pin opened for reading cannot be written through", () => {
  const backend = openBackend();
  using bpffs = mountDetached(backend, "bpf");
  const path = `/proc/self/fd/${bpffs.number}/map`;
  using map = mapCreate(backend, HASH);
  objPin(map, path);
  const BPF_F_RDONLY = 8;
  using readOnly = objGet(backend, path, BPF_F_RDONLY);
  assert.is(
    codeOf(() => mapUpdate(readOnly, new Uint8Array(4), new Uint8Array(8))),
    "EPERM",
  );
});

kernel("information about a map and a program", () => {
  const backend = openBackend();
  using map = mapCreate(backend, HASH);
  const info = decodeStruct(mapInfo, objInfo(map, mapInfo.size));
  assert.is(info.type, 1);
  assert.is(info.key_size, 4);
  assert.is(info.value_size, 8);
  assert.is(info.max_entries, 4);
  assert.is(info.name, "raw");
  assert.is(`${info.id}`, /map_id:\s*(\d+)/.exec(readFileSync(`/proc/self/fdinfo/${map.number}`, "utf8"))![1]);
  const spec = {
    type: "socket_filter",
    instructions: program(mov(r0, 0), exit()),
    license: "GPL",
    name: "two",
  } as const;
  using loaded = loadProgram(spec);
  const about = decodeStruct(progInfo, objInfo(loaded.owner, progInfo.size));
  assert.is(about.type, 1);
  assert.is(about.name, "two");
  assert.is(about.xlated_prog_len, 16);
  const fdinfo = readFileSync(`/proc/self/fdinfo/${loaded.fd}`, "utf8");
  assert.is(`${about.id}`, /prog_id:\s*(\d+)/.exec(fdinfo)![1]);
  // A struct smaller than the kernel's is filled in as far as it goes.
  assert.is(objInfo(map, 8).length, 8);
});

kernel("a software perf event counts, can be stopped and set back", () => {
  const backend = openBackend();
  const PERF_TYPE_SOFTWARE = 1;
  const PERF_COUNT_SW_TASK_CLOCK = 1;
  using event = perfEventOpen(backend, {
    attr: { type: PERF_TYPE_SOFTWARE, config: PERF_COUNT_SW_TASK_CLOCK, disabled: 1 },
    pid: 0,
  });
  const read = (): bigint => {
    const room = kernelBuffer(8);
    assert.is(backend.syscall(0, event.number, backend.addressOf(room), 8), 8);
    return new DataView(room.buffer).getBigUint64(0, true);
  };
  const spin = (): void => {
    const end = performance.now() + 5;
    while (performance.now() < end);
  };
  assert.is(read(), 0n);
  perfIoctl(event, "ENABLE");
  spin();
  perfIoctl(event, "DISABLE");
  const counted = read();
  assert.ok(counted > 1_000_000n, `${counted} ns`);
  spin();
  assert.is(read(), counted);
  perfIoctl(event, "RESET");
  assert.is(read(), 0n);
  assert.is(
    codeOf(() => perfIoctl(event, "SET_BPF", 9999)),
    "EBADF",
  );
});

kernel("perf events that cannot be are clear errors", () => {
  const backend = openBackend();
  assert.is(
    codeOf(() => perfEventOpen(backend, { attr: { type: 1, config: 9 }, cpu: 9999 })),
    "EINVAL",
  );
  assert.is(
    codeOf(() => perfEventOpen(backend, { attr: { type: 2, config: 999_999 }, cpu: 0 })),
    "EINVAL",
  );
});

kernel("the clock is that of the kernel's programs", () => {
  const backend = openBackend();
  const before = monotonicTime(backend);
  const node = process.hrtime.bigint();
  assert.ok(node >= before && node - before < 1_000_000_000n);
});

test("attributes: unknown names, values that do not fit, text with NUL", () => {
  const { backend } = new FakeKernel();
  assert.throws(() => mapCreate(backend, { ...HASH, nonsense: 1 } as never), /bpf_attr has no field "nonsense"/);
  assert.throws(() => mapCreate(backend, { ...HASH, key_size: -1 }), /Field "key_size" of bpf_attr is -1/);
  assert.throws(() => mapCreate(backend, { ...HASH, max_entries: 2 ** 32 }), /Field "max_entries"/);
  assert.throws(() => mapCreate(backend, { ...HASH, map_name: "a234567890123456" }), /has room for 15 bytes, found 16/);
  assert.throws(() => objGet(backend, "/sys/fs/bpf/a\0b"), /may not contain NUL/);
});

test.run();
