import { suite } from "uvu";
import * as assert from "uvu/assert";
import { ipv4Prefix, u32, u64 } from "../../src/bytes/index.ts";
import { createMap } from "../../src/maps/index.ts";
import { createMachine } from "../../src/vm/index.ts";
import { failOnLeaks, requires } from "../support/harness.ts";

const test = suite("vm/maps");
failOnLeaks(test);

/** What both kinds of map offer, as far as the scripts below go. */
interface AnyMap {
  get(key: unknown): unknown;
  has(key: unknown): boolean;
  set(key: unknown, value: unknown, flag?: "any" | "noexist" | "exist"): unknown;
  update(key: unknown, value: unknown, flag?: "any" | "noexist" | "exist"): boolean;
  delete(key: unknown): boolean;
  take(key: unknown): unknown;
  clear(): void;
  count(): number;
  entries(): Iterable<readonly [unknown, unknown]>;
}

/** What each operation of a script came to: a value, or the code of an error. */
function outcomes(map: AnyMap, script: readonly ((map: AnyMap) => unknown)[]): unknown[] {
  return script.map((step) => {
    try {
      const result = step(map);
      return result === map ? "done" : result;
    } catch (error) {
      return (error as { code?: string }).code;
    }
  });
}

const sorted = (map: AnyMap): string[] =>
  [...map.entries()].map(([key, value]) => `${String(key)}=${String(value)}`).sort();

const common = [
  (map: AnyMap) => map.get(1),
  (map: AnyMap) => map.set(1, 10n),
  (map: AnyMap) => map.get(1),
  (map: AnyMap) => map.update(1, 11n, "noexist"),
  (map: AnyMap) => map.set(1, 11n, "noexist"),
  (map: AnyMap) => map.update(2, 20n, "exist"),
  (map: AnyMap) => map.set(2, 20n, "exist"),
  (map: AnyMap) => map.set(2, 20n),
  (map: AnyMap) => map.set(3, 30n),
  (map: AnyMap) => map.set(0, 5n),
  (map: AnyMap) => map.set(4, 40n),
  (map: AnyMap) => map.has(3),
  (map: AnyMap) => map.has(9),
  (map: AnyMap) => map.delete(3),
  (map: AnyMap) => map.delete(3),
  (map: AnyMap) => map.take(2),
  (map: AnyMap) => map.take(2),
  sorted,
  (map: AnyMap) => map.count(),
  (map: AnyMap) => map.clear(),
  sorted,
];

const keyed = {
  hash: { type: "hash", key: u32, value: u64, maxEntries: 4 },
  array: { type: "array", value: u64, maxEntries: 4 },
} as const;
for (const [name, spec] of Object.entries(keyed)) {
  requires(test, "bpf")(`a ${name} answers as that of the kernel`, () => {
    using kernel = createMap(spec as (typeof keyed)["hash"]);
    const machine = createMachine({ maps: { map: spec } });
    const expected = outcomes(kernel as unknown as AnyMap, common);
    assert.equal(outcomes(machine.maps.map as unknown as AnyMap, common), expected);
  });
}

requires(test, "bpf")("an LPM trie finds the longest prefix, as that of the kernel", () => {
  const spec = { type: "lpm_trie", key: ipv4Prefix, value: u32, maxEntries: 4, flags: 1 } as const;
  const script = [
    ...["10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "0.0.0.0/0", "192.0.2.0/24"].map(
      (key, i) => (map: AnyMap) => map.set(key, i),
    ),
    ...["10.1.2.3", "10.1.3.3", "10.2.0.0", "11.0.0.0", "10.1.2.0/20", "10.0.0.0/4"].map(
      (key) => (map: AnyMap) => map.get(key),
    ),
    (map: AnyMap) => map.set("10.1.0.0/16", 7, "noexist"),
    (map: AnyMap) => map.delete("10.1.0.0/16"),
    (map: AnyMap) => map.delete("10.1.0.0/16"),
    (map: AnyMap) => map.get("10.1.3.3"),
    sorted,
  ];
  using kernel = createMap(spec);
  const machine = createMachine({ maps: { map: spec } });
  const expected = outcomes(kernel as unknown as AnyMap, script);
  assert.equal(outcomes(machine.maps.map as unknown as AnyMap, script), expected);
});

for (const type of ["queue", "stack"] as const) {
  requires(test, "bpf")(`a ${type} answers as that of the kernel`, () => {
    interface Line {
      push(value: number, options?: { readonly replace?: boolean }): boolean;
      pop(): number | undefined;
      peek(): number | undefined;
    }
    const walk = (map: Line): unknown[] => [
      map.pop(),
      map.push(1),
      map.push(2),
      map.push(3),
      map.peek(),
      map.push(3, { replace: true }),
      map.pop(),
      map.push(4),
      map.pop(),
      map.pop(),
      map.pop(),
    ];
    const spec = { type, value: u32, maxEntries: 2 } as const;
    using kernel = createMap(spec);
    const machine = createMachine({ maps: { map: spec } });
    assert.equal(walk(machine.maps.map), walk(kernel as unknown as Line));
  });
}

test("the entry that was not used for the longest time goes first", () => {
  const { lru } = createMachine({ maps: { lru: { type: "lru_hash", key: u32, value: u32, maxEntries: 2 } } }).maps;
  lru.set(1, 1).set(2, 2).set(3, 3);
  assert.equal([...lru.keys()], [2, 3]);
});

test("values of per-CPU maps are arrays", () => {
  const { counts } = createMachine({
    maps: { counts: { type: "percpu_array", value: u32, maxEntries: 2 } },
    cpus: 3,
  }).maps;
  counts.set(1, [1, 2, 3]);
  assert.equal(counts.get(1), [1, 2, 3]);
  assert.equal(counts.get(0), [0, 0, 0]);
  assert.throws(() => counts.set(1, [1]), /Need 3 values/);
});

test("a Bloom filter finds what was added", () => {
  const { seen } = createMachine({ maps: { seen: { type: "bloom_filter", value: u32, maxEntries: 100 } } }).maps;
  for (let i = 0; i < 100; i++) seen.add(i);
  for (let i = 0; i < 100; i++) assert.ok(seen.mayContain(i));
  let wrong = 0;
  for (let i = 1000; i < 2000; i++) if (seen.mayContain(i)) wrong++;
  assert.ok(wrong < 200, `${wrong} of 1000`);
});

test("blueprints that cannot work are refused", () => {
  const refuse = (spec: object): void =>
    assert.throws(
      () => createMachine({ maps: { bad: spec as { type: "hash" } } }),
      (error: { code?: string }) => error.code === "ERR_MAP_SPEC",
    );
  refuse({ type: "hash", value: 4 });
  refuse({ type: "hash", key: 4 });
  refuse({ type: "array", key: 8, value: 4 });
  refuse({ type: "ringbuf", maxEntries: 100 });
  refuse({ type: "lpm_trie", key: 4, value: 4 });
  refuse({ type: "hash", key: 4, value: 4, maxEntries: 0 });
  refuse({ type: "queue", key: 4, value: 4 });
  refuse({ type: "arena" });
});

test.run();
