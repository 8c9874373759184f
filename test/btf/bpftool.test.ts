import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type Btf, type BtfType, encodeBtf, openBtf } from "../../src/btf/index.ts";
import { requires, rounds, toolPath } from "../support/harness.ts";
import { randomTypes } from "./support/random.ts";

const test = suite("btf/bpftool");

/** A type as `bpftool btf dump ... format raw` writes it. */
function rawLines(btf: Btf, type: BtfType): string[] {
  const head = `[${type.id}] ${type.kind.toUpperCase()} '${type.name === "" ? "(anon)" : type.name}'`;
  switch (type.kind) {
    case "void":
      return [];
    case "int": {
      const encoding = type.signed ? "SIGNED" : type.char ? "CHAR" : type.bool ? "BOOL" : "(none)";
      return [`${head} size=${type.size} bits_offset=${type.bitOffset} nr_bits=${type.bits} encoding=${encoding}`];
    }
    case "ptr":
    case "typedef":
    case "volatile":
    case "const":
    case "restrict":
    case "type_tag":
      return [`${head} type_id=${type.type}`];
    case "array":
      return [`${head} type_id=${type.type} index_type_id=${type.indexType} nr_elems=${type.length}`];
    case "struct":
    case "union":
      return [
        `${head} size=${type.size} vlen=${type.members.length}`,
        ...type.members.map((member) => {
          const bits = member.bitfieldSize > 0 ? ` bitfield_size=${member.bitfieldSize}` : "";
          return `\t'${member.name === "" ? "(anon)" : member.name}' type_id=${member.type} bits_offset=${member.bitOffset}${bits}`;
        }),
      ];
    case "enum":
    case "enum64": {
      const encoding = type.signed ? "SIGNED" : "UNSIGNED";
      const suffix = type.kind === "enum64" && !type.signed ? "ULL" : type.kind === "enum64" ? "LL" : "";
      return [
        `${head} encoding=${encoding} size=${type.size} vlen=${type.values.length}`,
        ...type.values.map(({ name, value }) => `\t'${name}' val=${value}${suffix}`),
      ];
    }
    case "fwd":
      return [`${head} fwd_kind=${type.target}`];
    case "func":
      return [`${head} type_id=${type.type} linkage=${type.linkage}`];
    case "func_proto": {
      const params = type.params.map(({ name, type: id }) => `\t'${name === "" ? "(anon)" : name}' type_id=${id}`);
      if (type.variadic) params.push("\t'(anon)' type_id=0");
      return [`${head} ret_type_id=${type.returnType} vlen=${params.length}`, ...params];
    }
    case "var":
      return [`${head} type_id=${type.type}, linkage=${type.linkage}`];
    case "datasec":
      return [
        `${head} size=${type.size} vlen=${type.vars.length}`,
        ...type.vars.map((entry) => {
          const target = btf.typeById(entry.type);
          const name =
            target.kind === "var"
              ? ` (VAR '${target.name}')`
              : target.kind === "func"
                ? ` (FUNC '${target.name}')`
                : "";
          return `\ttype_id=${entry.type} offset=${entry.offset} size=${entry.size}${name}`;
        }),
      ];
    case "float":
      return [`${head} size=${type.size}`];
    case "decl_tag":
      return [`${head} type_id=${type.type} component_idx=${type.componentIndex}`];
    default:
      return type satisfies never;
  }
}

function dump(file: string): string[] {
  const result = spawnSync(toolPath("bpftool")!, ["btf", "dump", "file", file, "format", "raw"], {
    encoding: "utf8",
    maxBuffer: 1 << 28,
  });
  assert.is(result.status, 0, result.stderr);
  return result.stdout.trimEnd().split("\n");
}

/** @returns number of types */
function compare(btf: Btf, lines: readonly string[]): number {
  let at = 0;
  let types = 0;
  for (const type of btf.types()) {
    for (const line of rawLines(btf, type)) {
      if (lines[at] !== line) assert.is(lines[at], line);
      at++;
    }
    types++;
  }
  assert.is(at, lines.length);
  assert.is(types, btf.endId - 1);
  return types;
}

const onKernel = requires(test, "kernel-btf", "tool:bpftool");
onKernel("every type of the kernel reads as bpftool prints it", () => {
  const file = "/sys/kernel/btf/vmlinux";
  const lines = dump(file);
  const types = compare(openBtf(readFileSync(file)), lines);
  console.log(`\nNOTE ${types} types in ${lines.length} lines agree with bpftool`);
});

// Older ones print attributes and wide enums in another way.
requires(test, "tool:bpftool>=7.5")("bpftool reads what was written, in every form", () => {
  const folder = mkdtempSync(join(tmpdir(), "rawbpf-"));
  try {
    const count = rounds(8, 200);
    for (let seed = 0; seed < count; seed++) {
      const options = { littleEndian: seed % 2 === 0, shareSuffixes: seed % 4 < 2, layout: seed % 8 < 4 };
      const bytes = encodeBtf(randomTypes(seed, 80), options);
      writeFileSync(join(folder, "btf"), bytes);
      compare(openBtf(bytes), dump(join(folder, "btf")));
    }
    console.log(`\nNOTE ${count} written BTF read the same with bpftool`);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test.run();
