import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { encode, link } from "../src/asm/index.ts";
import { applyFixups, computeFixups, coreRelocationsOf, openBtf } from "../src/btf/index.ts";
import { parseObject } from "../src/elf/index.ts";
import { loadObject } from "../src/object/index.ts";
import { missing, repository } from "../test/support/harness.ts";
import { installedObjects, missingObjects, type ObjectImage } from "../test/support/objects.ts";
import { buildLibbpfPeer } from "./build-peer.ts";
import { type Peer, startPeer } from "./peer/peer.ts";
import { compare, median, type Report, short } from "./report.ts";

const MOST = short ? 3 : 12;
const VMLINUX = "/sys/kernel/btf/vmlinux";

/** Objects as they are in use: those of libbpf-tools, where they are there, else the fixtures. */
function images(): ObjectImage[] {
  if (missingObjects() === undefined) return installedObjects().filter(({ name }) => name.includes("libbpf@"));
  const folder = join(repository, "test/fixtures");
  const names = readdirSync(folder).filter((name) => name.endsWith(".el.o"));
  return names.map((name) => ({ name, bytes: new Uint8Array(readFileSync(join(folder, name))) }));
}

/** CPU time of this process, in nanoseconds: what the peer counts. */
function timed(run: () => void): number {
  const before = process.cpuUsage();
  run();
  const used = process.cpuUsage(before);
  return (used.user + used.system) * 1000;
}

/** What loading does before it asks the kernel for anything. */
function relocate(bytes: Uint8Array): void {
  const { programs, btf, maps: named } = parseObject(bytes);
  const maps = Object.fromEntries(Object.keys(named).map((name) => [name, { fd: 3 }]));
  const code = Object.values(programs).map(({ instructions }) => instructions);
  const relocations = code.flatMap((instructions) => coreRelocationsOf(instructions));
  // Each time anew, as libbpf does.
  const targets = relocations.length === 0 ? [] : [{ name: "vmlinux", btf: openBtf(readFileSync(VMLINUX)) }];
  const fixups = relocations.length === 0 ? [] : computeFixups(relocations, btf!, targets);
  for (const instructions of code) {
    encode(link(applyFixups(instructions, fixups), { maps }));
  }
}

/** Objects against libbpf: opened, relocated, loaded; and a whole process. */
export async function run(report: Report): Promise<void> {
  memory(report);
  if (missing("bpf") !== undefined || missing("kernel-btf") !== undefined) return;
  const peer = buildLibbpfPeer("bench/peer/object.c");
  const folder = mkdtempSync(join(tmpdir(), "rawbpf-bench-"));
  let process: Peer | undefined;
  try {
    const all = images().map((image, i) => {
      const path = join(folder, `object${i}.bpf.o`);
      writeFileSync(path, image.bytes);
      return { ...image, path };
    });
    if (peer !== undefined) {
      process = startPeer(
        peer.path,
        all.map(({ path }) => path),
      );
      await inProcess(report, all, process, peer.name);
    }
    await wholeProcess(report);
  } finally {
    process?.close();
    rmSync(folder, { recursive: true });
  }
}

async function inProcess(report: Report, all: readonly ObjectImage[], peer: Peer, name: string): Promise<void> {
  // Those that both can load here.
  const usable: number[] = [];
  for (let i = 0; i < all.length && usable.length < MOST; i++) {
    try {
      loadObject(all[i]!.bytes).close();
      relocate(all[i]!.bytes);
    } catch {
      continue;
    }
    if ((await peer.ask(`load ${i} 1`))[0] !== "failed") usable.push(i);
  }
  if (usable.length === 0) throw new Error("No object that can be loaded here");
  const size = usable.reduce((sum, i) => sum + all[i]!.bytes.length, 0) / usable.length;
  const works = {
    open: (bytes: Uint8Array) => void parseObject(bytes),
    prepare: relocate,
    load: (bytes: Uint8Array) => loadObject(bytes).close(),
  };
  // What libbpf calls preparing creates the maps too, which we do when we load: that it takes longer is to its cost.
  const titles = {
    open: "opened",
    prepare: "opened and relocated (libbpf: and maps created)",
    load: "opened, loaded, closed",
  };
  for (const [word, work] of Object.entries(works) as [keyof typeof works, (bytes: Uint8Array) => void][]) {
    const rounds = word === "open" ? 10 : 1;
    const result = await compare<"ours" | "theirs">(
      {
        ours: () => {
          return timed(() => {
            for (const i of usable) for (let round = 0; round < rounds; round++) work(all[i]!.bytes);
          });
        },
        theirs: async () => {
          let sum = 0;
          for (const i of usable) sum += Number((await peer.ask(`${word} ${i} ${rounds}`))[0]);
          return sum;
        },
      },
      "theirs",
      { rounds: 9, warmup: 3 },
    );
    const each = usable.length * rounds * 1e6;
    report({
      name: `object of ${Math.round(size / 1024)} KiB, ${titles[word]} (mean of ${usable.length})`,
      value: result.median.ours / each,
      unit: "ms",
      peer: name,
      peerValue: result.median.theirs / each,
      ratio: result.ratio.ours,
      ...(word === "prepare" ? { aim: "<= 2x" } : {}),
    });
  }
}

/**
 * From the start of Node to the end of the process, beside one that does nothing: CPU time, which a busy machine does not
 * change as much.
 */
async function wholeProcess(report: Report): Promise<void> {
  const child = fileURLToPath(new URL("peer/object.js", import.meta.url));
  const object = join(repository, "test/fixtures/tracepoint.el.o");
  const tell =
    "process.on('exit', () => console.log(Object.values(process.cpuUsage()).reduce((a, b) => a + b) / 1000))";
  const start = (args: readonly string[]): number => {
    const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: "utf8" });
    if (status !== 0) throw new Error(`The process failed: ${stderr}`);
    return Number(stdout.trim().split("\n").at(-1));
  };
  const result = await compare<"load and attach" | "node">(
    { "load and attach": () => start([child, object]), node: () => start(["-e", tell]) },
    "node",
    { rounds: 9, warmup: 1 },
  );
  report({
    name: "whole process: load an object with CO-RE, attach, end; CPU time above that of Node",
    value: result.median["load and attach"] - result.median.node,
    unit: "ms",
    peer: "node -e ''",
    peerValue: result.median.node,
    // Of the whole process to Node alone.
    ratio: result.ratio["load and attach"],
    aim: "<= 60 ms",
  });
}

/** Programs of an object share one view of its types. */
function memory(report: Report): void {
  const bytes = new Uint8Array(readFileSync(join(repository, "test/fixtures/core-kernel.el.o")));
  const used = (): number => {
    globalThis.gc?.();
    const { heapUsed, arrayBuffers, external } = process.memoryUsage();
    return heapUsed + Math.max(arrayBuffers, external);
  };
  const samples: number[] = [];
  for (let i = 0; i < 5; i++) {
    const before = used();
    const spec = parseObject(bytes);
    samples.push((used() - before) / Object.keys(spec.programs).length);
  }
  report({ name: "object with 203 programs, memory for each program", value: median(samples), unit: "bytes" });
}
