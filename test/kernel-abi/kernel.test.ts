import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { bpfAttrLayouts } from "../../scripts/kernel-abi/attr.ts";
import { fieldsOf } from "../../scripts/kernel-abi/fields.ts";
import { STRUCT_FILES, TABLES } from "../../scripts/kernel-abi/tables.ts";
import { type Btf, type BtfStruct, type BtfUnion, openBtf } from "../../src/btf/index.ts";
import * as abi from "../../src/kernel-abi/index.ts";
import { requires } from "../support/harness.ts";

const test = suite("kernel-abi/kernel");
const onKernel = requires(test, "kernel-btf");
const exported = abi as unknown as Record<string, unknown>;

function kernel(): Btf {
  return openBtf(readFileSync("/sys/kernel/btf/vmlinux"));
}

// Fields are only ever appended, so an older kernel has a part of ours and a newer one more; what both have is equal.
function compare(btf: Btf, name: string, type: BtfStruct | BtfUnion, pointers: RegExp | undefined): [number, number] {
  const ours = exported[name] as abi.StructLayout;
  let agree = 0;
  let unknown = 0;
  for (const [field, layout] of fieldsOf(btf, type, pointers)) {
    const known = ours.fields[field];
    if (known === undefined) unknown++;
    else {
      assert.equal(layout, known, `${name}.${field}`);
      agree++;
    }
  }
  return [agree, unknown];
}

onKernel("layouts agree with the running kernel", () => {
  const btf = kernel();
  let fields = 0;
  let newer = 0;
  let structs = 0;
  const count = ([agree, unknown]: [number, number]): void => {
    fields += agree;
    newer += unknown;
    structs++;
  };
  for (const { source, variant } of bpfAttrLayouts(btf, btf.typeByName("bpf_attr", "union"), false)) {
    count(compare(btf, source.name, variant, source.pointers));
  }
  for (const source of Object.values(STRUCT_FILES).flat()) {
    const type = btf.typesByName(source.struct, "struct")[0] ?? btf.typesByName(source.struct, "union")[0];
    if (type !== undefined) count(compare(btf, source.name, type, source.pointers));
  }
  assert.ok(structs > 40 && fields > 500, `${structs} structs, ${fields} fields`);
  console.log(
    `\nNOTE ${fields} fields of ${structs} structs agree with the running kernel, ${newer} are not known here`,
  );
});

onKernel("tables agree with the running kernel", () => {
  const btf = kernel();
  let agree = 0;
  for (const table of TABLES) {
    const ours = exported[table.name] as Record<string, number>;
    for (const { name, value } of btf.typesByName(table.enum, "enum")[0]?.values ?? []) {
      if (!name.startsWith(table.prefix)) continue;
      const key = table.kernelSpelling ? name : name.slice(table.prefix.length).toLowerCase();
      if (ours[key] === undefined) continue;
      assert.is(ours[key], value, `${table.name}.${key}`);
      agree++;
    }
  }
  assert.ok(agree > 200, `${agree} entries`);
  console.log(`\nNOTE ${agree} entries of ${TABLES.length} tables agree with the running kernel`);
});

onKernel("numbers of helpers agree with the running kernel", () => {
  const values = kernel().typeByName("bpf_func_id", "enum").values;
  let agree = 0;
  for (const { name, value } of values) {
    const helper = abi.findHelper(name.replace("BPF_FUNC_", ""));
    if (helper === undefined) continue;
    assert.is(helper.number, value, name);
    agree++;
  }
  assert.is(agree, Math.min(abi.HELPERS.length, values.length - 2), "all but BPF_FUNC_unspec and the end mark");
  console.log(`\nNOTE ${agree} numbers of helpers agree with the running kernel`);
});

requires(test, "gcc")("macros agree with the headers of this machine", () => {
  const source = readFileSync(new URL("../../../src/kernel-abi/constants.ts", import.meta.url), "utf8");
  const names = [...source.matchAll(/^export const (\w+) =/gm)].map((match) => match[1]!);
  const folder = mkdtempSync(join(tmpdir(), "rawbpf-"));
  try {
    const headers = ["stdio.h", "linux/bpf.h", "linux/perf_event.h", "linux/pkt_cls.h", "linux/pkt_sched.h"];
    headers.push("linux/if_link.h", "linux/netlink.h", "linux/rtnetlink.h", "sys/ioctl.h", "sys/socket.h");
    let text = headers.map((header) => `#include <${header}>\n`).join("");
    text += "int main(void) {\n";
    for (const name of names) text += `#ifdef ${name}\nprintf("${name} %lld\\n", (long long)${name});\n#endif\n`;
    text += "return 0;\n}\n";
    const program = join(folder, "macros");
    const compiled = spawnSync("gcc", ["-x", "c", "-", "-o", program], { input: text, encoding: "utf8" });
    assert.is(compiled.status, 0, compiled.stderr);
    const lines = spawnSync(program, { encoding: "utf8" }).stdout.trim().split("\n");
    for (const line of lines) {
      const [name, value] = line.split(" ");
      assert.is(exported[name!], Number(value), name);
    }
    assert.ok(lines.length > 50, `${lines.length} macros`);
    console.log(`\nNOTE ${lines.length} of ${names.length} macros agree with the headers, which lack the others`);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test.run();
