import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { BpfError } from "../../src/errors.ts";
import * as abi from "../../src/kernel-abi/index.ts";
import { type BpfMap, createMap, MapFlag } from "../../src/maps/index.ts";
import { FakeKernel, isErrno, kernelOlderThan, SyscallError } from "../../src/syscall/index.ts";
import { failOnLeaks, requires, skip } from "../support/harness.ts";
import { type AnySpec, blueprints, isMapTypeAbsent } from "../support/map-blueprints.ts";

const test = suite("map types");
failOnLeaks(test);

type Spec = AnySpec;
const RIGHT = blueprints;

/** Types that the running kernel does not have, or that a test cannot make alone. */
const UNKNOWN = "this kernel is older";

test("there is a blueprint for every type", () => {
  const without = Object.keys(abi.MapType).filter((type) => !(type in RIGHT));
  assert.equal(without, ["unspec", "struct_ops"]);
});

for (const [type, spec] of Object.entries(RIGHT) as [abi.MapType, Spec][]) {
  if (isMapTypeAbsent(type)) {
    skip(test, `${type} can be created`, UNKNOWN);
    continue;
  }
  requires(
    test,
    "bpf",
    "net-admin",
  )(`${type} can be created, and says what it is`, () => {
    using map = createMap({ ...spec, type }) as BpfMap<unknown, unknown>;
    const info = map.info();
    assert.is(info.type, type);
    assert.is(info.keySize, map.description.keySize);
    assert.is(info.valueSize, map.description.valueSize);
    assert.is(info.maxEntries, map.description.maxEntries);
    // A devmap is made read-only for programs by the kernel.
    const own = type.startsWith("devmap") ? ~MapFlag.rdonly_prog : ~0;
    assert.is(info.flags & own, map.description.flags);
    assert.ok(info.id > 0);
    assert.is(info.frozen, false);
  });
}

const hashes = ["hash", "percpu_hash", "lru_hash", "lru_percpu_hash"] as const;
const indexed = [
  ...["array", "percpu_array", "prog_array", "perf_event_array", "stack_trace", "cgroup_array", "array_of_maps"],
  ...["devmap", "sockmap", "cpumap", "xskmap", "reuseport_sockarray"],
] as abi.MapType[];
const onlyMemory = ["ringbuf", "user_ringbuf", "arena"] as const;
const counted = (Object.keys(RIGHT) as abi.MapType[]).filter((type) => {
  const { maxEntries } = RIGHT[type]!;
  return maxEntries !== undefined && type !== "ringbuf" && type !== "user_ringbuf";
});
const F = MapFlag;

/** Wrong blueprints: type, what differs from the right one, what we say. */
const WRONG: readonly (readonly [abi.MapType, Partial<Spec>, RegExp])[] = [
  ...counted.map((type) => [type, { maxEntries: 0 }, /max entries may not be 0$/] as const),
  ...hashes.map((type) => [type, { key: 0 }, /a hash needs keys of at least 1 byte$/] as const),
  ...hashes.map((type) => [type, { value: 0 }, /a hash needs values of at least 1 byte$/] as const),
  ...indexed.map((type) => [type, { key: 8 }, /are indexes of 4 bytes, not 8$/] as const),
  ...onlyMemory.map((type) => [type, { key: 4 }, /has neither keys nor values$/] as const),
  ...onlyMemory.map((type) => [type, { value: 4 }, /has neither keys nor values$/] as const),
  ...(["array", "percpu_array", "queue", "stack", "bloom_filter", "lpm_trie", "cgroup_storage"] as const).map(
    (type) => [type, { value: 0 }, /its values need at least 1 byte$/] as const,
  ),
  ...(["percpu_array", "percpu_hash", "lru_percpu_hash", "percpu_cgroup_storage"] as const).map(
    (type) => [type, { value: 32769 }, /per-CPU values have at most 32768 bytes, not 32769$/] as const,
  ),
  ...(["prog_array", "perf_event_array", "cgroup_array", "array_of_maps", "xskmap"] as const).map(
    (type) => [type, { value: 8 }, /its values \(descriptors\) have 4 bytes, not 8$/] as const,
  ),
  ["hash_of_maps", { value: 8 }, /its values \(descriptors of maps\) have 4 bytes, not 8$/],
  ...(["sockmap", "sockhash", "reuseport_sockarray", "devmap", "devmap_hash", "cpumap"] as const).map(
    (type) => [type, { value: 16 }, /have 4 or 8 bytes, not 16$/] as const,
  ),
  ["sockhash", { key: 513 }, /its keys have 1 to 512 bytes, not 513$/],
  ["stack_trace", { value: 12 }, /its values are frames of 8 bytes each, not 12 bytes$/],
  ["stack_trace", { value: 40, flags: F.stack_build_id }, /its values are frames of 32 bytes each, not 40 bytes$/],
  ["lpm_trie", { key: 4 }, /a prefix length of 4 bytes and 1 to 256 bytes of data, not 4 altogether$/],
  ["lpm_trie", { key: 261 }, /and 1 to 256 bytes of data, not 261 altogether$/],
  ["lpm_trie", { flags: 0 }, /an LPM trie needs the flag BPF_F_NO_PREALLOC$/],
  ["queue", { key: 4 }, /a queue has no keys$/],
  ["stack", { key: 4 }, /a stack has no keys$/],
  ["bloom_filter", { key: 4 }, /a bloom filter has no keys: what is added are its values$/],
  ["cgroup_storage", { key: 12 }, /its keys are the id of a cgroup \(8 bytes\), or .* not 12 bytes$/],
  ["cgroup_storage", { maxEntries: 1 }, /max entries must be 0$/],
  ["percpu_cgroup_storage", { maxEntries: 1 }, /max entries must be 0$/],
  ["task_storage", { maxEntries: 1 }, /max entries must be 0$/],
  ["task_storage", { key: 8 }, /its keys are descriptors of 4 bytes, not 8$/],
  ["task_storage", { flags: 0 }, /a task_storage needs the flag BPF_F_NO_PREALLOC$/],
  ["ringbuf", { maxEntries: 0 }, /a power of two and whole pages of 4096 bytes, not 0$/],
  ["ringbuf", { maxEntries: 12288 }, /a power of two and whole pages of 4096 bytes, not 12288$/],
  ["user_ringbuf", { maxEntries: 2048 }, /a power of two and whole pages of 4096 bytes, not 2048$/],
  ["arena", { flags: 0 }, /an arena needs the flag BPF_F_MMAPABLE$/],
  ["arena", { maxEntries: 2 ** 21 }, /its size is at most 4 GiB, not 2097152 pages$/],
  ["arena", { mapExtra: 1n }, /map extra is its address, at the start of a page, not 1$/],
  ["bloom_filter", { mapExtra: 16n }, /number of hash functions, 1 to 15, not 16$/],
  ["hash", { mapExtra: 1n }, /map extra means nothing for a hash$/],
  [
    "hash",
    { flags: F.no_common_lru },
    /BPF_F_NO_COMMON_LRU is no flag for a hash, only for lru_hash, lru_percpu_hash$/,
  ],
  ["lru_hash", { flags: F.no_prealloc }, /BPF_F_NO_PREALLOC is no flag for a lru_hash$/],
  ["hash", { flags: F.mmapable }, /BPF_F_MMAPABLE is no flag for a hash, only for array, arena$/],
  ["percpu_array", { flags: F.mmapable }, /BPF_F_MMAPABLE is no flag for a percpu_array/],
  ["percpu_array", { numaNode: 0 }, /BPF_F_NUMA_NODE is no flag for a percpu_array$/],
  ["percpu_hash", { numaNode: 0 }, /BPF_F_NUMA_NODE is no flag for a percpu_hash$/],
  ["array", { flags: F.no_prealloc }, /BPF_F_NO_PREALLOC is no flag for a array$/],
  ["array", { flags: F.zero_seed }, /BPF_F_ZERO_SEED is no flag for a array/],
  ["array", { flags: F.rdonly | F.wronly }, /BPF_F_RDONLY and BPF_F_WRONLY exclude each other$/],
  ["array", { flags: F.rdonly_prog | F.wronly_prog }, /BPF_F_RDONLY_PROG and BPF_F_WRONLY_PROG exclude each other$/],
  ["lru_hash", { flags: F.no_common_lru, numaNode: 0 }, /BPF_F_NO_COMMON_LRU and BPF_F_NUMA_NODE exclude each other$/],
  ["hash", { flags: F.preserve_elems }, /BPF_F_PRESERVE_ELEMS is no flag for a hash, only for perf_event_array$/],
  ["hash", { flags: F.inner_map }, /BPF_F_INNER_MAP is no flag for a hash, only for array$/],
  ["hash", { flags: F.stack_build_id }, /BPF_F_STACK_BUILD_ID is no flag for a hash, only for stack_trace$/],
  ["hash", { flags: F.clone }, /BPF_F_CLONE is no flag for a hash, only for sk_storage/],
  ["prog_array", { flags: F.rdonly_prog }, /BPF_F_RDONLY_PROG is no flag for a prog_array$/],
  ["cpumap", { flags: F.rdonly }, /BPF_F_RDONLY is no flag for a cpumap$/],
  ["ringbuf", { flags: F.rdonly }, /BPF_F_RDONLY is no flag for a ringbuf$/],
  ["hash", { name: "a-b" }, /its name has characters other than letters, digits, "_" and "."$/],
  ["array_of_maps", { inner: undefined }, /it needs an inner map, or a blueprint of one$/],
  ["hash_of_maps", { inner: undefined }, /it needs an inner map, or a blueprint of one$/],
];

for (const [type, changes, message] of WRONG) {
  const what = Object.entries(changes)
    .map(([name, value]) => `${name} ${String(value)}`)
    .join(", ");
  const spec = { ...RIGHT[type], ...changes, type } as Spec;
  test(`a ${type} with ${what} is refused before a call is made, and explained`, () => {
    const kernel = new FakeKernel();
    try {
      createMap(spec, { backend: kernel.backend });
      assert.unreachable();
    } catch (error) {
      assert.is((error as BpfError).code, "ERR_MAP_SPEC", (error as Error).message);
      assert.match((error as Error).message, message);
    }
    assert.equal(kernel.commands, []);
  });
  if (isMapTypeAbsent(type)) continue;
  requires(
    test,
    "bpf",
    "net-admin",
  )(`the kernel refuses a ${type} with ${what}`, () => {
    try {
      (createMap(spec, { check: false }) as BpfMap).close();
      assert.unreachable("The kernel took it");
    } catch (error) {
      assert.instance(error, SyscallError);
      assert.ok(isErrno(error, "EINVAL", "E2BIG", "ENOTSUPP", "EBADF"), (error as Error).message);
      assert.match((error as Error).message, message, "what is known is told behind the errno");
    }
  });
}

// Every flag that has a name, for every type: we refuse what the kernel refuses, and take what it takes.
requires(
  test,
  "bpf",
  "net-admin",
)("flags are judged as the kernel judges them", () => {
  let cases = 0;
  const newer: MapFlag[] = kernelOlderThan(7, 0) ? ["rb_overwrite"] : [];
  for (const [type, right] of Object.entries(RIGHT) as [abi.MapType, Spec][]) {
    if (isMapTypeAbsent(type)) continue;
    for (const [name, bit] of Object.entries(MapFlag) as [MapFlag, number][]) {
      // These two want a descriptor besides.
      if (name === "token_fd" || name === "vtype_btf_obj_fd" || newer.includes(name)) continue;
      const base = [right.flags ?? []].flat() as MapFlag[];
      const flags = base.reduce((all, flag) => all | MapFlag[flag], 0) | bit;
      const value = name === "stack_build_id" && type === "stack_trace" ? { value: 32 } : {};
      const spec = { ...right, ...value, type, flags } as Spec;
      const judge = (check: boolean): string => {
        try {
          (createMap(spec, { check }) as BpfMap).close();
          return "taken";
        } catch (error) {
          return (error as BpfError).code === "ERR_MAP_SPEC"
            ? "refused"
            : isErrno(error, "EINVAL", "ENOTSUPP")
              ? "refused"
              : String(error);
        }
      };
      assert.is(judge(true), judge(false), `${type} with ${name}`);
      cases++;
    }
  }
  console.log(`NOTE ${cases} pairs of a type and a flag are judged alike by the kernel and by us`);
});

test("flags have the kernel's numbers", () => {
  for (const [name, bit] of Object.entries(MapFlag)) {
    assert.is(bit, (abi as unknown as Record<string, number>)[`BPF_F_${name.toUpperCase()}`], name);
  }
  const kernel = new FakeKernel();
  const spec = { type: "array", value: 4, maxEntries: 1, flags: ["mapable" as never] } as const;
  assert.throws(() => createMap(spec, { backend: kernel.backend }), /"mapable" is no map flag: use no_prealloc, /);
});

test("a type that this kernel is too old for is named, with the first kernel that has it", () => {
  const kernel = new FakeKernel().on("BPF_MAP_CREATE", () => "EINVAL");
  const rhash = { ...RIGHT.rhash, type: "rhash" } as Spec;
  assert.throws(
    () => createMap(rhash, { backend: kernel.backend }),
    /^Error: Cannot create rhash map: EINVAL, this kernel may not know the map type rhash|Cannot create rhash map: EINVAL/,
  );
  if (!kernelOlderThan(6, 19)) return;
  const insns = { ...RIGHT.insn_array, type: "insn_array" } as Spec;
  assert.throws(() => createMap(insns, { backend: kernel.backend }), /the map type insn_array needs Linux 6\.19/);
});

requires(test, "bpf")("limits that only the kernel knows are its own errno, with the sizes", () => {
  const spec = { type: "hash", key: 4, value: 2 ** 30, maxEntries: 2 ** 31 } as const;
  assert.throws(
    () => createMap(spec),
    /Cannot create hash map: E2BIG, 2147483648 entries with values of 1073741824 bytes are too large for this kernel/,
  );
});

requires(test, "bpf")("a frozen map with contents", () => {
  const spec = {
    type: "array",
    value: 4,
    maxEntries: 2,
    contents: [[1, Uint8Array.of(1, 2, 3, 4)]],
    freeze: true,
  } as const;
  using map = createMap(spec);
  assert.equal(map.get(1), Uint8Array.of(1, 2, 3, 4));
  assert.is(map.info().frozen, true);
  assert.throws(
    () => map.set(0, new Uint8Array(4)),
    /EPERM, not permitted: a map that is frozen or was opened read-only/,
  );
  assert.throws(() => map.freeze(), /Cannot freeze array map: EPERM, it is frozen already, or this process may not/);
});

test("a map whose contents do not fit is closed again", () => {
  const kernel = new FakeKernel();
  const contents = [[1, new Uint8Array(3)]] as const;
  assert.throws(() =>
    createMap(
      { type: "hash", key: 4 as never, value: 4, maxEntries: 1, contents: contents as never },
      { backend: kernel.backend },
    ),
  );
  assert.equal(kernel.open, []);
});

test.run();
