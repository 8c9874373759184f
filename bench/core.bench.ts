import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { encode } from "../src/asm/index.ts";
import {
  applyFixups,
  type Btf,
  type BtfStruct,
  type CoreRelocation,
  computeFixups,
  coreRelocationsOf,
  openBtf,
} from "../src/btf/index.ts";
import { readElf, readRelocations, readSymbols, relocationSections, requireBpf } from "../src/elf/index.ts";
import { openObject } from "../test/btf/core/object.ts";
import { missing, repository } from "../test/support/harness.ts";
import { buildCiliumPeer, buildLibbpfPeer } from "./build-peer.ts";
import { startPeer } from "./peer/peer.ts";
import { compare, median, type Report, short, time } from "./report.ts";

const ROUNDS = short ? 3 : 15;
const OBJECT = join(repository, "test/fixtures/core-kernel.el.o");

/** Questions about 1,000 members of the kernel's structs, 25 of each. */
function questions(local: Btf): CoreRelocation[] {
  const kinds = ["field_byte_offset", "field_byte_size", "field_exists"] as const;
  const found: CoreRelocation[] = [];
  const structs = [...local.types()].filter(
    (type): type is BtfStruct => type.kind === "struct" && type.name !== "" && type.members.length >= 25,
  );
  const wanted = ["task_struct", "sk_buff", "sock", "net_device", "file", "inode", "mm_struct", "tcp_sock"];
  structs.sort((a, b) => wanted.indexOf(b.name) - wanted.indexOf(a.name));
  for (const type of structs.filter((each) => local.typesByName(each.name).length === 1).slice(0, 40)) {
    for (let i = 0; i < 25; i++) found.push({ kind: kinds[i % 3]!, type: type.id, access: `0:${i}` });
  }
  return found;
}

/** CO-RE relocations for the running kernel, and reading objects. */
export async function run(report: Report): Promise<void> {
  const bytes = new Uint8Array(readFileSync(OBJECT));
  report({
    name: "elf: open an object of 49 kB, read its symbols and relocations",
    value:
      median(
        Array.from({ length: ROUNDS * 4 }, () =>
          time(() => {
            const elf = requireBpf(readElf(bytes));
            return [readSymbols(elf), relocationSections(elf).map((section) => readRelocations(elf, section))];
          }),
        ).slice(ROUNDS),
      ) / 1e3,
    unit: "us",
  });

  const path = "/sys/kernel/btf/vmlinux";
  if (!existsSync(path)) return;
  const types = readFileSync(path);
  const local = openBtf(types);
  const asked = questions(local);
  const fresh: number[] = [];
  const again: number[] = [];
  for (let i = 0; i < ROUNDS + 3; i++) {
    const targets = [{ name: "vmlinux", btf: openBtf(types) }];
    fresh.push(time(() => computeFixups(asked, local, targets)));
    again.push(time(() => computeFixups(asked, local, targets)));
  }
  const name = `core: ${asked.length.toLocaleString("en")} relocations for the running kernel`;
  report({ name: `${name}, its types just opened`, value: median(fresh.slice(3)) / 1e6, unit: "ms", aim: "<= 50" });
  report({ name: `${name}, again`, value: median(again.slice(3)) / 1e6, unit: "ms" });

  const relocate = (): unknown => {
    const object = openObject(bytes);
    const targets = [{ name: "vmlinux", btf: openBtf(readFileSync(path)) }];
    const relocations = object.programs.flatMap((program) => coreRelocationsOf(program.instructions));
    const fixups = computeFixups(relocations, object.btf, targets);
    return object.programs.map((program) => encode(applyFixups(program.instructions, fixups)));
  };
  const built = missing("bpf") === undefined ? buildLibbpfPeer("bench/peer/core.c") : undefined;
  const peer = built && startPeer(built.path, [OBJECT]);
  try {
    const theirs = peer === undefined ? () => 1 : async () => Number((await peer.ask("1"))[0]);
    const result = await compare<"ours" | "theirs">({ ours: () => time(relocate), theirs }, "theirs", {
      rounds: ROUNDS,
      warmup: 5,
    });
    report({
      name: "core: open an object and the kernel's types, relocate 203 programs",
      value: result.median.ours / 1e6,
      unit: "ms",
      ...(built && { peer: built.name, peerValue: result.median.theirs / 1e6, ratio: result.ratio.ours }),
      aim: "<= 2x",
    });
  } finally {
    peer?.close();
  }
  await one(report, path);
}

/** One relocation, the kernel's types opened for it, each time in a fresh process. */
async function one(report: Report, types: string): Promise<void> {
  const program = "task_start_time_offset";
  const sample = (file: string, ...args: readonly string[]): number => {
    const result = spawnSync(file, [...args, OBJECT, program, types], { encoding: "utf8" });
    if (result.status !== 0) throw new Error(`${file} failed: ${result.stderr}`);
    return Number(result.stdout.split(" ")[0]);
  };
  const child = fileURLToPath(new URL("peer/core-one.js", import.meta.url));
  const libbpf = missing("bpf") === undefined ? buildLibbpfPeer("bench/peer/core-one.c") : undefined;
  for (const peer of [libbpf, buildCiliumPeer("bench/peer/core-one.go")]) {
    const theirs = peer === undefined ? () => 1 : (): number => sample(peer.path);
    const ours = (): number => sample(process.execPath, child);
    const result = await compare<"ours" | "theirs">({ ours, theirs }, "theirs", { rounds: 9, warmup: 1 });
    report({
      name: "core: open the kernel's types for one relocation, cold",
      value: result.median.ours / 1e6,
      unit: "ms",
      ...(peer && { peer: peer.name, peerValue: result.median.theirs / 1e6, ratio: result.ratio.ours }),
    });
  }
}
