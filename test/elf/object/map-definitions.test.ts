import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { buildLibbpfPeer } from "../../../bench/build-peer.ts";
import { encode, exit, mov, r0 } from "../../../src/asm/index.ts";
import { type BtfMemberSpec, type BtfTypeSpec, layoutBtf } from "../../../src/btf/index.ts";
import {
  type ObjectMapSpec,
  parseObject,
  SectionFlag,
  SymbolBinding,
  SymbolType,
  writeElf,
} from "../../../src/elf/index.ts";
import { BtfError } from "../../../src/errors.ts";
import { MapType } from "../../../src/kernel-abi/index.ts";
import { requires, rounds } from "../../support/harness.ts";
import { type Random, random } from "../mutate.ts";

const test = suite("elf/object/map-definitions");

const DATA = SectionFlag.alloc | SectionFlag.write;
const CODE = SectionFlag.alloc | SectionFlag.execinstr;

/** Types of an object with a map `m`, whose definition is random. */
class Definition {
  readonly types: BtfTypeSpec[] = [];
  readonly #next: Random;
  readonly #int: number;
  readonly #key: number;
  readonly #proto: number;

  constructor(next: Random) {
    this.#next = next;
    this.#int = this.#add({ kind: "int", name: "int", size: 4, signed: true });
    const members = [{ name: "a", type: this.#int, bitOffset: 0 }];
    this.#key = this.#add({ kind: "struct", name: "key", size: 12, members });
    this.#proto = this.#add({ kind: "func_proto", returnType: this.#int, params: [] });
  }

  #add(type: BtfTypeSpec): number {
    return this.types.push(type);
  }

  #pick<T>(...choices: readonly T[]): T {
    return choices[this.#next(choices.length)]!;
  }

  /** `__uint(name, value)` mostly, sometimes behind modifiers, sometimes something that is no number. */
  #number(value: number): number {
    switch (this.#next(14)) {
      case 0:
        return this.#int;
      case 1:
        return this.#add({ kind: "ptr", type: this.#int });
      case 2: {
        const pointer = this.#number(value);
        return this.#add({ kind: "const", type: pointer });
      }
      case 3: {
        const pointer = this.#number(value);
        return this.#add({ kind: "typedef", name: "t", type: pointer });
      }
      default: {
        const array = this.#add({ kind: "array", type: this.#int, indexType: this.#int, length: value });
        return this.#add({ kind: "ptr", type: array });
      }
    }
  }

  /** `__ulong(name, value)`. */
  #long(): number {
    const values = [{ name: "e", value: this.#pick(0n, 1n, 5n, 1n << 33n, (1n << 63n) + 7n) }];
    if (this.#next(5) === 0) values.push({ name: "f", value: 3n });
    return this.#next(2) === 0
      ? this.#add({ kind: "enum64", name: "", size: 8, signed: false, values })
      : this.#add({
          kind: "enum",
          name: "",
          size: 4,
          signed: false,
          values: values.map((each) => ({ ...each, value: Number(each.value & 0x7fffffffn) })),
        });
  }

  #pointer(): number {
    // Behind a typedef or const libbpf does not look for the pointer; we do.
    const array = this.#add({ kind: "array", type: this.#int, indexType: this.#int, length: this.#pick(1, 2, 3) });
    const target = this.#pick(this.#int, this.#int, this.#key, this.#key, 0, this.#proto, array);
    return this.#next(12) === 0 ? target || this.#int : this.#add({ kind: "ptr", type: target });
  }

  #values(inner: boolean): number {
    const target = this.#pick(this.#proto, this.#proto, this.#int, this.#key);
    const definition = inner ? target : this.#pick(target, this.definition(true), this.definition(true));
    const pointer = this.#next(12) === 0 ? definition : this.#add({ kind: "ptr", type: definition });
    const length = this.#next(8) === 0 ? 1 : 0;
    return this.#next(12) === 0 ? pointer : this.#add({ kind: "array", type: pointer, indexType: this.#int, length });
  }

  definition(inner = false): number {
    const chosen: [string, number][] = [];
    const type = this.#pick(1, 1, 2, 3, 4, 9, 12, 12, 13, 27, 30, 33, 6);
    if (this.#next(15) !== 0) chosen.push(["type", this.#number(type)]);
    const optional: Record<string, () => number> = {
      key: () => this.#pointer(),
      key_size: () => this.#number(this.#pick(4, 4, 12, 0)),
      value: () => this.#pointer(),
      value_size: () => this.#number(this.#pick(4, 4, 12, 8)),
      max_entries: () => this.#number(this.#pick(1, 16, 4096, 5000, 0)),
      map_flags: () => this.#number(this.#pick(0, 1, 1024)),
      map_extra: () => (this.#next(2) === 0 ? this.#long() : this.#number(this.#pick(1, 9))),
      numa_node: () => this.#number(this.#pick(0, 1)),
      pinning: () => this.#number(this.#pick(0, 1, 1, 2)),
      colour: () => this.#number(1),
    };
    for (const [name, make] of Object.entries(optional)) {
      const odds = { colour: 20, numa_node: 8, pinning: 6, map_extra: 6, key: 2, value: 2, max_entries: 2 }[name] ?? 3;
      if (this.#next(odds) === 0) chosen.push([name, make()]);
    }
    if (this.#next(10) === 0) chosen.push(chosen[this.#next(Math.max(1, chosen.length))] ?? ["type", this.#number(1)]);
    if (this.#next(6) === 0) chosen.reverse();
    if ([3, 12, 13].includes(type) ? this.#next(4) !== 0 : this.#next(15) === 0) {
      chosen.splice(this.#next(12) === 0 ? 0 : chosen.length, 0, ["values", this.#values(inner)]);
    }
    const members = chosen.map(([name, member], i): BtfMemberSpec => ({ name, type: member, bitOffset: 64 * i }));
    const size = 8 * members.length;
    return this.#next(25) === 0 ? this.#int : this.#add({ kind: "struct", name: "", size, members });
  }

  object(): Uint8Array {
    const definition = this.definition();
    const variable = this.#add({ kind: "var", name: "m", type: definition, linkage: "global" });
    const found = this.types[definition - 1]!;
    const size = found.kind === "struct" ? Math.max(found.size, 8) : 8;
    this.#add({ kind: "datasec", name: ".maps", size, vars: [{ type: variable, offset: 0, size }] as never });
    const { bytes } = layoutBtf(this.types);
    return writeElf({
      sections: [
        { name: "xdp", flags: CODE, alignment: 8, data: encode([mov(r0, 0), exit()]) },
        { name: "license", flags: DATA, data: Uint8Array.of(71, 80, 76, 0) },
        { name: ".maps", flags: DATA, alignment: 8, data: new Uint8Array(size) },
        { name: ".BTF", data: bytes },
      ],
      symbols: [
        { name: "p", type: SymbolType.func, binding: SymbolBinding.global, section: 0, size: 16 },
        { name: "m", type: SymbolType.object, binding: SymbolBinding.global, section: 2, size },
      ],
    });
  }
}

interface Theirs {
  readonly error?: true;
  readonly crashed?: true;
  readonly maps: readonly (Record<string, number | string> & { readonly inner?: Record<string, number> })[];
}

/** What libbpf makes of objects. */
function libbpf(objects: readonly Uint8Array[]): Theirs[] {
  const peer = buildLibbpfPeer("test/elf/object/libbpf-dump.c");
  if (peer === undefined) throw new Error("libbpf-cc is there, but does not compile");
  const folder = mkdtempSync(join(tmpdir(), "rawbpf-maps-"));
  try {
    const paths = objects.map((bytes, i) => {
      const path = join(folder, `${i}.o`);
      writeFileSync(path, bytes);
      return path;
    });
    const result = spawnSync(peer.path, paths, { encoding: "utf8", maxBuffer: 1 << 28 });
    assert.is(result.status, 0, result.stderr);
    const lines = result.stdout.trim().split("\n");
    return lines.map((line) => JSON.parse(line) as Theirs);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Sizes that loading rounds up, or replaces by the number of processors. */
const isRounded = ({ type, maxEntries }: ObjectMapSpec): boolean =>
  type === "ringbuf" || type === "user_ringbuf" || maxEntries === 0;

function describe(map: ObjectMapSpec, theirs: Theirs["maps"][number]): string {
  const { type, keySize, valueSize, maxEntries, flags, numaNode = 0, mapExtra, keyType, valueType, inner } = map;
  const entries = isRounded(map) ? theirs.maxEntries : maxEntries;
  const innerEntries = inner && isRounded(inner) ? theirs.inner?.maxEntries : inner?.maxEntries;
  const more = inner && [MapType[inner.type], inner.keySize, inner.valueSize, innerEntries, inner.flags];
  const pinned = Number(map.pinning === "by_name");
  return [
    MapType[type],
    keySize,
    valueSize,
    entries,
    flags,
    numaNode,
    mapExtra,
    keyType,
    valueType,
    pinned,
    more,
  ].join();
}

function describeTheirs(map: Theirs["maps"][number]): string {
  const { type, keySize, valueSize, maxEntries, flags, numaNode, mapExtra, keyType, valueType, pinned, inner } = map;
  const more = inner && [inner.type, inner.keySize, inner.valueSize, inner.maxEntries, inner.flags];
  return [type, keySize, valueSize, maxEntries, flags, numaNode, mapExtra, keyType, valueType, pinned, more].join();
}

requires(test, "tool:libbpf-cc")("libbpf reads random definitions of maps as we do", () => {
  const first = Number(process.env.RAWBPF_TEST_SEED ?? 1);
  const objects = Array.from({ length: rounds(400, 20_000) }, (_, i) => new Definition(random(first + i)).object());
  const theirs = libbpf(objects);
  const tally = { accepted: 0, refused: 0 };
  const differences: string[] = [];
  for (const [i, bytes] of objects.entries()) {
    const their = theirs[i]!;
    const refused = their.error === true || their.crashed === true;
    const where = `RAWBPF_TEST_SEED=${first + i}`;
    let map: ObjectMapSpec | undefined;
    let reason = "";
    try {
      map = parseObject(bytes).maps.m!;
    } catch (error) {
      if (!(error instanceof BtfError)) throw error;
      reason = error.message;
      if (!/map "m(\.inner)?"|\.BTF type\[/.test(reason))
        differences.push(`${where}: does not name the map: ${reason}`);
    }
    if (map === undefined) {
      // libbpf does not look at all types of a definition, the kernel would refuse these.
      if (refused || /\(\.BTF type\[/.test(reason)) tally.refused++;
      else differences.push(`${where}: only we refuse it: ${reason}`);
    } else if (refused) differences.push(`${where}: only libbpf refuses it`);
    else {
      const [a, b] = [describe(map, their.maps[0]!), describeTheirs(their.maps[0]!)];
      if (a === b) tally.accepted++;
      else differences.push(`${where}: ours ${a}, libbpf ${b}`);
    }
  }
  assert.equal(differences.slice(0, 40), []);
  console.log(
    `NOTE libbpf agrees on ${objects.length} of ${objects.length} definitions of maps: ${tally.accepted} taken, ${tally.refused} refused`,
  );
});

test.run();
