import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, statSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { encodeBtf, openBtf, validateBtf } from "../src/btf/index.ts";
import { buildCiliumPeer, buildLibbpfPeer } from "./build-peer.ts";
import { compare, median, type Report, short, time } from "./report.ts";

const FILE = "/sys/kernel/btf/vmlinux";
/** In the middle of a kernel's types, so that none finds it at once. */
const NAME = "sk_buff";

function sample(program: string, args: readonly string[]): number[] {
  const result = spawnSync(program, [...args, FILE, NAME], { encoding: "utf8" });
  if (result.status !== 0) throw new Error(`${program} failed: ${result.stderr}`);
  return result.stdout.trim().split(" ").map(Number);
}

/** Opening the kernel's BTF, finding in it, and decoding all of it, each time in a fresh process. */
export async function run(report: Report): Promise<void> {
  if (!existsSync(FILE)) throw new Error(`Needs ${FILE}`);
  const child = fileURLToPath(new URL("peer/btf.js", import.meta.url));
  const ours = (): number[] => sample(process.execPath, ["--expose-gc", child]);
  const libbpf = buildLibbpfPeer("bench/peer/btf.c");
  const cilium = buildCiliumPeer("bench/peer/btf.go");
  const options = { rounds: short ? 3 : 9, warmup: 1 };

  const openAndFind = ([open, find]: readonly number[]): number => open! + find!;
  for (const [peer, aim] of [
    [libbpf, "<= 1.0x"],
    [cilium, "<= 0.6x"],
  ] as const) {
    const theirs = peer === undefined ? () => 1 : (): number => openAndFind(sample(peer.path, []));
    const result = await compare<"ours" | "theirs">({ ours: () => openAndFind(ours()), theirs }, "theirs", options);
    report({
      name: "btf: open the kernel's and find a struct, cold",
      value: result.median.ours / 1e6,
      unit: "ms",
      aim,
      ...(peer && { peer: peer.name, peerValue: result.median.theirs / 1e6, ratio: result.ratio.ours }),
    });
  }

  const theirs = cilium === undefined ? () => 1 : (): number => sample(cilium.path, [])[2]!;
  const all = await compare<"ours" | "theirs">({ ours: () => ours()[2]!, theirs }, "theirs", options);
  report({
    name: "btf: decode all types of the kernel, cold",
    value: all.median.ours / 1e6,
    unit: "ms",
    aim: "<= 0.8x",
    ...(cilium && { peer: cilium.name, peerValue: all.median.theirs / 1e6, ratio: all.ratio.ours }),
  });

  const size = statSync(FILE).size;
  const samples = Array.from({ length: short ? 3 : 5 }, ours);
  const column = (rows: readonly (readonly number[])[], at: number): number =>
    median(rows.map((row) => row[at]!)) / size;
  for (const [name, at] of [
    ["open and find", 3],
    ["decode all", 4],
  ] as const) {
    report({ name: `btf: resident growth, ${name}`, value: column(samples, at), unit: "file sizes", aim: "< 2" });
  }
  for (const [name, at, peer, theirColumn] of [
    ["open and find", 5, libbpf, 2],
    ["open and find", 5, cilium, 3],
    ["decode all", 6, cilium, 4],
  ] as const) {
    const value = column(samples, at);
    const theirs = peer && column([sample(peer.path, []), sample(peer.path, []), sample(peer.path, [])], theirColumn);
    report({
      name: `btf: peak memory above the start, ${name}`,
      value,
      unit: "file sizes",
      ...(peer && theirs && { peer: peer.name, peerValue: theirs, ratio: value / theirs }),
    });
  }

  const bytes = new Uint8Array(readFileSync(FILE));
  const btf = openBtf(bytes);
  const warm: readonly (readonly [string, () => unknown])[] = [
    ["open", () => openBtf(bytes)],
    ["validate", () => validateBtf(btf)],
    ["open and find 1,000 names", () => findMany(openBtf(bytes))],
    ["write all types", () => encodeBtf(btf.types())],
  ];
  for (const [name, work] of warm) {
    for (let i = 0; i < (short ? 1 : 3); i++) work();
    const times = Array.from({ length: short ? 3 : 9 }, () => time(work));
    report({ name: `btf: ${name}, the kernel's, warm`, value: median(times) / 1e6, unit: "ms" });
  }
}

function findMany(btf: ReturnType<typeof openBtf>): number {
  let found = 0;
  for (let i = 0; i < 1000; i++) found += btf.idsByName(btf.nameOf(1 + 97 * i)).length;
  return found;
}
