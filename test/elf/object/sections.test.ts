import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { buildLibbpfPeer } from "../../../bench/build-peer.ts";
import { exit, mov, r0 } from "../../../src/asm/index.ts";
import { createObjectSpec, matchSection, parseObject, SECTION_RULES, writeObject } from "../../../src/elf/index.ts";
import { AttachType, ProgType } from "../../../src/kernel-abi/index.ts";
import { requires } from "../../support/harness.ts";

const test = suite("elf/object/sections");

/** Rules that libbpf 1.8 brought. */
const NEWER = /^((tp|tracepoint|raw_tp|raw_tracepoint|tp_btf)\.s|(fentry|fexit|fsession)\.multi(\.s)?|fsession(\.s)?)$/;
const RULES = SECTION_RULES.filter(({ name }) => !NEWER.test(name));

/** Targets that the kernel's types have, so that attach targets are found. */
function targetOf(name: string): string {
  if (name.startsWith("tp_btf")) return "sched_switch";
  if (name.startsWith("lsm")) return "file_open";
  if (name.startsWith("iter")) return "task";
  if (name === "raw_tp" || name.startsWith("raw_")) return "sched_switch";
  if (/^(tp|tracepoint)/.test(name)) return "sched/sched_switch";
  return "do_nanosleep";
}

function run(mode: string, args: readonly string[], input = ""): string[] {
  const peer = buildLibbpfPeer("test/elf/object/libbpf-sections.c");
  if (peer === undefined) throw new Error("libbpf-cc is there, but does not compile");
  const result = spawnSync(peer.path, [mode, ...args], { input, encoding: "utf8", maxBuffer: 1 << 28 });
  assert.is(result.status, 0, result.stderr);
  return result.stdout.trimEnd().split("\n");
}

/** Names that are rules, that follow one, and that nearly do. */
function variations(): string[] {
  const names = new Set<string>();
  for (const { name } of RULES) {
    const [first = "", last = ""] = [name.split("/")[0], name.split("/").at(-1)];
    const near = [
      ...[name, `${name}/`, `${name}/x`, `${name}/x/y`, `${name}//x`, `${name}/${targetOf(name)}`],
      ...[`${name}x`, `${name}_x`, `${name}.s`, `${name}.s/x`, `${name}.multi`, `${name}.multi/x`, `${name}.w/x`],
      ...[`/${name}`, ` ${name}`, `${name} `, `.${name}`, `x${name}`, name.toUpperCase(), name.slice(0, -1)],
      ...[
        name.slice(1),
        `${first}/${last}`,
        `${first}/${last}/x`,
        first,
        `${first}/`,
        last,
        `${name}.`,
        `${name}.s.s/x`,
      ],
      ...[name.replace(/\.s$/, ""), name.replace("/", "."), name.replace("/", "//"), `${name}/?`, `${name}*`],
    ];
    for (const each of near) names.add(each);
  }
  for (const name of ["", "/", "?", "xdp/other", "license", ".text", "maps", "foo", "foo/bar"]) names.add(name);
  // Those of newer rules are not what this libbpf could know.
  return [...names].filter((name) => !NEWER.test(matchSection(name).rule?.name ?? "") && !name.startsWith("?"));
}

requires(test, "tool:libbpf-cc")("libbpf reads every name as we do", () => {
  const names = variations();
  const theirs = run("name", [], `${names.join("\n")}\n`);
  let known = 0;
  const differences: string[] = [];
  for (const [i, name] of names.entries()) {
    const [error, type, expected, attachError, attach] = theirs[i]!.split(" ").map(Number);
    const { rule } = matchSection(name);
    const ours =
      rule === undefined ? "none" : `${ProgType[rule.type]} ${AttachType[rule.attachType ?? "cgroup_inet_ingress"]}`;
    const expectedText = error === 0 ? `${type} ${expected}` : "none";
    if (error === 0) known++;
    if (ours !== expectedText) differences.push(`"${name}": ours ${ours}, libbpf ${expectedText}`);
    if (attachError === 0 && attach !== AttachType[rule?.attachType ?? "cgroup_inet_ingress"]) {
      differences.push(`"${name}": attach type ${rule?.attachType}, libbpf ${attach}`);
    }
  }
  assert.equal(differences, []);
  console.log(`NOTE libbpf agrees on ${names.length} of ${names.length} names of sections, ${known} of them known`);
});

requires(
  test,
  "tool:libbpf-cc",
  "bpf",
  "kernel-btf",
)("libbpf asks the kernel for the same", () => {
  const cases = RULES.filter(({ type }) => type !== "ext" && type !== "struct_ops").flatMap((rule) => {
    const name = rule.target === true ? `${rule.name}/${targetOf(rule.name)}` : rule.name;
    return [name, `?${name}`];
  });
  const folder = mkdtempSync(join(tmpdir(), "rawbpf-sections-"));
  try {
    const specs = cases.map((section) => {
      const bytes = writeObject(
        createObjectSpec({ license: "GPL", programs: { wanted: { section, instructions: [mov(r0, 0), exit()] } } }),
      );
      return { bytes, program: parseObject(bytes).programs.wanted! };
    });
    const paths = specs.map(({ bytes }, i) => {
      const path = join(folder, `${i}.o`);
      writeFileSync(path, bytes);
      return path;
    });
    const theirs = run("load", paths);
    const differences: string[] = [];
    for (const [i, { program }] of specs.entries()) {
      const type = ProgType[program.type];
      const attach = AttachType[program.attachType ?? "cgroup_inet_ingress"];
      const flags = program.flags | (program.sleepable ? 16 : 0);
      const ours = [type, attach, Number(program.autoload), 0, type, attach, flags, Number(program.attachBtf)].join(
        " ",
      );
      // How USDT probes are attached, one by one or together, is decided when the kernel is known.
      const multi = `${attach} ${flags}`.replace(/^\d+/, String(AttachType.trace_uprobe_multi));
      const expected = program.sectionRule.startsWith("usdt")
        ? theirs[i]!.replace(`${multi} 0`, `${attach} ${flags} 0`)
        : theirs[i];
      if (ours !== expected) differences.push(`SEC("${cases[i]}"): ours ${ours}, libbpf ${theirs[i]}`);
    }
    assert.equal(differences, []);
    console.log(`NOTE libbpf loads programs of ${cases.length} of ${cases.length} sections with the same attributes`);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test.run();
