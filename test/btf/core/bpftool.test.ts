import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { slotsOf } from "../../../src/asm/index.ts";
import {
  applyFixup,
  CORE_POISON,
  type CoreFixup,
  type CoreInstructionRelocation,
  computeFixups,
  formatRelocation,
  openBtf,
} from "../../../src/btf/index.ts";
import { fixture } from "../../elf/build.ts";
import { repository, requires, toolPath } from "../../support/harness.ts";
import { openObject } from "./object.ts";

const test = suite("btf/core/bpftool");

const NAME = "core-kernel.el.o";
const path = join(repository, "test/fixtures", NAME);
const KERNEL = "/sys/kernel/btf/vmlinux";

function inFolder<T>(run: (folder: string) => T): T {
  const folder = mkdtempSync(join(tmpdir(), "rawbpf-core-"));
  try {
    return run(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** What libbpf says it does to instructions: by program and number of the instruction. */
function patches(log: string): Map<string, string> {
  const found = new Map<string, string>();
  for (const [, program, insn, what] of log.matchAll(
    /prog '([^']+)': relo #\d+: patched insn #(\d+) \((?:\S+)\) (?:off|imm|imm64) (\d+ -> \d+)$/gm,
  )) {
    found.set(`${program} ${insn}`, what!);
  }
  for (const [, program, insn] of log.matchAll(
    /prog '([^']+)': relo #\d+: substituting insn #(\d+) w\/ invalid insn$/gm,
  )) {
    found.set(`${program} ${insn}`, "poison");
  }
  return found;
}

/** The same, of our doing. */
function ourPatches(fixups: readonly CoreFixup[], object: ReturnType<typeof openObject>): Map<string, string> {
  const byText = new Map(fixups.map((fixup) => [JSON.stringify(fixup.relocation), fixup]));
  const found = new Map<string, string>();
  const u64 = (value: bigint): bigint => BigInt.asUintN(64, value);
  for (const program of object.programs) {
    let slot = 0;
    for (const insn of program.instructions) {
      const relocation = insn.meta?.relocation as CoreInstructionRelocation | undefined;
      if (relocation !== undefined) {
        const fixup = byText.get(JSON.stringify(relocation.relocation))!;
        const poisoned = applyFixup(insn, fixup)[0]!.imm === CORE_POISON;
        // What an instruction held is told as it was, where it is not checked.
        const before =
          insn.opcode === 0x18 ? (BigInt(insn.high) << 32n) | BigInt(insn.imm >>> 0) : BigInt(insn.imm || insn.offset);
        found.set(`${program.name} ${slot}`, poisoned ? "poison" : `${u64(before)} -> ${u64(fixup.after)}`);
        if (poisoned && slotsOf(insn) === 2) found.set(`${program.name} ${slot + 1}`, "poison");
      }
      slot += slotsOf(insn);
    }
  }
  return found;
}

const kernelTest = requires(test, "bpf", "sys-admin", "kernel-btf", "tool:bpftool>=7.5");

// A mount namespace of its own: what is mounted is gone with the process, whatever happens to it.
kernelTest("bpftool tells the same of each instruction as it loads them", () => {
  const log = inFolder((folder) => {
    const script = 'mount -t bpf bpf "$1" && "$2" -d prog loadall "$3" "$1/programs"';
    const args = ["-m", "sh", "-c", script, "sh", folder, toolPath("bpftool")!, path];
    // It does not load: programs are poisoned on purpose. All are relocated before the first is loaded.
    return spawnSync("unshare", args, { encoding: "utf8", maxBuffer: 1 << 28 }).stderr;
  });
  const object = openObject(fixture(NAME));
  const fixups = computeFixups(object.relocations, object.btf, [
    { name: "vmlinux", btf: openBtf(readFileSync(KERNEL)) },
  ]);
  const theirs = patches(log);
  const ours = ourPatches(fixups, object);
  assert.ok(theirs.size > 200, log.slice(-2000));
  assert.equal([...ours].sort(), [...theirs].sort());
  const asked = new Set([...log.matchAll(/relo #\d+: (<\w+> \[\d+\] .*)$/gm)].map((match) => match[1]!));
  assert.equal(new Set(fixups.map(formatRelocation)), asked);
  console.log(`NOTE bpftool agrees on ${ours.size} of ${theirs.size} instructions of ${NAME} for this kernel`);
});

kernelTest("what bpftool takes for the needed part of the kernel's types gives the same answers", () => {
  const object = openObject(fixture(NAME));
  const small = inFolder((folder) => {
    const to = join(folder, "small.btf");
    const result = spawnSync(toolPath("bpftool")!, ["gen", "min_core_btf", KERNEL, to, path], { encoding: "utf8" });
    assert.is(result.status, 0, result.stderr);
    return readFileSync(to);
  });
  // It keeps no more of a type that is matched as a whole than others ask for, and gives all types other numbers.
  const asked = object.relocations.filter(({ kind }) => kind !== "type_matches");
  const answers = (bytes: Uint8Array): unknown[] =>
    computeFixups(asked, object.btf, [{ name: "vmlinux", btf: openBtf(bytes) }]).map((fixup) => [
      formatRelocation(fixup),
      fixup.poison,
      fixup.relocation.kind === "type_id_target" ? fixup.after > 0n : fixup.after,
    ]);
  assert.ok(small.length < 100_000);
  assert.equal(answers(small), answers(readFileSync(KERNEL)));
});

test.run();
