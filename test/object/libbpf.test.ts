import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { buildLibbpfPeer } from "../../bench/build-peer.ts";
import { toHex } from "../../src/bytes/index.ts";
import { type ObjectProgramSpec, type ObjectSpec, parseObject } from "../../src/elf/index.ts";
import { BpfError } from "../../src/errors.ts";
import { decodeStruct, mapInfo, progInfo, progLoadAttr } from "../../src/kernel-abi/index.ts";
import { type BpfObject, loadObject } from "../../src/object/index.ts";
import { VerifierError } from "../../src/programs/index.ts";
import {
  errnoName,
  FEATURES,
  type FeatureName,
  type KernelBtfCache,
  objInfo,
  openBackend,
  probeFeature,
  type SyscallBackend,
  SyscallError,
} from "../../src/syscall/index.ts";
import { fixture } from "../elf/build.ts";
import { failOnLeaks, missing, type Requirement, repository, rounds, skip } from "../support/harness.ts";
import { installedObjects, missingObjects, type ObjectImage } from "../support/objects.ts";
import { watchedBackend } from "../support/watched.ts";

const test = suite("object/libbpf");
failOnLeaks(test);

interface Loaded {
  /** Errno name or `ok`; the code of an error of ours that is none. */
  readonly result: string;
  /** Hash and number of the instructions as the kernel got them, descriptors left out; `undefined` when it got none. */
  readonly code: string | undefined;
  /** Tag, type, numbers of functions and lines, attach type that it is loaded for. */
  readonly facts: string;
  /** The verifier's log of a program that was refused; of an error of ours its message. */
  log: string;
  /** What libbpf said besides. */
  said: string;
}

interface LoadedObject {
  readonly spec?: ObjectSpec | undefined;
  readonly programs: Map<string, Loaded>;
  readonly maps: Map<string, string>;
}

function libbpf(images: readonly ObjectImage[], step: number): LoadedObject[] {
  const peer = buildLibbpfPeer("test/object/libbpf-load.c");
  if (peer === undefined) throw new Error("libbpf-cc is there, but does not compile");
  const folder = mkdtempSync(join(tmpdir(), "rawbpf-libbpf-"));
  try {
    const paths = images.map(({ bytes }, i) => {
      const path = join(folder, `object${i}.bpf.o`);
      writeFileSync(path, bytes);
      return path;
    });
    const run = spawnSync(peer.path, paths, {
      env: { ...process.env, STEP: String(step) },
      encoding: "utf8",
      maxBuffer: 1 << 28,
    });
    assert.is(run.status, 0, run.stderr);
    const objects: LoadedObject[] = [];
    let last: Loaded | undefined;
    for (const line of run.stdout.trim().split("\n")) {
      const [kind, name = "", ...rest] = line.split(" ");
      if (kind === "object") objects.push({ programs: new Map(), maps: new Map() });
      else if (kind === "map") objects.at(-1)!.maps.set(name, rest.join(" "));
      else if (kind === "|") last!.log += `${line.slice(2)}\n`;
      else if (kind === ">") last!.said += `${line.slice(2)}\n`;
      else {
        const result = rest[0] === "0" ? "ok" : (errnoName(-Number(rest[0])) ?? rest[0]!);
        last = { result, code: rest[1], facts: rest.slice(2).join(" "), log: "", said: "" };
        objects.at(-1)!.programs.set(name, last);
      }
    }
    return objects;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const btfCache: KernelBtfCache = new Map();

/** Hash and number of instructions as the peer prints them: FNV-1a, descriptors of maps and of BTF of modules 0. */
function codeOf(code: Uint8Array): string {
  let hash = 2166136261;
  for (let at = 0; at < code.length; at += 8) {
    const source = code[at + 1]! >> 4;
    const before = at === 0 ? 0 : code[at - 7]! >> 4;
    const map = code[at] === 0x18 && (source === 1 || source === 2);
    const module = at > 0 && code[at] === 0 && code[at - 8] === 0x18 && before === 3;
    for (let i = 0; i < 8; i++) {
      const byte = i >= 4 && (map || module) ? 0 : code[at + i]!;
      hash = Math.imul(hash ^ byte, 16777619);
    }
  }
  return `${(hash >>> 0).toString(16).padStart(8, "0")}/${code.length / 8}`;
}

let given: string | undefined;
let attachType = 0;

let watched: SyscallBackend | undefined;

/** A shim that keeps what programs are when the kernel gets them. It has been asked for all features: no probe is kept. */
function backend(): SyscallBackend {
  if (watched !== undefined) return watched;
  watched = watchedBackend(openBackend(), ({ command, attr, memory }) => {
    if (command === "BPF_PROG_LOAD") {
      const { insns, insn_cnt, expected_attach_type } = progLoadAttr.fields;
      const view = new DataView(attr.buffer, attr.byteOffset, attr.byteLength);
      const length = 8 * view.getUint32(insn_cnt.offset, true);
      given = codeOf(memory(Number(view.getBigUint64(insns.offset, true)), length));
      attachType = view.getUint32(expected_attach_type.offset, true);
    }
    return undefined;
  });
  for (const name of Object.keys(FEATURES)) probeFeature(name as FeatureName, { backend: watched });
  return watched;
}

function rawbpf(image: ObjectImage, index: number, names: Iterable<string>): LoadedObject {
  let spec: ObjectSpec;
  try {
    // libbpf names an object after its file.
    spec = parseObject(image.bytes, { name: `object${index}` });
  } catch (error) {
    if (!(error instanceof BpfError)) throw error;
    return { programs: new Map(), maps: new Map() };
  }
  const loaded: LoadedObject = { spec, programs: new Map(), maps: new Map() };
  for (const name of names) {
    if (spec.programs[name] === undefined) continue;
    given = undefined;
    try {
      using object = loadObject(spec, { programs: [name], btfCache, backend: backend() });
      const info = decodeStruct(progInfo, objInfo(object.program(name).owner, progInfo.size));
      const tag = toHex(info.tag as unknown as Uint8Array);
      const facts = `${tag} ${info.type} ${info.nr_func_info} ${info.nr_line_info} ${attachType}`;
      if (loaded.maps.size === 0) describeMaps(object, loaded.maps);
      loaded.programs.set(name, { result: "ok", code: given, facts, log: "", said: "" });
    } catch (error) {
      if (!(error instanceof BpfError)) throw error;
      const verifier = error instanceof VerifierError;
      const code = error instanceof SyscallError && error.command === "BPF_PROG_LOAD" ? given : undefined;
      const log = verifier ? error.log : "";
      loaded.programs.set(name, { result: error.code, code, facts: "", log, said: error.message });
    }
  }
  return loaded;
}

function describeMaps(object: BpfObject, into: Map<string, string>): void {
  for (const [name, map] of Object.entries(object.maps)) {
    const bytes = objInfo(map.owner, mapInfo.size);
    const info = decodeStruct(mapInfo, bytes);
    const kernelName = String(info.name).replace(/\0.*$/s, "");
    const { type, key_size, value_size, max_entries, map_flags, map_extra } = info;
    const numbers = [type, key_size, value_size, max_entries, map_flags, map_extra];
    into.set(name, [kernelName, ...numbers, info.btf_key_type_id, info.btf_value_type_id].join(" "));
  }
}

interface Tally {
  programs: number;
  /** Programs that fare alike: same instructions and facts, or refused for the same reason. */
  agree: number;
  accepted: number;
  /** How many do not agree, for a reason that is known. */
  readonly reasons: Map<string, number>;
  /** Programs whose instructions both gave to the kernel, and whose instructions were the same. */
  given: number;
  givenAlike: number;
  readonly codes: string[];
  maps: number;
  mapsAgree: number;
  readonly differences: string[];
}

/** What the verifier said in the end, without statistics; of a relocation, which one it is and not what was lacking. */
function verdict(log: string): string {
  const statistics = /^(processed \d+ insns|verification time|stack depth)/;
  const lines = log.split("\n").filter((line) => line !== "" && !statistics.test(line));
  const last = lines.at(-1) ?? "";
  return last.replace(/^(failed to resolve CO-RE relocation .*?(?: @ offset [\d.]+\)| = -?\d+)): .*/, "$1");
}

/** What libbpf says without asking the verifier, and what we say for the same reason. */
const SAME_REASON: readonly (readonly [RegExp, (match: RegExpExecArray) => string])[] = [
  [
    /failed to find kernel BTF type ID of '(.*)': -ESRCH/,
    ([, name]) => `"(btf_trace_|bpf_iter_|bpf_lsm_)?${name}" in the BTF`,
  ],
  [/struct (bpf_struct_ops_\w+) is not found in kernel BTF/, ([, name]) => `no struct "${name}"`],
  [/extern '(\w+)' \(strong\): not resolved/, ([, name]) => `No symbol "${name}"`],
  [/extern \((func|var) ksym\) '(\w+)': not found/, ([, , name]) => `No kernel \\w+ "${name}"`],
  [
    /no BTF-based attach target is specified/,
    () => "names nothing to attach to|needs the program that has the function",
  ],
  [/attach program FD is not set/, () => "needs the program that has the function"],
  [/can't create jump table: sym_off \d+/, () => "insn_array"],
  [/ is not on BPF FS/, () => "is not on a BPF file system"],
  [/missing BPF prog type, check ELF section name/, () => "does not say its type"],
  [/program isn't referenced anywhere/, () => "no table for the kernel refers to it"],
];

function sameReason(theirs: Loaded, ours: Loaded): boolean {
  if (theirs.log !== "" || ours.log !== "")
    return theirs.result === ours.result && verdict(theirs.log) === verdict(ours.log);
  for (const [pattern, message] of SAME_REASON) {
    const match = pattern.exec(theirs.said);
    if (match !== null) return new RegExp(message(match)).test(ours.said);
  }
  return theirs.result === ours.result;
}

/** Why libbpf and we need not agree about a program; `undefined` when there is no such reason. */
function reasonToDiffer(theirs: Loaded, program: ObjectProgramSpec, spec: ObjectSpec): string | undefined {
  const arrays = Object.values(spec.maps).filter(({ type }) => type === "prog_array");
  if (theirs.result === "EBADF" && arrays.some(({ values }) => values.some(({ name }) => name !== program.name))) {
    return "libbpf refuses a program array with a place for a program that is not loaded; with us it stays empty";
  }
  if (theirs.result === "ok" && theirs.facts.startsWith("?")) {
    return "libbpf passes programs over whose struct_ops map is not created, though they were asked for";
  }
  const extern = /extern (?:\(\w+ ksym\) )?'(\w+)'/.exec(theirs.said)?.[1];
  if (extern !== undefined && !program.instructions.some(({ meta }) => meta?.reference === extern)) {
    return "libbpf wants every extern of the object, also those that this program does not use";
  }
  if (/missing BPF prog type, check ELF section name/.test(theirs.said) && program.type !== "unspec") {
    return "this libbpf does not know the section yet";
  }
  return undefined;
}

/** libbpf before 1.8 puts variables at the start of their arena, newer ones and we at its end: addresses differ. */
function hasArenaData(spec: ObjectSpec): boolean {
  return Object.values(spec.maps).some(({ type, contents }) => type === "arena" && contents.length > 0);
}

/** Where both pin maps by name, if there is a BPF file system. */
const PINS = "/sys/fs/bpf";

function pins(): string[] {
  return existsSync(PINS) ? readdirSync(PINS) : [];
}

function compare(images: readonly ObjectImage[], step: number): Tally {
  const tally: Tally = {
    programs: 0,
    agree: 0,
    accepted: 0,
    reasons: new Map(),
    given: 0,
    givenAlike: 0,
    codes: [],
    maps: 0,
    mapsAgree: 0,
    differences: [],
  };
  const pinned = new Set(pins());
  const theirs = libbpf(images, step);
  for (const [i, image] of images.entries()) {
    const wanted = theirs[i]!;
    const ours = rawbpf(image, i, wanted.programs.keys());
    for (const [name, program] of wanted.programs) {
      tally.programs++;
      const found = ours.programs.get(name);
      const accepted = program.result === "ok";
      if (accepted) tally.accepted++;
      const label = `${image.name} ${name}`;
      if (found === undefined) {
        tally.differences.push(`${label}: libbpf ${program.result}, rawbpf does not open the object`);
        continue;
      }
      // Of what libbpf has not come to, instructions are as they were in the file.
      if (found.code !== undefined && (accepted || program.log !== "")) {
        tally.given++;
        if (found.code === program.code || hasArenaData(ours.spec!)) tally.givenAlike++;
        else tally.codes.push(`${label}: libbpf gives ${program.code}, rawbpf ${found.code}`);
      }
      const same = accepted
        ? found.result === "ok" && found.facts === program.facts
        : found.result !== "ok" && sameReason(program, found);
      const reason = same ? undefined : reasonToDiffer(program, ours.spec!.programs[name]!, ours.spec!);
      if (same) tally.agree++;
      else if (reason !== undefined) tally.reasons.set(reason, (tally.reasons.get(reason) ?? 0) + 1);
      else {
        const show = ({ result, facts, log, said }: Loaded): string =>
          `${result} ${facts} ${verdict(log)} ${said.split("\n")[0]}`;
        tally.differences.push(`${label}: libbpf ${show(program)}, rawbpf ${show(found)}`);
      }
    }
    for (const { name, pinning } of Object.values(ours.spec?.maps ?? {})) {
      if (pinning === "by_name" && !pinned.has(name)) rmSync(join(PINS, name), { force: true });
    }
    // Maps are compared where both have loaded something.
    if (ours.maps.size === 0 || wanted.maps.size === 0) continue;
    for (const [name, facts] of wanted.maps) {
      tally.maps++;
      const found = ours.maps.get(name) ?? ours.maps.get(name.replace(/^object\d+(?=\.)/, ""));
      if (found === facts) tally.mapsAgree++;
      else tally.differences.push(`${image.name} map ${name}: libbpf ${facts}, rawbpf ${found}`);
    }
  }
  return tally;
}

/**
 * Registers a comparison.
 *
 * @param name of the test
 * @param images objects
 * @param step every how many of their programs
 * @param floor how many programs of those compared have to agree at least, of a hundred; goes up, never down
 */
function check(name: string, images: () => readonly ObjectImage[], step: number, floor: number): void {
  const reason = NEEDS.map(missing).find((each) => each !== undefined);
  if (reason !== undefined) {
    skip(test, name, reason);
    return;
  }
  test(name, () => {
    const tally = compare(images(), step);
    console.log(
      `NOTE ${name}: ${tally.agree} of ${tally.programs} programs agree (${tally.accepted} accepted, the others refused ` +
        `for the same reason), ${tally.givenAlike} of ${tally.given} were the same instructions, ` +
        `${tally.mapsAgree} of ${tally.maps} maps`,
    );
    for (const [why, count] of tally.reasons) console.log(`NOTE ${count} programs: ${why}`);
    assert.equal(tally.differences, []);
    assert.equal(tally.codes, []);
    const share = (100 * tally.agree) / tally.programs;
    assert.ok(share >= floor, `${share} of 100 programs agree, it was ${floor}`);
  });
}

const NEEDS: readonly Requirement[] = ["bpf", "net-admin", "kernel-btf", "tool:libbpf-cc"];

check(
  "fixtures load as with libbpf",
  () =>
    readdirSync(join(repository, "test/fixtures"))
      .filter((file) => file.endsWith(".el.o"))
      .map((name) => ({ name, bytes: fixture(name) })),
  rounds(7, 1),
  // Where a BPF file system is mounted, libbpf comes to the program arrays that it refuses.
  existsSync(join(PINS, "maps.debug")) ? 95 : 96,
);

const noObjects = missingObjects();
if (noObjects !== undefined) skip(test, "objects in Debian's packages load as with libbpf", noObjects);
else {
  check(
    "objects in Debian's packages load as with libbpf",
    () => {
      const images = installedObjects().filter(({ bytes }) => bytes[5] === 1);
      const step = rounds(11, 1);
      return images.filter((_, i) => i % step === 0);
    },
    1,
    98,
  );
}

test.run();
