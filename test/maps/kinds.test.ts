import { closeSync, mkdirSync, openSync, rmdirSync, statSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import * as a from "../../src/asm/index.ts";
import type { BpfError } from "../../src/errors.ts";
import type { MapType } from "../../src/kernel-abi/index.ts";
import {
  type BpfMap,
  bytes,
  type Codec,
  createMap,
  mapFromFd,
  openMapById,
  openPinnedMap,
  struct,
  u32,
  u64,
  valueCpus,
} from "../../src/maps/index.ts";
import { loadProgram } from "../../src/programs/index.ts";
import { linkCreate, mountDetached, openBackend } from "../../src/syscall/index.ts";
import { guardedBackend } from "../support/guarded.ts";
import { failOnLeaks, missing, requires, skip } from "../support/harness.ts";
import { type AnySpec, blueprints, isMapTypeAbsent } from "../support/map-blueprints.ts";

const test = suite("kinds of maps");
failOnLeaks(test);
const real = requires(test, "bpf", "net-admin", "sys-admin");
const { r0, r1, r2 } = a;

type AnyMap = BpfMap<unknown, unknown, unknown>;

function thrown(run: () => unknown): BpfError {
  try {
    run();
  } catch (error) {
    return error as BpfError;
  }
  throw new Error("Nothing was thrown");
}

for (const [type, spec] of Object.entries(blueprints) as [MapType, AnySpec][]) {
  const name = `a ${type} is the same map by id, by pin and by descriptor`;
  if (isMapTypeAbsent(type)) {
    skip(test, name, "this kernel is older");
    continue;
  }
  real(name, () => {
    // Every answer of the kernel about it goes through buffers between guards.
    const backend = guardedBackend();
    using root = mountDetached(openBackend(), "bpf");
    using map = createMap({ ...spec, type, name: "same" }, { backend }) as AnyMap;
    const info = map.info();
    assert.is(info.name, "same");
    const path = `/proc/self/fd/${root.number}/same`;
    map.pin(path);
    using byId = openMapById(info.id, { type, backend }) as AnyMap;
    using byPin = openPinnedMap(path, { type, backend }) as AnyMap;
    using byFd = mapFromFd(map.fd, { type, backend }) as AnyMap;
    for (const other of [byId, byPin, byFd]) {
      assert.equal(other.info(), info);
      // The kernel adds a flag to those of a devmap, the library one to those that are given a node.
      assert.equal({ ...other.description, flags: 0 }, { ...map.description, flags: 0 });
      assert.is(other.valueCodec.size, map.valueCodec.size);
      assert.is(other.constructor, map.constructor);
    }
    const wrong = type === "array" ? "hash" : "array";
    assert.is(thrown(() => openMapById(info.id, { type: wrong, backend })).code, "ERR_TYPE_MISMATCH");
    map.unpin();
    assert.is(thrown(() => openPinnedMap(path, { backend })).code, "ENOENT");
  });
}

/** What each operation gives in each state, as the kernel was measured. */
type Outcome = string | boolean;

function outcome(run: () => unknown): Outcome {
  try {
    return run() !== false;
  } catch (error) {
    return (error as BpfError).code;
  }
}

const word = Uint8Array.of(1, 0, 0, 0);
const other = Uint8Array.of(2, 0, 0, 0);
const third = Uint8Array.of(3, 0, 0, 0);
const bytes4 = bytes(4);

for (const type of ["hash", "percpu_hash"] as const) {
  real(`errors of a ${type} are the kernel's, each by its name`, () => {
    using map = createMap({ type, key: bytes4, value: bytes4, maxEntries: 2 }) as AnyMap;
    const value = type === "hash" ? word : valueCpus().map(() => word);
    assert.is(
      outcome(() => map.set(word, value)),
      true,
    );
    assert.is(
      outcome(() => map.set(other, value)),
      true,
    );
    // A per-CPU hash keeps spare elements for the CPUs, so that it fills up later.
    if (type === "hash")
      assert.is(
        outcome(() => map.set(third, value)),
        "E2BIG",
      );
    assert.is(
      outcome(() => map.set(word, value, "noexist")),
      "EEXIST",
    );
    assert.is(
      outcome(() => map.update(word, value, "noexist")),
      false,
    );
    assert.is(
      outcome(() => map.set(Uint8Array.of(9, 9, 9, 9), value, "exist")),
      "ENOENT",
    );
    assert.is(
      outcome(() => map.update(Uint8Array.of(9, 9, 9, 9), value, "exist")),
      false,
    );
    assert.is(map.get(Uint8Array.of(9, 9, 9, 9)), undefined);
    assert.is(map.delete(Uint8Array.of(9, 9, 9, 9)), false);
    assert.is(map.take(Uint8Array.of(9, 9, 9, 9)), undefined);
    if (type === "hash") {
      assert.is(
        outcome(() => map.set(word, value, "lock")),
        "EINVAL",
      );
      assert.is(
        outcome(() => map.get(word, "lock")),
        "EINVAL",
      );
    }
    map.freeze();
    assert.is(
      outcome(() => map.set(word, value)),
      "EPERM",
    );
    assert.is(
      outcome(() => map.delete(word)),
      "EPERM",
    );
    assert.is(
      outcome(() => map.freeze()),
      "EPERM",
    );
    assert.equal(map.get(word), value);
  });
}

real("errors of other kinds", () => {
  using array = createMap({ type: "array", value: 4, maxEntries: 2 });
  assert.is(
    outcome(() => array.set(2, word)),
    "E2BIG",
  );
  assert.is(array.get(2), undefined);
  assert.is(
    outcome(() => array.delete(0)),
    "EINVAL",
  );
  assert.is(
    outcome(() => array.set(0, word, "noexist")),
    "EEXIST",
  );
  using lru = createMap({ type: "lru_hash", key: u32, value: u32, maxEntries: 2 });
  for (let i = 0; i < 50; i++)
    assert.is(
      outcome(() => lru.set(i, i)),
      true,
      "the oldest make room",
    );
  using trie = createMap({ type: "lpm_trie", key: 8, value: 4, maxEntries: 1, flags: ["no_prealloc"] });
  const prefix = (bits: number, ...rest: number[]): Uint8Array => Uint8Array.of(bits, 0, 0, 0, ...rest);
  trie.set(prefix(8, 10, 0, 0, 0), word);
  assert.is(
    outcome(() => trie.set(prefix(8, 11, 0, 0, 0), word)),
    "ENOSPC",
  );
  assert.is(
    outcome(() => trie.set(prefix(33, 11, 0, 0, 0), word)),
    "EINVAL",
  );
  using ring = createMap({ type: "ringbuf", maxEntries: 4096 }) as AnyMap;
  assert.is(
    outcome(() => ring.get(new Uint8Array(0))),
    "ENOTSUPP",
  );
  using events = createMap({ type: "perf_event_array" });
  assert.is(
    outcome(() => events.set(0, 9999)),
    "EBADF",
  );
  assert.is(
    outcome(() => events.set(0, array)),
    "EBADF",
  );
  using programs = createMap({ type: "prog_array", maxEntries: 1 });
  assert.is(
    outcome(() => programs.set(0, array)),
    "EINVAL",
  );
  assert.is(programs.delete(0), false);
  using readOnly = openMapById(array.info().id, { access: "read" });
  assert.is(
    outcome(() => readOnly.raw.set(word, word)),
    "EPERM",
  );
  using writeOnly = openMapById(array.info().id, { access: "write" });
  assert.is(
    outcome(() => writeOnly.raw.get(word)),
    "EPERM",
  );
  assert.is(thrown(() => openMapById(0xfffffff0)).code, "ENOENT");
});

/** A folder in a cgroup file system, open. */
function withCgroup(run: (fd: number, id: bigint) => void): void {
  using root = mountDetached(openBackend(), "cgroup2");
  const folder = `/proc/self/fd/${root.number}/rawbpf-maps-${process.pid}`;
  mkdirSync(folder);
  const fd = openSync(folder, "r");
  try {
    run(fd, statSync(folder, { bigint: true }).ino);
  } finally {
    closeSync(fd);
    rmdirSync(folder);
  }
}

real("a cgroup_array holds cgroups by descriptor, and does not show them", () => {
  withCgroup((fd) => {
    using map = createMap({ type: "cgroup_array", maxEntries: 2 });
    map.set(1, fd);
    assert.is(thrown(() => map.get(1)).code, "ENOTSUPP");
    assert.is(map.delete(1), true);
    assert.is(map.delete(1), false);
    assert.is(thrown(() => map.set(0, map)).code, "EBADF");
  });
});

real("cgrp_storage hangs on a cgroup, found by its descriptor", () => {
  withCgroup((fd) => {
    using map = createMap({ type: "cgrp_storage", value: u64, flags: ["no_prealloc"] });
    assert.is(map.get(fd), undefined);
    assert.is(map.update(fd, 7n, "noexist"), true);
    assert.is(map.update(fd, 8n, "noexist"), false);
    assert.is(map.get({ fd }), 7n);
    assert.is(map.delete(fd), true);
    assert.is(map.delete(fd), false);
  });
});

real("cgroup_storage has an entry for each cgroup that a program is attached to", () => {
  withCgroup((fd, id) => {
    for (const type of ["cgroup_storage", "percpu_cgroup_storage"] as const) {
      const key = struct({ cgroup: u64, attachType: u32 });
      using map = createMap({ type, key: key as Codec<unknown>, value: u64 as Codec<unknown> }) as AnyMap;
      const instructions = a.program(
        a.ldMap(r1, map),
        a.mov(r2, 0),
        a.call("get_local_storage"),
        a.load("u64", r1, r0, 0),
        a.add(r1, 1),
        a.store("u64", r0, 0, r1),
        a.mov(r0, 1),
        a.exit(),
      );
      using program = loadProgram({ type: "cgroup_skb", license: "GPL", instructions });
      const EGRESS = 1;
      const attr = { prog_fd: program.fd, target_fd: fd, attach_type: EGRESS };
      using _link = linkCreate(openBackend(), attr, "cgroup_skb");
      const name = { cgroup: id, attachType: EGRESS };
      assert.equal([...map.keys()], [name]);
      const many = (value: bigint): unknown => (type === "cgroup_storage" ? value : valueCpus().map(() => value));
      assert.equal(map.get(name), many(0n));
      map.set(name, many(5n), "exist");
      assert.equal([...map], [[name, many(5n)]]);
      assert.is(map.get({ cgroup: 1n << 60n, attachType: EGRESS }), undefined);
      assert.is(map.update({ cgroup: 1n << 60n, attachType: EGRESS }, many(5n), "exist"), false);
    }
  });
});

const AF_INET = 2;
const AF_XDP = 44;
const SOCK_DGRAM = 2;
const SOCK_RAW = 3;
const SOL_SOCKET = 1;
const SO_REUSEPORT = 15;
/** Numbers of socket, setsockopt and bind. */
const CALLS = { x64: [41, 54, 49], arm64: [198, 208, 200] } as { readonly [arch: string]: readonly number[] };

/** A socket made by system calls: Node has none of these kinds. */
function openSocket(family: number, kind: number): { readonly fd: number; [Symbol.dispose](): void } {
  const backend = openBackend();
  const fd = backend.syscall(CALLS[backend.architecture]![0]!, family, kind, 0);
  assert.ok(fd > 2, `socket: ${fd}`);
  return { fd, [Symbol.dispose]: () => closeSync(fd) };
}

real("a reuseport_sockarray holds sockets that share a port, read as cookies", () => {
  using socket = openSocket(AF_INET, SOCK_DGRAM);
  using map = createMap({ type: "reuseport_sockarray", maxEntries: 2 });
  assert.is(thrown(() => map.set(0, socket)).code, "EINVAL");
  const backend = openBackend();
  const [, setsockopt, bind] = CALLS[backend.architecture]!;
  const one = new Uint8Array(new ArrayBuffer(4));
  one[0] = 1;
  assert.is(backend.syscall(setsockopt!, socket.fd, SOL_SOCKET, SO_REUSEPORT, backend.addressOf(one), 4), 0);
  // Any port on 127.0.0.1.
  const address = new Uint8Array(new ArrayBuffer(16));
  address.set([AF_INET, 0, 0, 0, 127, 0, 0, 1]);
  assert.is(backend.syscall(bind!, socket.fd, backend.addressOf(address), address.length), 0);
  assert.is(one[0] + address[0]!, 1 + AF_INET);
  map.set(1, socket);
  assert.ok(map.get(1)! > 0n);
  assert.equal([...map.entries()], [[1, map.get(1)!]]);
  assert.is(map.delete(1), true);
  assert.is(map.delete(1), false);
});

/** A descriptor, or `-errno`. */
function openXdpSocket(): number {
  const backend = openBackend();
  return backend.syscall(CALLS[backend.architecture]![0]!, AF_XDP, SOCK_RAW, 0);
}

/** Why there are no AF_XDP sockets. */
function missingXdpSockets(): string | undefined {
  const fd = openXdpSocket();
  if (fd >= 0) closeSync(fd);
  const EAFNOSUPPORT = -97;
  return fd === EAFNOSUPPORT ? "this kernel has the map, but no AF_XDP sockets" : undefined;
}

real("an xskmap refuses other sockets", () => {
  using map = createMap({ type: "xskmap", maxEntries: 2 });
  using wrong = openSocket(AF_INET, SOCK_DGRAM);
  assert.is(thrown(() => map.set(0, wrong)).code, "EOPNOTSUPP");
});

const withoutXdp = missing("bpf") === undefined ? missingXdpSockets() : undefined;
const xdp = withoutXdp === undefined ? real : (name: string) => skip(test, name, withoutXdp);
xdp("an xskmap holds AF_XDP sockets, and does not show them", () => {
  using map = createMap({ type: "xskmap", maxEntries: 2 });
  const fd = openXdpSocket();
  assert.ok(fd > 2, String(fd));
  try {
    map.set(1, fd);
    assert.is(thrown(() => map.get(1)).code, "EOPNOTSUPP");
    assert.is(map.delete(1), true);
  } finally {
    closeSync(fd);
  }
});

real("a closed map refuses every operation by itself, whatever became of its descriptor's number", () => {
  for (const [type, spec] of Object.entries(blueprints) as [MapType, AnySpec][]) {
    if (isMapTypeAbsent(type)) continue;
    const map = createMap({ ...spec, type }) as AnyMap;
    map.close();
    // The number is free again, and another map's from now on.
    using _other = createMap({ type: "hash", key: u32, value: u32, maxEntries: 1 });
    const key = new Uint8Array(map.description.keySize);
    for (const use of [
      () => map.get(key),
      () => map.set(key, key),
      () => map.delete(key),
      () => map.take(key),
      () => map.nextKey(),
      () => [...map],
      () => [...map.batches()],
      () => map.clear(),
      () => map.count(),
      () => map.setMany([]),
      () => map.deleteMany([]),
      () => map.freeze(),
      () => map.info(),
      () => map.pin("/sys/fs/bpf/never"),
    ]) {
      assert.is(thrown(use).code, "ERR_CLOSED", `${type} ${use}`);
    }
  }
});

test.run();
