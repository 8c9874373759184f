import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type AssemblyStyle, assemble, type PrintOptions, print } from "../src/asm/index.ts";
import { toolPath } from "../test/support/harness.ts";
import { compare, type Report, short, time } from "./report.ts";

/** Groups of eight instructions, as a compiler mixes them: 2,048 instructions, longer than 99 of 100 functions. */
const GROUPS = 256;
const SIZE = GROUPS * 8;
const REPEAT = short ? 10 : 50;
/** What llvm-mc is given: enough that its start counts little. */
const PEER_REPEAT = short ? 10 : 50;

const STYLES: Readonly<Record<AssemblyStyle, readonly string[]>> = {
  llvm: [
    "r1 = 5",
    "r2 += r3",
    "r1 = *(u64 *)(r6 + 8)",
    "*(u32 *)(r10 - 8) = w1",
    "if r1 == 5 goto +3",
    "w1 = w2",
    "call 1",
    "exit",
  ],
  kernel: [
    "r1 = 5",
    "r2 += r3",
    "r1 = *(u64 *)(r6 +8)",
    "*(u32 *)(r10 -8) = r1",
    "if r1 == 0x5 goto pc+3",
    "w1 = w2",
    "call bpf_map_lookup_elem#1",
    "exit",
  ],
  mnemonic: [
    "mov %r1, 5",
    "add %r2, %r3",
    "ldxdw %r1, [%r6+8]",
    "stxw [%r10-8], %r1",
    "jeq %r1, 5, +3",
    "mov32 %r1, %r2",
    "call 1",
    "exit",
  ],
};

function text(group: readonly string[], groups: number): string {
  return Array.from({ length: groups }, () => `  ${group.join("\n  ")}\n`).join("");
}

function withLabels(groups: number): string {
  const one = (i: number): string =>
    `L${i}:\n  ${STYLES.llvm.join("\n  ").replace("goto +3", `goto L${i}`).replace("call 1", "call bpf_ktime_get_ns")}\n`;
  return Array.from({ length: groups }, (_, i) => one(i)).join("");
}

/** Text to instructions and back, beside llvm-mc assembling the same text. */
export async function run(report: Report): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "rawbpf-bench-"));
  const llvm = toolPath("llvm-mc", { minimum: "19" });
  const peer =
    llvm === undefined
      ? undefined
      : `llvm-mc ${/\d+(\.\d+)+/.exec(execFileSync(llvm, ["--version"], { encoding: "utf8" }))?.[0]}`;
  const llvmAssemble = (file: string): number =>
    time(() =>
      execFileSync(llvm!, ["-triple=bpfel", "-mcpu=v4", "-filetype=obj", file, "-o", "out.o"], { cwd: folder }),
    );
  try {
    const rows: [name: string, work: () => unknown, peerText: string | undefined][] = [];
    for (const style of ["llvm", "kernel", "mnemonic"] as const) {
      const program = text(STYLES[style], GROUPS);
      rows.push([
        `assemble, ${style}`,
        () => assemble(program, { style }),
        style === "llvm" ? text(STYLES.llvm, GROUPS * PEER_REPEAT) : undefined,
      ]);
    }
    const labelled = withLabels(GROUPS);
    // llvm-mc knows no names of helpers.
    rows.push([
      "assemble, labels",
      () => assemble(labelled),
      withLabels(GROUPS * PEER_REPEAT).replaceAll("bpf_ktime_get_ns", "5"),
    ]);
    const code = assemble(labelled);
    const kinds: [string, PrintOptions][] = [
      ["llvm", {}],
      ["kernel", { style: "kernel" }],
      ["mnemonic", { style: "mnemonic" }],
      ["labels and slot numbers", { labels: true, numbers: true }],
    ];
    // One character read, so that the text is really put together.
    for (const [name, options] of kinds)
      rows.push([`print, ${name}`, () => print(code, options).charCodeAt(1000), undefined]);

    writeFileSync(join(folder, "empty.s"), "");
    for (const [i, [name, work, peerText]] of rows.entries()) {
      const ours = (): number =>
        time(() => {
          let kept: unknown;
          for (let n = 0; n < REPEAT; n++) kept = work();
          return kept;
        }) /
        (SIZE * REPEAT);
      const compared = llvm !== undefined && peerText !== undefined;
      if (compared) writeFileSync(join(folder, `${i}.s`), peerText);
      // Its start is not what is compared.
      const theirs = (): number =>
        compared ? (llvmAssemble(`${i}.s`) - llvmAssemble("empty.s")) / (SIZE * PEER_REPEAT) : 1;
      const { median, ratio } = await compare<"ours" | "theirs">({ ours, theirs }, "theirs", { rounds: 7, warmup: 3 });
      report({
        name: `asm: ${name}`,
        value: 1e3 / median.ours,
        unit: "M instructions/s",
        ...(name.startsWith("assemble") ? { aim: ">= 5" } : {}),
        ...(compared ? { peer: peer!, peerValue: 1e3 / median.theirs, ratio: 1 / ratio.ours } : {}),
      });
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
}
