import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  type Btf,
  type BtfBuilder,
  type CoreFixup,
  type CoreRelocation,
  computeFixups,
  createBtfBuilder,
  formatRelocation,
  type OpenBtfOptions,
  openBtf,
  type TypeId,
} from "../../../src/btf/index.ts";
import { BtfError } from "../../../src/errors.ts";
import { cpuTime } from "../../support/harness.ts";

const test = suite("btf/core/compute");

type Kind = CoreRelocation["kind"];
type Member = readonly [name: string, type: number, bitOffset: number, bitfieldSize?: number];

/** A BTF with an `int` and whatever is added. */
function types(fill: (b: BtfBuilder, int: TypeId) => void, options: { littleEndian?: boolean; base?: Btf } = {}): Btf {
  const builder = createBtfBuilder(options);
  const int = builder.add({ kind: "int", name: "int", size: 4, signed: true });
  fill(builder, int);
  const open: OpenBtfOptions = options.base === undefined ? {} : { base: options.base };
  return openBtf(builder.encode(), open);
}

function struct(builder: BtfBuilder, name: string, size: number, ...members: Member[]): TypeId {
  return builder.add({
    kind: "struct",
    name,
    size,
    members: members.map(([member, type, bitOffset, bitfieldSize = 0]) => ({
      name: member,
      type,
      bitOffset,
      bitfieldSize,
    })),
  });
}

function ask(local: Btf, kind: Kind, name: string, access: string, ...targets: Btf[]): CoreFixup {
  const { id } = local.typeByName(name);
  const named = targets.map((btf, i) => ({ name: i === 0 ? "vmlinux" : `module${i}`, btf }));
  const fixups = computeFixups([{ kind, type: id, access }], local, named);
  assert.is(fixups.length, 1);
  return fixups[0]!;
}

function refuses(run: () => unknown, code: string, message: string): void {
  assert.throws(run, (error: unknown) => {
    assert.instance(error, BtfError);
    assert.is((error as BtfError).message, message);
    assert.is((error as BtfError).code, code);
    return true;
  });
}

const local = types((b, int) => {
  struct(b, "s", 8, ["a", int, 0], ["b", int, 32]);
  b.add({ kind: "enum", name: "e", values: [{ name: "ONE", value: 1 }] });
  struct(b, "", 4, ["a", int, 0]);
});
const kernel = types((b, int) => {
  struct(b, "s", 16, ["b", int, 32], ["a", int, 96]);
});

test("tells everything about an answer", () => {
  const fixup = ask(local, "field_byte_offset", "s", "0:0", kernel);
  const target = {
    target: "vmlinux",
    type: kernel.typeByName("s").id,
    text: "struct s.a (0:1 @ offset 12)",
    matches: true,
    value: 12n,
  };
  assert.equal(fixup, {
    relocation: { kind: "field_byte_offset", type: local.typeByName("s").id, access: "0:0" },
    local: "struct s.a (0:0 @ offset 0)",
    target,
    before: 0n,
    after: 12n,
    checked: true,
    memory: { before: 4, after: 4, adjustable: false, disputed: undefined },
    poison: false,
    reason: undefined,
    candidates: [target],
  });
  assert.is(formatRelocation(fixup), "<byte_off> [2] struct s.a (0:0 @ offset 0)");
  assert.equal(structuredClone(fixup), fixup, "plain data");
});

test("names relocations as libbpf does", () => {
  const cases: readonly (readonly [Kind, string, string, string])[] = [
    ["field_byte_offset", "s", "0:1", "<byte_off> [2] struct s.b (0:1 @ offset 4)"],
    ["field_byte_size", "s", "1:1", "<byte_sz> [2] struct s[1].b (1:1 @ offset 12)"],
    ["field_exists", "s", "0", "<field_exists> [2] struct s (0 @ offset 0)"],
    ["field_signed", "s", "0:0", "<signed> [2] struct s.a (0:0 @ offset 0)"],
    ["field_lshift_u64", "s", "0:0", "<lshift_u64> [2] struct s.a (0:0 @ offset 0)"],
    ["field_rshift_u64", "s", "0:0", "<rshift_u64> [2] struct s.a (0:0 @ offset 0)"],
    ["type_id_local", "s", "0", "<local_type_id> [2] struct s"],
    ["type_id_target", "s", "0", "<target_type_id> [2] struct s"],
    ["type_exists", "s", "0", "<type_exists> [2] struct s"],
    ["type_size", "s", "0", "<type_size> [2] struct s"],
    ["type_matches", "s", "0", "<type_matches> [2] struct s"],
    ["enumval_exists", "e", "0", "<enumval_exists> [3] enum e::ONE = 1"],
    ["enumval_value", "e", "0", "<enumval_value> [3] enum e::ONE = 1"],
  ];
  for (const [kind, name, access, text] of cases) {
    assert.is(formatRelocation(ask(local, kind, name, access, kernel)), text);
  }
});

test("answers each question once, in the order in which they were asked", () => {
  const type = local.typeByName("s").id;
  const a: CoreRelocation = { kind: "field_byte_offset", type, access: "0:0" };
  const b: CoreRelocation = { kind: "field_byte_offset", type, access: "0:1" };
  const own: CoreRelocation = { kind: "type_id_local", type, access: "0" };
  const fixups = computeFixups([b, own, a, { ...b }, { ...own }], local, [{ name: "vmlinux", btf: kernel }]);
  assert.equal(
    fixups.map(({ relocation }) => relocation),
    [b, own, a],
  );
  assert.equal(computeFixups([], local, []), []);
});

const MISSING: Readonly<Record<Kind, "0" | "poison" | "own">> = {
  field_byte_offset: "poison",
  field_byte_size: "poison",
  field_exists: "0",
  field_signed: "poison",
  field_lshift_u64: "poison",
  field_rshift_u64: "poison",
  type_id_local: "own",
  type_id_target: "0",
  type_exists: "0",
  type_size: "0",
  enumval_exists: "0",
  enumval_value: "poison",
  type_matches: "0",
};

test("what is not there is 0 or poison, as in libbpf", () => {
  for (const [kind, answer] of Object.entries(MISSING)) {
    const about = kind.startsWith("enumval") ? "e" : "s";
    const access = kind.startsWith("field") ? "0:0" : "0";
    const nothing = types(() => {});
    const fixup = ask(local, kind as Kind, about, access, nothing);
    assert.is(fixup.poison, answer === "poison", kind);
    if (answer === "own") {
      assert.is(fixup.after, BigInt(local.typeByName("s").id));
      continue;
    }
    assert.is(fixup.after, 0n, kind);
    assert.is(fixup.target, undefined);
    assert.is(fixup.reason, `no ${about === "e" ? "enum e" : "struct s"} in vmlinux`, kind);
  }
});

test("says why there is no answer", () => {
  const other = types((b, int) => {
    struct(b, "s", 4, ["other", int, 0]);
    b.add({ kind: "enum", name: "e", values: [{ name: "TWO", value: 2 }] });
  });
  assert.is(ask(local, "field_byte_offset", "s", "0:0", other).reason, "no matching field in vmlinux");
  assert.is(ask(local, "enumval_value", "e", "0", other).reason, "no enumerator ONE in vmlinux");
  assert.is(ask(local, "type_matches", "s", "0", other).reason, "no matching type in vmlinux");
  assert.is(ask(local, "type_exists", "s", "0").reason, "no struct s in nowhere to look");
});

test("asks modules only for what the kernel does not have", () => {
  const module = types((b, int) => struct(b, "s", 32, ["a", int, 160]), { base: kernel });
  const only = types((b, int) => struct(b, "only", 32, ["a", int, 160]), { base: kernel });
  const both = types((b, int) => {
    struct(b, "s", 4, ["a", int, 0]);
    struct(b, "only", 4, ["a", int, 0]);
  });
  const targets = [{ name: "vmlinux", btf: kernel }];
  let asked = 0;
  const modules = (): { name: string; btf: Btf }[] => {
    asked++;
    return [
      { name: "first", btf: module },
      { name: "second", btf: only },
    ];
  };
  const relocation = (name: string): CoreRelocation => ({
    kind: "field_byte_offset",
    type: both.typeByName(name).id,
    access: "0:0",
  });
  assert.is(computeFixups([relocation("s")], both, targets, { modules })[0]!.after, 12n);
  assert.is(asked, 0, "the kernel has one");
  const [fixup] = computeFixups([relocation("only"), relocation("only")], both, targets, { modules });
  assert.is(asked, 1);
  assert.is(fixup!.after, 20n);
  assert.equal(
    fixup!.candidates.map(({ target }) => target),
    ["second"],
  );
  // Given as targets they are looked at in the same order. A type of a module is one of its own, not of its base.
  assert.is(ask(both, "field_byte_offset", "only", "0:0", kernel, module, only).after, 20n);
  assert.is(ask(both, "type_id_target", "only", "0", kernel, only).after, BigInt(only.typeByName("only").id));
});

test("types of the base of a module are not those of the module", () => {
  const module = types((b, int) => struct(b, "other", 4, ["a", int, 0]), { base: kernel });
  const nothing = types(() => {});
  assert.is(ask(local, "field_byte_offset", "s", "0:0", nothing, module).poison, true);
  assert.is(ask(local, "field_byte_offset", "s", "0:0", module).after, 12n, "unless it stands for the kernel");
});

test("integers match by size and sign, functions by ellipsis too", () => {
  const integer = (size: number, signed: boolean): Btf =>
    types((b) => {
      b.add({ kind: "typedef", name: "t", type: b.add({ kind: "int", name: "number", size, signed }) });
    });
  const function_ = (variadic: boolean): Btf =>
    types((b, int) => {
      b.add({
        kind: "typedef",
        name: "t",
        type: b.add({ kind: "func_proto", returnType: int, params: [{ type: int }], variadic }),
      });
    });
  const forms = [integer(4, true), integer(4, false), integer(8, true), function_(true), function_(false)];
  for (const [i, from] of forms.entries()) {
    for (const [j, to] of forms.entries()) {
      assert.is(ask(from, "type_matches", "t", "0", to).after, i === j ? 1n : 0n, `${i} against ${j}`);
      assert.is(
        ask(from, "type_exists", "t", "0", to).after,
        i === j || (i < 3 && j < 3) ? 1n : 0n,
        `${i} against ${j}`,
      );
    }
  }
});

test("only the last member of a struct is a flexible array, and only in its first dimension", () => {
  const holding = (last: boolean, nested: boolean, length = 0): Btf =>
    types((b, int) => {
      let array = b.add({ kind: "array", type: int, indexType: int, length });
      if (nested) array = b.add({ kind: "array", type: array, indexType: int, length: 2 });
      const members: Member[] = [
        ["list", array, 32],
        ["count", int, 0],
      ];
      struct(b, "s", 4, ...(last ? members.reverse() : members));
    });
  const exists = (from: Btf, access: string, to: Btf): bigint => ask(from, "field_exists", "s", access, to).after;
  assert.is(exists(holding(true, false), "0:1:7", holding(true, false)), 1n);
  assert.is(exists(holding(true, false), "0:1:7", holding(false, false)), 0n);
  assert.is(exists(holding(true, false, 9), "0:1:7", holding(true, false)), 1n);
  assert.is(exists(holding(true, true, 9), "0:1:1:7", holding(true, true)), 0n);
  assert.throws(
    () => exists(holding(false, false), "0:0:7", holding(false, false)),
    /step 2 is 7, there are 0 elements/,
  );
  assert.throws(() => exists(holding(true, true), "0:1:0:7", holding(true, true)), /step 3 is 7, there are 0 elements/);
});

test("knows how wide a load of a field is, and whether it may become another", () => {
  const forms = types((b, int) => {
    const row = b.add({ kind: "array", type: int, indexType: int, length: 3 });
    const matrix = b.add({ kind: "array", type: row, indexType: int, length: 2 });
    const unsigned = b.add({ kind: "int", name: "u32", size: 4 });
    const flagged = b.add({ kind: "int", name: "flagged", size: 4, signed: true, char: true });
    const pointer = b.add({ kind: "ptr", type: int });
    struct(
      b,
      "s",
      64,
      ["matrix", matrix, 0],
      ["plain", unsigned, 192],
      ["signed", int, 224],
      ["flagged", flagged, 256],
      ["pointer", pointer, 320],
      ["bits", unsigned, 384, 3],
    );
  });
  const memory = (access: string): unknown[] => {
    const { before, after, adjustable } = ask(forms, "field_byte_offset", "s", access, forms).memory!;
    assert.is(before, after);
    return [before, adjustable];
  };
  assert.equal(memory("0:0"), [4, false], "one element of it");
  assert.equal(memory("0:0:1"), [12, false], "a row is taken as it is, as in libbpf");
  assert.equal(memory("0:0:1:2"), [4, false]);
  assert.equal(memory("0:1"), [4, true]);
  assert.equal(memory("0:2"), [4, false]);
  assert.equal(memory("0:3"), [4, true], "libbpf takes only what is nothing but signed for signed");
  assert.equal(memory("0:4"), [8, true]);
  assert.equal(memory("0:5"), [0, false]);
});

test("never mixes the layouts of two types", () => {
  // A kernel may hold two types of one name: here one has x and a, the other a and b.
  const asked = types((b, int) => struct(b, "s", 12, ["x", int, 0], ["a", int, 32], ["b", int, 64]));
  const two = types((b, int) => {
    struct(b, "s", 12, ["x", int, 0], ["a", int, 64]);
    struct(b, "s___2", 12, ["a", int, 0], ["b", int, 32]);
  });
  const type = asked.typeByName("s").id;
  const answers = (...questions: (readonly [Kind, string])[]): (bigint | "poison")[] =>
    computeFixups(
      questions.map(([kind, access]) => ({ kind, type, access })),
      asked,
      [{ name: "vmlinux", btf: two }],
    ).map(({ after, poison }) => (poison ? "poison" : after));
  // Whichever field is asked for first decides, as in libbpf; the rest goes along.
  assert.equal(answers(["field_exists", "0:0"], ["field_byte_offset", "0:1"]), [1n, 8n]);
  assert.equal(answers(["field_exists", "0:2"], ["field_byte_offset", "0:1"]), [1n, 0n]);
  assert.equal(answers(["field_exists", "0:0"], ["field_byte_offset", "0:2"], ["field_byte_offset", "0:1"]), [
    1n,
    "poison",
    8n,
  ]);
  // libbpf gives up on these: it looks at `a` first, which both have.
  assert.equal(answers(["field_byte_offset", "0:1"], ["field_exists", "0:0"]), [8n, 1n]);
  assert.equal(answers(["field_byte_offset", "0:1"], ["field_exists", "0:2"]), [0n, 1n]);
  refuses(
    () => answers(["field_byte_offset", "0:1"], ["field_exists", "0:0"], ["field_exists", "0:2"]),
    "ERR_CORE_AMBIGUOUS",
    "Cannot relocate <byte_off> [2] struct s.a (0:1 @ offset 4): two types of the kernel fit equally well, " +
      "vmlinux [2] struct s.a (0:1 @ offset 8) gives 8, vmlinux [3] struct s___2.a (0:0 @ offset 0) gives 0",
  );
});

test("notices candidates that agree on the place of a field and not on its size", () => {
  const two = types((b, int) => {
    const long = b.add({ kind: "int", name: "long", size: 8, signed: true });
    struct(b, "s", 8, ["a", int, 0]);
    struct(b, "s___2", 8, ["a", long, 0]);
  });
  assert.equal(ask(local, "field_byte_offset", "s", "0:0", two).memory, {
    before: 4,
    after: 4,
    adjustable: false,
    disputed: [4, 8],
  });
});

test("refuses malformed access strings", () => {
  const type = local.typeByName("s").id;
  const compute =
    (kind: Kind, access: string, of: number = type) =>
    () =>
      computeFixups([{ kind, type: of as TypeId, access }], local, [{ name: "vmlinux", btf: kernel }]);
  const long = "0".repeat(5000);
  for (const access of [
    "",
    ":",
    "0:",
    ":0",
    "0::1",
    "0:-1",
    "-1",
    "+0",
    " 0",
    "0 ",
    "0:a",
    "0x0",
    "0.5",
    "0:1:",
    "1e1",
    "２",
    "2147483648",
    "18446744073709551616",
    "0:99999999999999999999",
  ]) {
    refuses(
      compute("field_byte_offset", access),
      "ERR_CORE_SPEC",
      `Access "${access}" is malformed, expected numbers with colons between them`,
    );
  }
  refuses(
    compute("field_byte_offset", `${long}x`),
    "ERR_CORE_SPEC",
    `Access "${"0".repeat(80)}..." is malformed, expected numbers with colons between them`,
  );
  refuses(
    compute("field_byte_offset", Array(65).fill("0").join(":")),
    "ERR_CORE_SPEC",
    "Access has more than 64 steps",
  );
  refuses(
    compute("field_byte_offset", Array(5000).fill("0").join(":")),
    "ERR_CORE_SPEC",
    "Access has more than 64 steps",
  );
  const where = "Access";
  refuses(
    compute("field_byte_offset", "0:2"),
    "ERR_CORE_SPEC",
    `${where} "0:2" of [2] struct s: step 1 is 2, there are 2 members`,
  );
  refuses(
    compute("field_byte_offset", "0:0:0"),
    "ERR_CORE_SPEC",
    `${where} "0:0:0" of [2] struct s: step 2 leads into [1] int, which has no parts`,
  );
  refuses(
    compute("type_size", "0:0"),
    "ERR_CORE_SPEC",
    `${where} "0:0" of [2] struct s: a relocation of a type has the access "0"`,
  );
  refuses(
    compute("type_size", "1"),
    "ERR_CORE_SPEC",
    `${where} "1" of [2] struct s: a relocation of a type has the access "0"`,
  );
  const e = local.typeByName("e").id;
  refuses(compute("enumval_value", "1", e), "ERR_CORE_SPEC", `${where} "1" of [3] enum e: the enum has 1 enumerators`);
  refuses(
    compute("enumval_value", "0:0", e),
    "ERR_CORE_SPEC",
    `${where} "0:0" of [3] enum e: the enum has 1 enumerators`,
  );
  refuses(
    compute("enumval_value", "0"),
    "ERR_CORE_SPEC",
    `${where} "0" of [2] struct s: the type is struct, expected an enum`,
  );
  refuses(
    compute("field_byte_offset", "0:0", e),
    "ERR_CORE_SPEC",
    `${where} "0:0" of [3] enum e: step 1 leads into [3] enum, which has no parts`,
  );
  refuses(
    compute("field_byte_offset", "2147483647:0"),
    "ERR_CORE_SPEC",
    "Offset of 137438953408 bits does not fit 32 bits",
  );
  refuses(compute("field_byte_offset", "0:0", 99), "ERR_BTF_NOT_FOUND", "No type 99, there are 0 to 4 (.BTF)");
  const anonymous = local.typesByName("s").length + 3;
  refuses(
    compute("field_byte_offset", "0:0", anonymous),
    "ERR_CORE_RELOCATION",
    "Cannot relocate <byte_off> [4] struct <anon>.a (0:0 @ offset 0): the type has no name to look for",
  );
  assert.is(
    computeFixups([{ kind: "type_id_local", type: anonymous as TypeId, access: "0" }], local, [])[0]!.after,
    4n,
  );
  assert.throws(compute("field_nonsense" as Kind, "0"), /Unknown kind of relocation "field_nonsense"/);
});

test("64 steps are enough for a path of 64 steps", () => {
  const nested = (name: string): Btf =>
    types((b, int) => {
      let type: number = int;
      for (let i = 0; i < 63; i++) type = struct(b, i === 62 ? name : "", 4, [`m`, type, 0]);
    });
  const path = Array(64).fill("0").join(":");
  assert.is(ask(nested("s"), "field_byte_size", "s", path, nested("s___k")).after, 4n);
});

test("reads bit fields by the smallest load that covers them", () => {
  const bits = (size: number, bitOffset: number, width: number, littleEndian = true): Btf =>
    types(
      (b) => {
        const word = b.add({ kind: "int", name: "word", size });
        struct(b, "bits", 64, ["f", word, bitOffset, width]);
      },
      { littleEndian },
    );
  const cases: readonly (readonly [size: number, bit: number, width: number, offset: number, load: number])[] = [
    [4, 0, 1, 0, 4],
    [4, 31, 1, 0, 4],
    [4, 32, 32, 4, 4],
    [4, 27, 11, 0, 8],
    [1, 7, 2, 0, 2],
    [1, 15, 2, 0, 4],
    [1, 31, 2, 0, 8],
    [2, 15, 2, 0, 4],
    [8, 64, 50, 8, 8],
    [1, 9, 3, 1, 1],
  ];
  for (const [size, bit, width, offset, load] of cases) {
    for (const little of [true, false]) {
      const kernelBits = bits(size, bit, width, little);
      const program = bits(4, 0, 5, little);
      const answer = (kind: Kind): CoreFixup => ask(program, kind, "bits", "0:0", kernelBits);
      assert.is(answer("field_byte_offset").after, BigInt(offset));
      assert.is(answer("field_byte_size").after, BigInt(load));
      assert.is(answer("field_byte_offset").checked, false, "compilers choose loads in ways of their own");
      // Read it as a program would, out of bytes in which nothing but the field is set.
      const bytes = new Uint8Array(64);
      for (let i = bit; i < bit + width; i++) bytes[i >> 3]! |= little ? 1 << (i & 7) : 0x80 >> (i & 7);
      let value = 0n;
      for (let i = 0; i < load; i++) {
        value |= BigInt(bytes[offset + i]!) << BigInt(8 * (little ? i : load - 1 - i));
      }
      value = BigInt.asUintN(64, value << answer("field_lshift_u64").after) >> answer("field_rshift_u64").after;
      assert.is(value, (1n << BigInt(width)) - 1n, `${width} bits at ${bit}, ${little ? "little" : "big"}-endian`);
    }
  }
  refuses(
    () => ask(bits(4, 0, 5), "field_byte_offset", "bits", "0:0", bits(8, 60, 10)),
    "ERR_CORE_RELOCATION",
    "Cannot relocate <byte_off> [3] struct bits.f (0:0 @ offset 0): the bit field of 10 bits at bit 60 is in no 64 aligned bits",
  );
});

test("takes the sign of enums and integers", () => {
  const signs = (signed: boolean): Btf =>
    types((b) => {
      const word = b.add({ kind: "int", name: "word", size: 4, signed });
      const e = b.add({ kind: "enum", name: "e", signed, values: [{ name: "ONE", value: 1 }] });
      const wide = b.add({ kind: "enum64", name: "w", signed, values: [{ name: "ONE", value: 1n }] });
      const pointer = b.add({ kind: "ptr", type: word });
      struct(b, "s", 32, ["word", word, 0], ["e", e, 64], ["w", wide, 128], ["p", pointer, 192]);
    });
  for (let i = 0; i < 4; i++) {
    assert.is(ask(signs(false), "field_signed", "s", `0:${i}`, signs(true)).after, i < 3 ? 1n : 0n);
    assert.is(ask(signs(true), "field_signed", "s", `0:${i}`, signs(false)).after, 0n);
  }
});

test("an enum may have become an enum of 64 bits, and the other way round", () => {
  const small = types((b) => b.add({ kind: "enum", name: "e", signed: true, values: [{ name: "V", value: -2 }] }));
  const large = types((b) =>
    b.add({ kind: "enum64", name: "e", signed: true, values: [{ name: "V", value: -(2n ** 40n) }] }),
  );
  assert.is(ask(small, "enumval_value", "e", "0", large).after, -(2n ** 40n));
  assert.is(ask(large, "enumval_value", "e", "0", small).after, -2n);
  assert.is(ask(small, "type_exists", "e", "0", large).after, 1n);
  const top = types((b) => b.add({ kind: "enum64", name: "e", values: [{ name: "V", value: 2n ** 64n - 1n }] }));
  assert.is(ask(small, "enumval_value", "e", "0", top).after, 2n ** 64n - 1n);
});

test("fields of types that bear no relation do not match", () => {
  const one = (fill: (b: BtfBuilder, int: TypeId) => number): Btf =>
    types((b, int) => {
      const type = fill(b, int);
      struct(b, "s", 64, ["f", type, 0]);
    });
  const forms: Readonly<Record<string, Btf>> = {
    int: one((_, int) => int),
    char: one((b) => b.add({ kind: "int", name: "char", size: 1 })),
    bits: one((b) => b.add({ kind: "int", name: "bits", size: 4, bits: 3, bitOffset: 2 })),
    pointer: one((b, int) => b.add({ kind: "ptr", type: int })),
    pointerToVoid: one((b) => b.add({ kind: "ptr", type: 0 })),
    struct: one((b, int) => struct(b, "x", 4, ["a", int, 0])),
    union: one((b, int) => b.add({ kind: "union", name: "y", size: 4, members: [{ name: "a", type: int }] })),
    float: one((b) => b.add({ kind: "float", name: "float", size: 4 })),
    double: one((b) => b.add({ kind: "float", name: "double", size: 8 })),
    enum: one((b) => b.add({ kind: "enum", name: "e", values: [] })),
    enumFlavour: one((b) => b.add({ kind: "enum64", name: "e___2", values: [] })),
    enumOther: one((b) => b.add({ kind: "enum", name: "other", values: [] })),
    enumAnonymous: one((b) => b.add({ kind: "enum", values: [] })),
    array: one((b, int) => b.add({ kind: "array", type: int, indexType: int, length: 3 })),
    longer: one((b, int) => b.add({ kind: "array", type: int, indexType: int, length: 5 })),
    matrix: one((b, int) => {
      const row = b.add({ kind: "array", type: int, indexType: int, length: 5 });
      return b.add({ kind: "array", type: row, indexType: int, length: 2 });
    }),
    pointers: one((b, int) => {
      const pointer = b.add({ kind: "ptr", type: int });
      return b.add({ kind: "array", type: pointer, indexType: int, length: 3 });
    }),
    typedef: one((b, int) => {
      const volatile = b.add({ kind: "volatile", type: int });
      return b.add({ kind: "typedef", name: "t", type: volatile });
    }),
  };
  const alike = [
    ["int", "char", "typedef"],
    ["pointer", "pointerToVoid"],
    ["struct", "union"],
    ["float", "double"],
    ["enum", "enumFlavour", "enumAnonymous"],
    ["enumOther", "enumAnonymous"],
    ["array", "longer"],
  ];
  for (const [a, from] of Object.entries(forms)) {
    for (const [b, to] of Object.entries(forms)) {
      const same = a === b && a !== "bits";
      const wanted = same || alike.some((group) => group.includes(a) && group.includes(b));
      assert.is(ask(from, "field_exists", "s", "0:0", to).after, wanted ? 1n : 0n, `${a} against ${b}`);
    }
  }
});

test("types that are nested without end are answered or refused, quickly", () => {
  const before = cpuTime();
  // Each anonymous struct holds the next one twice: 2^40 ways to nowhere.
  const twice = types((b, int) => {
    let type = struct(b, "", 4, ["last", int, 0]);
    for (let i = 0; i < 40; i++) type = struct(b, i === 39 ? "s" : "", 8, ["", type, 0], ["", type, 32]);
  });
  assert.is(ask(local, "field_exists", "s", "0:0", twice).after, 0n);
  const deep = types((b, int) => {
    let type = struct(b, "", 4, ["a", int, 0]);
    for (let i = 0; i < 70; i++) type = struct(b, i === 69 ? "s" : "", 4, ["", type, 0]);
  });
  assert.throws(() => ask(local, "field_exists", "s", "0:0", deep), /anonymous members are nested more than 64 deep/);
  // Functions that take functions that take functions, each twice.
  const functions = types((b, int) => {
    let type = b.add({ kind: "func_proto", returnType: int, params: [] });
    for (let i = 0; i < 30; i++) {
      const pointer = b.add({ kind: "ptr", type });
      type = b.add({ kind: "func_proto", returnType: int, params: [{ type: pointer }, { type: pointer }] });
    }
    b.add({ kind: "typedef", name: "f", type });
  });
  assert.is(ask(functions, "type_exists", "f", "0", functions).after, 1n);
  assert.is(ask(functions, "type_matches", "f", "0", functions).after, 1n);
  const pointers = (count: number): Btf =>
    types((b, int) => {
      let type: number = int;
      for (let i = 0; i < count; i++) type = b.add({ kind: "ptr", type });
      b.add({ kind: "typedef", name: "p", type });
    });
  for (const kind of ["type_exists", "type_matches"] as const) {
    assert.is(ask(pointers(31), kind, "p", "0", pointers(31)).after, 1n);
    assert.throws(
      () => ask(pointers(32), kind, "p", "0", pointers(32)),
      (error: unknown) =>
        (error as BtfError).code === "ERR_CORE_RELOCATION" &&
        /types are nested more than 32 deep/.test((error as Error).message),
    );
  }
  // A struct that holds itself, and members in their tens of thousands.
  const itself = types((b) => struct(b, "s", 4, ["a", 2, 0], ["b", 2, 0]));
  assert.throws(() => ask(itself, "type_matches", "s", "0", itself), /nested more than 32 deep/);
  const many = types((b, int) =>
    struct(b, "s", 4, ...Array.from({ length: 40_000 }, (_, i): Member => [`m${i}`, int, 0])),
  );
  assert.is(ask(many, "type_matches", "s", "0", many).after, 1n);
  assert.ok(cpuTime() - before < 5000);
});

test("void, forward declarations and functions", () => {
  const all = types((b, int) => {
    b.add({ kind: "fwd", name: "f", target: "struct" });
    const nothing = b.add({ kind: "func_proto", params: [] });
    b.add({ kind: "typedef", name: "nothing", type: nothing });
    const variadic = b.add({ kind: "func_proto", params: [{ type: int }], variadic: true });
    b.add({ kind: "typedef", name: "variadic", type: variadic });
    b.add({ kind: "float", name: "float", size: 4 });
  });
  assert.is(ask(all, "type_exists", "f", "0", all).after, 1n);
  assert.is(ask(all, "type_matches", "f", "0", all).after, 1n);
  assert.is(ask(all, "type_exists", "nothing", "0", all).after, 1n);
  assert.is(ask(all, "type_matches", "variadic", "0", all).after, 1n);
  assert.is(ask(all, "type_exists", "float", "0", all).after, 0n, "libbpf knows no floats here");
  refuses(
    () => ask(all, "type_size", "f", "0", all),
    "ERR_CORE_RELOCATION",
    'Cannot relocate <type_size> [2] fwd f: a value of kind fwd "f" has no size (.BTF type[2])',
  );
  refuses(
    () => ask(local, "field_signed", "s", "1", kernel),
    "ERR_CORE_RELOCATION",
    "Cannot relocate <signed> [2] struct s[1] (1 @ offset 8): a relocation of kind field_signed cannot be about an element of an array",
  );
});

test("what was asked first in the object narrows down the choice, in whatever order it is given", () => {
  const local = types((b, int) => struct(b, "s", 8, ["x", int, 0], ["y", int, 32]));
  const kernel = types((b, int) => {
    struct(b, "s", 16, ["x", int, 64]);
    struct(b, "s", 16, ["y", int, 96]);
  });
  const { id } = local.typeByName("s");
  const question = (access: string, order?: number): CoreRelocation => {
    const asked = { kind: "field_byte_offset", type: id, access } as const;
    return order === undefined ? asked : { ...asked, order };
  };
  const answers = (...relocations: CoreRelocation[]): unknown[] =>
    computeFixups(relocations, local, [{ name: "vmlinux", btf: kernel }]).map(({ relocation, after, poison }) => [
      relocation.access,
      poison ? "poison" : after,
    ]);
  const [x, y] = ["0:0", "0:1"];
  assert.equal(answers(question(x), question(y)), [
    [x, 8n],
    [y, "poison"],
  ]);
  assert.equal(answers(question(x, 5), question(y, 3)), [
    [x, "poison"],
    [y, 12n],
  ]);
  assert.equal(answers(question(x, 5), question(y, 7), question(y, 4)), [
    [x, "poison"],
    [y, 12n],
  ]);
});

test.run();
