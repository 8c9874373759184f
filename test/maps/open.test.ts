import { existsSync, mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { exit, mov, r0 } from "../../src/asm/index.ts";
import type { BpfError } from "../../src/errors.ts";
import {
  type BpfMap,
  checkPinName,
  checkPinPath,
  createMap,
  MapIncompatibleError,
  mapFromFd,
  mapIds,
  openMapById,
  openOrCreatePinnedMap,
  openPinnedMap,
  pinObject,
  u32,
  u64,
  unpin,
  valueCpus,
} from "../../src/maps/index.ts";
import { loadProgram } from "../../src/programs/index.ts";
import { mountDetached, openBackend, type SyscallBackend, syscallNumbers } from "../../src/syscall/index.ts";
import { failOnLeaks, requires } from "../support/harness.ts";

const test = suite("opening and pinning maps");
failOnLeaks(test);

function thrown(run: () => unknown): BpfError {
  try {
    run();
  } catch (error) {
    return error as BpfError;
  }
  throw new Error("Nothing was thrown");
}

/** A BPF file system that is mounted nowhere else, and gone afterwards. */
function withBpffs(run: (root: string) => void): void {
  using root = mountDetached(openBackend(), "bpf");
  run(`/proc/self/fd/${root.number}`);
}

const spec = { type: "hash", name: "shared", key: u32, value: u64, maxEntries: 16 } as const;

requires(
  test,
  "bpf",
  "sys-admin",
)("a map is found by its id, and is among all ids", () => {
  using map = createMap(spec);
  map.set(1, 5n);
  const { id } = map.info();
  using again = openMapById(id, { key: u32, value: u64, type: "hash" });
  assert.is(again.get(1), 5n);
  assert.is(again.name, "shared");
  assert.ok([...mapIds()].includes(id));
  using raw = openMapById(id);
  assert.equal(raw.get(Uint8Array.of(1, 0, 0, 0)), Uint8Array.of(5, 0, 0, 0, 0, 0, 0, 0));
  assert.is(thrown(() => openMapById(0xfffffff0)).code, "ENOENT");
});

requires(
  test,
  "bpf",
  "sys-admin",
)("values of a per-CPU map that was opened by id are arrays", () => {
  using map = createMap({ type: "percpu_hash", key: u32, value: u32, maxEntries: 4 });
  const values = valueCpus().map((cpu) => cpu + 1);
  map.set(7, values);
  using again = openMapById(map.info().id, { key: u32, value: u32, type: "percpu_hash" });
  assert.equal(again.get(7), values);
});

requires(test, "bpf")("a descriptor from elsewhere becomes a map, and stays its owner's", () => {
  using map = createMap(spec);
  {
    using other = mapFromFd(map.fd, { key: u32, value: u64 });
    other.set(3, 4n);
    assert.not.equal(other.fd, map.fd);
  }
  assert.is(map.get(3), 4n);
  const owner = map.owner.duplicate();
  const taken = mapFromFd(owner, { key: u32, value: u64 });
  taken.close();
  assert.is(owner.closed, true);
});

requires(test, "bpf")("what is no map, or another one, is refused, and its descriptor closed", () => {
  using program = loadProgram({ type: "socket_filter", instructions: [mov(r0, 0), exit()], license: "GPL" });
  const error = thrown(() => mapFromFd(program.fd));
  assert.is(error.code, "ERR_TYPE_MISMATCH");
  assert.match(error.message, /^Cannot use descriptor \d+ as a map: it is none$/);
  assert.is(thrown(() => mapFromFd(9999)).code, "EBADF");
  assert.throws(() => mapFromFd(-1), /Need a descriptor, not -1/);
  using map = createMap(spec);
  assert.is(
    thrown(() => mapFromFd(map.fd, { key: u64 })).message,
    'Cannot use map "shared": its keys have 4 bytes, the codec 8',
  );
  assert.is(
    thrown(() => mapFromFd(map.fd, { value: u32 })).message,
    'Cannot use map "shared": its values have 8 bytes, the codec 4',
  );
  assert.is(
    thrown(() => mapFromFd(map.fd, { type: "array" })).message,
    'Cannot use map "shared" as a array: it is a hash',
  );
});

requires(
  test,
  "bpf",
  "sys-admin",
)("a map opened for reading cannot be written, and the other way round", () => {
  using map = createMap(spec);
  map.set(1, 1n);
  using reader = openMapById(map.info().id, { key: u32, value: u64, access: "read" });
  assert.is(reader.get(1), 1n);
  assert.match(
    thrown(() => reader.set(1, 2n)).message,
    /EPERM, not permitted: a map that is frozen or was opened read-only/,
  );
  using writer = openMapById(map.info().id, { key: u32, value: u64, access: "write" });
  writer.set(1, 3n);
  assert.is(thrown(() => writer.get(1)).code, "EPERM");
  assert.is(map.get(1), 3n);
  assert.throws(() => openMapById(1, { access: "append" as never }), /"append" is no access/);
});

requires(test, "bpf")("info falls back on /proc/self/fdinfo where the kernel has no such command", () => {
  using map = createMap({ ...spec, type: "percpu_hash" });
  const real = openBackend();
  const old: SyscallBackend = {
    ...real,
    name: "old kernel",
    // BPF_OBJ_GET_INFO_BY_FD, unknown before Linux 4.13.
    bpf: (command, attr, size) => (command === 15 ? -22 : real.bpf(command, attr, size)),
  };
  using again = mapFromFd(map.fd, { backend: old, key: u32, value: u64, type: "percpu_hash" });
  const { name, btfId, ...wanted } = map.info();
  const { name: none, ...found } = again.info();
  assert.is(none, "");
  assert.is(name, "shared");
  assert.equal({ ...found, id: 0 }, { ...wanted, btfId, id: 0 });
  assert.is(found.id, wanted.id);
  assert.ok(found.memory! > 0);
});

const BAD_NAMES = ["", "a/b", "a.b", "..", ".", "a\0b", "x".repeat(256)];
const BAD_PATHS = ["", "counts", "/counts", "/sys/fs/bpf/", "/sys/fs/bpf//x", "/sys/fs/bpf/../x", "/sys/./bpf/x", "/sys/fs/bpf/a.b", "/a\0b/x", "../x"]; // biome-ignore format: a list

test("names and paths that lead elsewhere, or that the kernel keeps for itself, are refused", () => {
  for (const name of BAD_NAMES) assert.is(thrown(() => checkPinName(name)).code, "ERR_PIN", JSON.stringify(name));
  for (const path of BAD_PATHS) assert.is(thrown(() => checkPinPath(path)).code, "ERR_PIN", JSON.stringify(path));
  assert.is(checkPinName("counts_1"), "counts_1");
  assert.is(checkPinPath("/sys/fs/bpf/app/counts"), "/sys/fs/bpf/app/counts");
});

requires(
  test,
  "bpf",
  "sys-admin",
)("a pinned map outlives its descriptor, and unpin takes the name away", () => {
  withBpffs((root) => {
    const path = `${root}/counts`;
    {
      using map = createMap(spec);
      map.set(1, 11n);
      map.pin(path);
      assert.equal(map.pins, [path]);
      assert.is(statSync(path).mode & 0o777, 0o600);
      assert.is(thrown(() => map.pin(path)).code, "EEXIST");
    }
    using again = openPinnedMap(path, { key: u32, value: u64 });
    assert.is(again.get(1), 11n);
    assert.is(unpin(path), true);
    assert.is(unpin(path), false);
    assert.is(thrown(() => openPinnedMap(path)).code, "ENOENT");
    again.pin(path);
    again.pin(`${root}/second`);
    again.unpin();
    assert.equal(again.pins, []);
    assert.is(existsSync(path), false);
  });
});

requires(
  test,
  "bpf",
  "sys-admin",
)("a missing folder is made for its owner alone; two are not", () => {
  withBpffs((root) => {
    using map = createMap(spec);
    map.pin(`${root}/app/counts`);
    assert.is(statSync(`${root}/app`).mode & 0o777, 0o700);
    const error = thrown(() => map.pin(`${root}/a/b/counts`));
    assert.is(error.code, "ERR_PIN");
    assert.match(error.message, /\/a\/b is not there\n/);
    map.unpin();
  });
});

requires(test, "bpf")("a path on another file system is refused before the call", () => {
  const folder = mkdtempSync(join(tmpdir(), "rawbpf-pin-"));
  try {
    using map = createMap(spec);
    const error = thrown(() => map.pin(`${folder}/counts`));
    assert.is(error.code, "ERR_PIN");
    assert.match(error.message, /is not on a BPF file system\nHint: the usual place is \/sys\/fs\/bpf/);
    assert.match(thrown(() => unpin(folder)).message, /it is not on a BPF file system/);
    assert.match(thrown(() => map.pin(`${folder}/app/counts`)).message, /app is not there/);
    assert.is(existsSync(`${folder}/app`), false);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

requires(
  test,
  "bpf",
  "sys-admin",
)("what is pinned and no map is refused", () => {
  withBpffs((root) => {
    using program = loadProgram({ type: "socket_filter", instructions: [mov(r0, 0), exit()], license: "GPL" });
    pinObject(program.owner, `${root}/program`);
    assert.match(thrown(() => openPinnedMap(`${root}/program`)).message, /as a map: it is none/);
  });
});

requires(
  test,
  "bpf",
  "sys-admin",
)("a pinned map is used again when it is the one that is wanted", () => {
  withBpffs((root) => {
    const path = `${root}/counts`;
    using first = openOrCreatePinnedMap(path, spec);
    first.set(1, 2n);
    using second = openOrCreatePinnedMap(path, spec);
    assert.is(second.get(1), 2n);
    assert.is(second.info().id, first.info().id);
    const other = { type: "lru_hash", key: 8, value: u32, maxEntries: 17, flags: ["no_common_lru"] } as const;
    const error = thrown(() => openOrCreatePinnedMap(path, other)) as MapIncompatibleError;
    assert.instance(error, MapIncompatibleError);
    assert.is(error.code, "ERR_MAP_INCOMPATIBLE");
    assert.is(
      error.message,
      `Cannot use the map at ${path}: it has type hash instead of lru_hash, key size 4 instead of 8, value size 8 instead of 4, ` +
        "max entries 16 instead of 17, flags none instead of BPF_F_NO_COMMON_LRU",
    );
    assert.equal(
      error.differences.map(({ field }) => field),
      ["type", "keySize", "valueSize", "maxEntries", "flags"],
    );
  });
});

requires(
  test,
  "bpf",
  "net-admin",
  "sys-admin",
)("flags that the kernel sets by itself make no difference", () => {
  withBpffs((root) => {
    for (const type of ["devmap", "devmap_hash"] as const) {
      using first = openOrCreatePinnedMap(`${root}/${type}`, { type, maxEntries: 4 });
      using second = openOrCreatePinnedMap(`${root}/${type}`, { type, maxEntries: 4 });
      assert.is(first.info().id, second.info().id);
    }
  });
});

requires(
  test,
  "bpf",
  "sys-admin",
)("when somebody else pins at the same moment, theirs is used", () => {
  withBpffs((root) => {
    const path = `${root}/counts`;
    const real = openBackend();
    let rival: BpfMap<number, bigint> | undefined;
    const backend: SyscallBackend = {
      ...real,
      bpf: (command, attr, size) => {
        // BPF_OBJ_PIN: the other one comes just before.
        if (command === 6 && rival === undefined) {
          rival = createMap(spec);
          rival.pin(path);
        }
        return real.bpf(command, attr, size);
      },
    };
    using mine = openOrCreatePinnedMap(path, spec, { backend });
    assert.is(mine.info().id, rival!.info().id);
    rival!.close();
  });
});

test("numbers of the calls that are made here are known for every architecture", () => {
  for (const numbers of Object.values(syscallNumbers))
    assert.ok(numbers.statfs > 0 && numbers.openat > 0 && numbers.read >= 0);
});

test.run();
