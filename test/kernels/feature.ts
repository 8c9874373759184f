import { mkdtempSync, rmdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Test } from "uvu";
import * as assert from "uvu/assert";
import { assemble, type Instruction } from "../../src/asm/index.ts";
import type { Btf } from "../../src/btf/index.ts";
import { BpfError, NotSupportedError } from "../../src/errors.ts";
import { type Link, listLinks, openPinnedLink } from "../../src/links/index.ts";
import { type BpfMap, createMap, u32, u64 } from "../../src/maps/index.ts";
import { loadProgram, type Program, type ProgramSpec } from "../../src/programs/index.ts";
import { loadKernelBtf } from "../../src/syscall/index.ts";
import { counter, counting } from "../links/counter.ts";
import { type Json, jsonOf } from "../links/network.ts";
import { skip } from "../support/harness.ts";

/** The kernels of `npm run test:kernels`. */
export const SERIES = ["6.1", "6.12", "6.18", "7.3"] as const;
export type Series = (typeof SERIES)[number];

/** Which one this is; `undefined` on any other kernel, of which nothing is known that could be expected. */
export const series: Series | undefined = SERIES.find((one) => one === process.env.RAWBPF_KERNEL);

/** Registers a test of something that some kernels lack. */
export type Feature = (name: string, lacking: readonly Series[], run: () => void) => void;

/**
 * What works under which kernel, written down: where a feature is not said to be lacking, its test must pass, and where
 * it is, the library must refuse it with an error of its own. Each prints a line that `npm run test:kernels` makes a table of.
 */
export function features(test: Test): Feature {
  if (series === undefined) {
    skip(test, "features of other kernels", "needs one of the kernels of scripts/kernels: npm run test:kernels");
    return () => {};
  }
  return (name, lacking, run) => {
    if (lacking.includes(series)) {
      test(`${name}: not on ${series}`, () => {
        let error: unknown;
        try {
          run();
        } catch (thrown) {
          error = thrown;
        }
        assert.ok(error !== undefined, `${name} works on ${series}, although it is said not to`);
        assert.instance(error, BpfError, String((error as Error).stack));
        console.log(`\nNOTE kernel ${series}: ${name}: no (${(error as BpfError).message.split("\n", 1)[0]})`);
      });
    } else {
      test(name, () => {
        run();
        console.log(`\nNOTE kernel ${series}: ${name}: yes`);
      });
    }
  };
}

/** A file that can be removed: makes it, and removes it, which `vfs_unlink` does in the kernel. */
export function unlinkFile(times = 1): void {
  const directory = mkdtempSync(join(tmpdir(), "rawbpf-unlink-"));
  const path = join(directory, "file");
  for (let i = 0; i < times; i++) {
    writeFileSync(path, "");
    rmSync(path);
  }
  rmdirSync(directory);
}

const cache = new Map<string, Btf>();

/** Number of a function in the BTF of the kernel. */
export function functionId(name: string): number {
  return loadKernelBtf("vmlinux", { cache }).typeByName(name, "func").id;
}

/** Number of the type of a tracepoint in the BTF of the kernel. */
export function tracepointId(name: string): number {
  return loadKernelBtf("vmlinux", { cache }).typeByName(`btf_trace_${name}`, "typedef").id;
}

/** A program that puts its cookie into entry 0 of a map. */
export function remembering(map: BpfMap<number, bigint>): Instruction[] {
  return assemble(
    `
    call get_attach_cookie
    r6 = r0
    *(u32 *)(r10 - 4) = 0
    r1 = cookie ll
    r2 = r10
    r2 += -4
    call map_lookup_elem
    if r0 == 0 goto out
    *(u64 *)(r0 + 0) = r6
    out:
    r0 = 0
    exit
    `,
    { maps: { cookie: map } },
  ) as Instruction[];
}

/**
 * Loads a program that counts, attaches it, and sees that it runs while it is attached, and only then.
 *
 * @param spec the program; `result` is what it returns
 * @param attach attaches it
 * @param trigger makes it run
 * @param attached more to see while it is attached
 */
export function counts(
  spec: Omit<ProgramSpec, "instructions"> & { readonly result?: number },
  attach: (program: Program) => Link,
  trigger: () => void,
  attached: (link: Link, program: Program) => void = () => {},
): void {
  using map = counter();
  const { result = 0, ...rest } = spec;
  using program = loadProgram({ license: "GPL", name: "counts", ...rest, instructions: counting(map, result) });
  {
    using link = attach(program);
    trigger();
    assert.ok(map.get(0)! >= 1n, "did not run while attached");
    if (link.type !== undefined) sameAsBpftool(link);
    attached(link, program);
  }
  const counted = map.get(0)!;
  trigger();
  assert.is(map.get(0), counted, "ran after it was detached");
}

/** What can be done with a link, beside closing it. */
export interface Changes {
  /** Its program can be replaced. */
  readonly update: boolean;
  /** It can be detached while it is held. */
  readonly detach: boolean;
}

/**
 * Replaces the program of a link, pins it, lets go of it, opens it again and detaches it, as far as links of its kind
 * can, and sees that the right program runs, or none.
 */
export function changes(
  spec: Omit<ProgramSpec, "instructions"> & { readonly result?: number },
  attach: (program: Program) => Link,
  trigger: () => void,
  can: Changes,
): void {
  const { result = 0, ...rest } = spec;
  const path = "/sys/fs/bpf/rawbpf-changes";
  using firstMap = counter();
  using secondMap = counter();
  const load = (map: BpfMap<number, bigint>): Program =>
    loadProgram({ license: "GPL", name: "changes", ...rest, instructions: counting(map, result) });
  using first = load(firstMap);
  using second = load(secondMap);
  const link = attach(first);
  try {
    if (can.update) {
      link.update(second, { expected: first });
      trigger();
      assert.is(firstMap.get(0), 0n, "the replaced program ran");
      assert.ok(secondMap.get(0)! >= 1n, "the new program did not run");
    } else {
      assert.throws(
        () => link.update(second),
        (error: unknown) => error instanceof NotSupportedError,
      );
    }
    link.pin(path);
  } finally {
    link.close();
  }
  const map = can.update ? secondMap : firstMap;
  const before = map.get(0)!;
  using again = openPinnedLink(path);
  try {
    trigger();
    const pinned = map.get(0)!;
    assert.ok(pinned > before, "did not run while it was pinned");
    if (can.detach) {
      again.detach();
      trigger();
      assert.is(map.get(0), pinned, "ran after it was detached");
    } else {
      assert.throws(
        () => again.detach(),
        (error: unknown) => error instanceof NotSupportedError,
      );
    }
  } finally {
    again.unpin(path);
  }
}

/** As {@link counts}, for a program that remembers its cookie. */
export function givesCookie(
  spec: Omit<ProgramSpec, "instructions">,
  attach: (program: Program) => Link,
  trigger: () => void,
  cookie: bigint,
): void {
  using map = createMap({ type: "array", name: "cookie", key: u32, value: u64, maxEntries: 1 });
  using program = loadProgram({ license: "GPL", name: "cookies", ...spec, instructions: remembering(map) });
  using _link = attach(program);
  trigger();
  assert.is(map.get(0), cookie);
}

/** Numbers of a link, by the names that bpftool has for them. */
function numbers(link: Link): { readonly [name: string]: unknown } {
  const info = link.info();
  switch (info.type) {
    case "raw_tracepoint":
      return { tp_name: info.name };
    case "tracing":
      return { attach_type: info.attachType, target_obj_id: info.targetObjectId, target_btf_id: info.targetBtfId };
    case "cgroup":
      return { cgroup_id: Number(info.cgroupId), attach_type: info.attachType };
    case "iter":
      return { target_name: info.name, ...(info.mapId === 0 ? {} : { map_id: info.mapId }) };
    case "netns":
      return { netns_ino: info.netnsInode, attach_type: info.attachType };
    case "xdp":
      return { ifindex: info.ifindex };
    case "tcx":
    case "netkit":
      return { ifindex: info.ifindex, attach_type: info.attachType };
    case "struct_ops":
      return { map_id: info.mapId };
    case "netfilter":
      return { pf: info.family, hook: info.hook, prio: info.priority, flags: info.flags };
    case "kprobe_multi":
      return { retprobe: info.isReturn, func_cnt: info.count, missed: Number(info.missed) };
    case "uprobe_multi":
      return { retprobe: info.isReturn, path: info.path, func_cnt: info.count, pid: info.pid };
    case "sockmap":
      return { map_id: info.mapId, attach_type: info.attachType };
    case "perf_event": {
      const { target } = info;
      if (target.kind === "tracepoint") return { tracepoint: target.name };
      if (target.kind === "kprobe" || target.kind === "kretprobe") {
        return { retprobe: target.kind === "kretprobe", func: target.function, offset: target.offset };
      }
      if (target.kind === "uprobe" || target.kind === "uretprobe") {
        return { retprobe: target.kind === "uretprobe", file: target.path, offset: target.offset };
      }
      // Of other events bpftool gives names.
      return {};
    }
    default:
      return {};
  }
}

/** What the library and bpftool say of a link must be the same: bpftool leaves out what it does not know. */
export function sameAsBpftool(link: Link): void {
  const { id, programId, type } = link.info();
  assert.ok([...listLinks()].some((one) => one.id === id));
  const shown: Json = jsonOf("bpftool", "link", "show").find((one: Json) => one.id === id);
  assert.is(shown.type, type);
  assert.is(shown.prog_id ?? 0, programId);
  for (const [name, value] of Object.entries(numbers(link))) {
    if (shown[name] !== undefined) assert.equal(shown[name], value, `${type} ${name}`);
  }
}
