import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { codec, encodeBtf, openBtf } from "../src/btf/index.ts";
import { toolPath } from "../test/support/harness.ts";
import { compare, type Report, short, time } from "./report.ts";

const COUNT = short ? 2_000 : 20_000;
const SIZE = 32;
const FILE = "/sys/kernel/btf/vmlinux";

const btf = openBtf(
  encodeBtf([
    { kind: "int", name: "u16", size: 2 },
    { kind: "int", name: "u32", size: 4 },
    { kind: "int", name: "u64", size: 8 },
    {
      kind: "struct",
      name: "event",
      size: SIZE,
      members: [
        { name: "time", type: 3 },
        { name: "bytes", type: 3, bitOffset: 64 },
        { name: "pid", type: 2, bitOffset: 128 },
        { name: "uid", type: 2, bitOffset: 160 },
        { name: "port", type: 1, bitOffset: 192 },
      ],
    },
  ]),
);

interface Event {
  time: bigint;
  bytes: bigint;
  pid: number;
  uid: number;
  port: number;
}

let cachedBytes: Uint8Array | undefined;
let cachedView: DataView | undefined;

/** What one would write for this struct, with a view that is kept. */
function byHand(bytes: Uint8Array, at: number): Event {
  if (bytes !== cachedBytes || cachedView === undefined) {
    cachedBytes = bytes;
    cachedView = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }
  return {
    time: cachedView.getBigUint64(at, true),
    bytes: cachedView.getBigUint64(at + 8, true),
    pid: cachedView.getUint32(at + 16, true),
    uid: cachedView.getUint32(at + 20, true),
    port: cachedView.getUint16(at + 24, true),
  };
}

function byHandEncode(value: Event, bytes: Uint8Array, at: number): void {
  byHand(bytes, at);
  const view = cachedView!;
  view.setBigUint64(at, value.time, true);
  view.setBigUint64(at + 8, value.bytes, true);
  view.setUint32(at + 16, value.pid, true);
  view.setUint32(at + 20, value.uid, true);
  view.setUint16(at + 24, value.port, true);
}

/** Decoding and encoding a struct of five members, and printing all types of the kernel beside bpftool. */
export async function run(report: Report): Promise<void> {
  const bytes = Uint8Array.from({ length: COUNT * SIZE }, (_, i) => (i * 7) & 0x3f);
  const records = Array.from({ length: COUNT }, (_, i) => bytes.slice(i * SIZE, (i + 1) * SIZE));
  const compiled = codec(btf, 4);
  const closures = codec(btf, 4, { codegen: false });
  const safe = codec(btf, 4, { bigint: "safe" });
  let sink: unknown;
  const each = (work: (at: number, i: number) => void): number =>
    time(() => {
      for (let i = 0; i < COUNT; i++) work(i * SIZE, i);
      return sink;
    }) / COUNT;
  const keep = (value: unknown): void => {
    sink = value;
  };

  const decoded = await compare<string>(
    {
      "by hand": () => each((at) => keep(byHand(bytes, at))),
      compiled: () => each((at) => keep(compiled.decode(bytes, at))),
      closures: () => each((at) => keep(closures.decode(bytes, at))),
      "compiled, safe numbers": () => each((at) => keep(safe.decode(bytes, at))),
      "compiled, each record an array": () => each((_, i) => keep(compiled.decode(records[i]!))),
      "by hand, each record an array": () => each((_, i) => keep(byHand(records[i]!, 0))),
    },
    "by hand",
    { rounds: 21, warmup: 5 },
  );
  for (const [name, value] of Object.entries(decoded.median)) {
    if (name === "by hand") continue;
    report({
      name: `btf values: decode 5 members, ${name}`,
      value,
      unit: "ns",
      peer: "by hand with a DataView",
      peerValue: decoded.median["by hand"]!,
      ratio: decoded.ratio[name]!,
    });
  }

  const value = compiled.decode(bytes) as Event;
  const target = new Uint8Array(COUNT * SIZE);
  const encoded = await compare<"by hand" | "checked">(
    {
      "by hand": () => each((at) => byHandEncode(value, target, at)),
      checked: () => each((at) => compiled.encodeInto(value, target, at)),
    },
    "by hand",
    { rounds: 21, warmup: 5 },
  );
  report({
    name: "btf values: encode 5 members, checked",
    value: encoded.median.checked,
    unit: "ns",
    peer: "by hand, unchecked",
    peerValue: encoded.median["by hand"],
    ratio: encoded.ratio.checked,
  });

  if (existsSync(FILE)) await header(report);
}

async function header(report: Report): Promise<void> {
  const child = fileURLToPath(new URL("peer/btf-print.js", import.meta.url));
  const bpftool = toolPath("bpftool");
  const ours = (column: number): number => {
    const { stdout, stderr, status } = spawnSync(process.execPath, [child, FILE], { encoding: "utf8" });
    if (status !== 0) throw new Error(stderr);
    return Number(stdout.split(" ")[column]);
  };
  const theirs = (): number =>
    time(() => {
      const args = ["btf", "dump", "file", FILE, "format", "c"];
      const { status } = spawnSync(bpftool!, args, { stdio: ["ignore", "ignore", "ignore"] });
      if (status !== 0) throw new Error(`bpftool failed with ${status}`);
    });
  const candidates = { "cold, without starting node": () => ours(0), "a second time": () => ours(1) };
  const version =
    bpftool === undefined ? "" : spawnSync(bpftool, ["version"], { encoding: "utf8" }).stdout.split("\n")[0]!;
  const result = await compare<keyof typeof candidates | "theirs">(
    { ...candidates, theirs: bpftool === undefined ? () => 1 : theirs },
    "theirs",
    {
      rounds: 5,
      warmup: 1,
    },
  );
  for (const name of Object.keys(candidates) as (keyof typeof candidates)[]) {
    report({
      name: `btf print: the kernel's types as C, ${name}`,
      value: result.median[name] / 1e6,
      unit: "ms",
      ...(bpftool && { peer: version, peerValue: result.median.theirs / 1e6, ratio: result.ratio[name] }),
    });
  }
}
