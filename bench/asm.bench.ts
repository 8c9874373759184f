import {
  add,
  call,
  controlFlow,
  decode,
  dominators,
  encode,
  exit,
  findLoops,
  type Instruction,
  jeq,
  label,
  link,
  load,
  mov,
  operation,
  type ProgramItem,
  program,
  r0,
  r1,
  r2,
  r10,
  stackUse,
  store,
  w1,
} from "../src/asm/index.ts";
import { buildCiliumPeer } from "./build-peer.ts";
import { type Peer, startPeer } from "./peer/peer.ts";
import { compare, type Report, short, time } from "./report.ts";

/** Three times as long as all but one function in a hundred: 2,048 instructions in groups of eight. */
const GROUPS = 256;
const SIZE = GROUPS * 8;
const REPEAT = short ? 10 : 100;

/** `bench/peer/asm.go` builds the same one. */
function items(): ProgramItem[] {
  const out: ProgramItem[] = [];
  for (let i = 0; i < GROUPS; i++) {
    const name = `l${i}`;
    out.push(
      label(name),
      mov(r0, i),
      add(r1, r0),
      load("u64", r2, r1, 8),
      store("u32", r10, -4, r2),
      jeq(r0, 5, name),
      mov(w1, 7),
      call("ktime_get_ns"),
      exit(),
    );
  }
  return out;
}

/** The same with numeric jumps: what the builder alone costs. */
function plain(): Instruction[] {
  const out: Instruction[] = [];
  for (let i = 0; i < GROUPS; i++) {
    out.push(
      mov(r0, i),
      add(r1, r0),
      load("u64", r2, r1, 8),
      store("u32", r10, -4, r2),
      jeq(r0, 5, -5),
      mov(w1, 7),
      call("ktime_get_ns"),
      exit(),
    );
  }
  return out;
}

/** Instructions per second of the assembler's core, beside github.com/cilium/ebpf/asm in Go. */
export async function run(report: Report): Promise<void> {
  const symbolic = program(items());
  const linked = link(symbolic);
  const bytes = encode(linked);
  const flow = controlFlow(linked);
  const built = buildCiliumPeer("bench/peer/asm.go");
  const peer: Peer | undefined = built === undefined ? undefined : startPeer(built.path, []);

  // [name, work, what the peer does, aim]
  const rows: readonly (readonly [string, () => unknown, string | undefined, string | undefined])[] = [
    ["build, numeric jumps", plain, undefined, ">= 10"],
    ["build, labels", () => program(items()), "build", ">= 10"],
    ["link and encode", () => encode(link(symbolic)), "encode", undefined],
    ["encode", () => encode(linked), undefined, ">= 50"],
    ["decode, strict", () => decode(bytes), "decode", ">= 20"],
    ["decode, lenient", () => decode(bytes, { strict: false }), undefined, undefined],
    ["operation()", () => linked.reduce((sum, insn) => sum + operation(insn).kind.length, 0), undefined, undefined],
    ["control flow", () => controlFlow(linked), undefined, undefined],
    ["dominators and loops", () => findLoops(flow, dominators(flow)), undefined, undefined],
    ["stack use", () => stackUse(flow), undefined, undefined],
  ];
  try {
    for (const [name, work, command, aim] of rows) {
      const ours = (): number =>
        time(() => {
          let kept: unknown;
          for (let i = 0; i < REPEAT; i++) kept = work();
          return kept;
        }) / REPEAT;
      const theirs =
        peer === undefined || command === undefined
          ? undefined
          : async (): Promise<number> => Number((await peer.ask(`${command} ${REPEAT}`))[0]) / REPEAT;
      const { median, ratio } = await compare<"ours" | "theirs">({ ours, theirs: theirs ?? (() => 1) }, "theirs", {
        rounds: short ? 3 : 11,
        warmup: short ? 1 : 5,
      });
      const perSecond = (nanoseconds: number): number => (SIZE * 1e3) / nanoseconds;
      report({
        name: `asm: ${name}`,
        value: perSecond(median.ours),
        unit: "M instructions/s",
        ...(aim === undefined ? {} : { aim }),
        ...(theirs === undefined
          ? {}
          : { peer: built!.name, peerValue: perSecond(median.theirs), ratio: 1 / ratio.ours }),
      });
    }
  } finally {
    peer?.close();
  }
}
