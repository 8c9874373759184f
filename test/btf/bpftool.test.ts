import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type Btf, type BtfType, openBtf } from "../../src/btf/index.ts";
import { requires, toolPath } from "../support/harness.ts";

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

requires(
  test,
  "kernel-btf",
  "tool:bpftool",
)("every type of the kernel reads as bpftool prints it", () => {
  const file = "/sys/kernel/btf/vmlinux";
  const dump = spawnSync(toolPath("bpftool")!, ["btf", "dump", "file", file, "format", "raw"], {
    encoding: "utf8",
    maxBuffer: 1 << 28,
  });
  assert.is(dump.status, 0, dump.stderr);
  const lines = dump.stdout.trimEnd().split("\n");
  const btf = openBtf(readFileSync(file));
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
  console.log(`\nNOTE ${types} types in ${at} lines agree with bpftool`);
});

test.run();
