import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  type BtfTypeSpec,
  dedupBtf,
  downgradeBtf,
  encodeBtf,
  openBtf,
  subsetBtf,
  validateBtf,
} from "../../src/btf/index.ts";
import { toHex } from "../../src/bytes/index.ts";
import { BtfError } from "../../src/errors.ts";
import { btfLoadAttr } from "../../src/kernel-abi/index.ts";
import { Fd } from "../../src/syscall/fd.ts";
import { openBackend, rawBpf, type SyscallBackend } from "../../src/syscall/index.ts";
import { failOnLeaks, requires, rounds } from "../support/harness.ts";
import { randomNumbers, randomTypes } from "./support/random.ts";

const test = suite("btf/kernel-load");
failOnLeaks(test);
const onKernel = requires(test, "bpf", "koffi");

/** What the kernel says of BTF: `undefined` when it takes it, else the errno and the end of its log. */
function load(backend: SyscallBackend, bytes: Uint8Array): string | undefined {
  const log = new Uint8Array(4096);
  const attr = { btf: bytes, btf_size: bytes.length, btf_log_buf: log, btf_log_size: log.length, btf_log_level: 1 };
  const { result } = rawBpf(backend, "BPF_BTF_LOAD", btfLoadAttr, attr);
  if (result >= 0) {
    new Fd(backend, result).close();
    return undefined;
  }
  const text = new TextDecoder().decode(log.subarray(0, Math.max(0, log.indexOf(0)))).trim();
  return `${result} ${text.split("\n").slice(-2).join(" / ")}`;
}

/** What we say of it. */
function check(bytes: Uint8Array): string | undefined {
  try {
    validateBtf(openBtf(bytes));
    return undefined;
  } catch (error) {
    assert.instance(error, BtfError);
    return (error as BtfError).message;
  }
}

/** Random types that the kernel may take: names of letters, no functions of other objects. */
function loadable(seed: number, count: number): BtfTypeSpec[] {
  const text = JSON.stringify(randomTypes(seed, count), (_, value) =>
    typeof value === "bigint" ? `${value}n` : value,
  );
  return JSON.parse(text.replaceAll("größe", "groesse").replaceAll('"extern"', '"global"'), (key, value) =>
    key === "value" && typeof value === "string" ? BigInt(value.slice(0, -1)) : value,
  );
}

onKernel("takes what was written, subset, merged and downgraded", () => {
  const backend = openBackend();
  const types: BtfTypeSpec[] = [
    { kind: "int", name: "int", size: 4, signed: true },
    { kind: "int", name: "char", size: 1, char: true },
    { kind: "ptr", type: 4 },
    {
      kind: "struct",
      name: "node",
      size: 16,
      members: [
        { name: "next", type: 3 },
        { name: "id", type: 1, bitOffset: 64 },
      ],
    },
    { kind: "array", type: 2, indexType: 1, length: 16 },
    {
      kind: "struct",
      name: "bits",
      size: 4,
      members: [
        { name: "a", type: 1, bitfieldSize: 3 },
        { name: "b", type: 1, bitOffset: 3, bitfieldSize: 29 },
      ],
    },
    {
      kind: "union",
      size: 16,
      members: [
        { name: "text", type: 5 },
        { name: "node", type: 4 },
      ],
    },
    { kind: "enum", name: "e", signed: true, values: [{ name: "A", value: -1 }] },
    { kind: "enum64", name: "e64", values: [{ name: "B", value: 1n << 40n }] },
    { kind: "fwd", name: "other", target: "union" },
    { kind: "typedef", name: "node_t", type: 4 },
    { kind: "volatile", type: 1 },
    { kind: "const", type: 12 },
    { kind: "restrict", type: 3 },
    { kind: "func_proto", returnType: 1, params: [{ name: "node", type: 3 }], variadic: false },
    { kind: "func", name: "f", type: 15 },
    { kind: "var", name: "v", type: 4 },
    { kind: "datasec", name: ".data.x", size: 16, vars: [{ type: 17, offset: 0, size: 16 }] },
    { kind: "float", name: "double", size: 8 },
    { kind: "decl_tag", name: "tag", type: 4, componentIndex: 1 },
    { kind: "type_tag", name: "user", type: 4 },
    { kind: "ptr", type: 21 },
  ];
  assert.is(load(backend, encodeBtf(types)), undefined);
  assert.is(load(backend, encodeBtf(types, { shareSuffixes: true })), undefined);
  assert.is(load(backend, encodeBtf(dedupBtf([...types, ...types.slice(0, 2)]).types)), undefined);
  assert.is(load(backend, encodeBtf(subsetBtf(openBtf(encodeBtf(types)), [16]).types)), undefined);
  for (const feature of ["datasec", "func", "funcGlobal", "float", "declTag", "typeTag", "enum64"] as const) {
    assert.is(load(backend, encodeBtf(downgradeBtf(types, { [feature]: false }))), undefined, feature);
  }
});

onKernel("whatever the kernel takes is valid here", () => {
  const backend = openBackend();
  let taken = 0;
  let refused = 0;
  let stricter = 0;
  const compare = (bytes: Uint8Array, what: string): void => {
    const kernel = load(backend, bytes);
    const ours = check(bytes);
    if (kernel === undefined) {
      assert.is(ours, undefined, `${what}: ${toHex(bytes)}`);
      taken++;
    } else if (ours !== undefined) refused++;
    else stricter++;
  };
  for (let seed = 0; seed < rounds(150, 3000); seed++) {
    const below = randomNumbers(seed);
    const bytes = encodeBtf(loadable(seed, 3 + below(20)));
    compare(bytes, `seed ${seed}`);
    for (let i = 0; i < 8; i++) {
      const copy = bytes.slice();
      const at = below(3) === 0 ? below(copy.length) : 24 + below(Math.max(1, copy.length - 24));
      copy[at] = below(4) === 0 ? below(256) : below(8);
      compare(copy, `seed ${seed}, change ${i} of byte ${at}`);
    }
  }
  assert.ok(taken > 100 && refused > 100, `${taken} taken, ${refused} refused`);
  console.log(`\nNOTE ${taken} BTF taken by both, ${refused} refused by both, ${stricter} refused by the kernel alone`);
});

test.run();
