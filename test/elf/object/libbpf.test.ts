import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { buildLibbpfPeer } from "../../../bench/build-peer.ts";
import { encode, type Instruction, link, slotsOf } from "../../../src/asm/index.ts";
import { functionInfos, lineInfos, openBtf } from "../../../src/btf/index.ts";
import { fromHex, toHex } from "../../../src/bytes/index.ts";
import { type ObjectMapSpec, type ObjectProgramSpec, type ObjectSpec, parseObject } from "../../../src/elf/index.ts";
import { ElfError } from "../../../src/errors.ts";
import { AttachType, BPF_F_MMAPABLE, MapType, ProgType } from "../../../src/kernel-abi/index.ts";
import { missing, type Requirement, repository, rounds, skip } from "../../support/harness.ts";
import { installedObjects, missingObjects, type ObjectImage } from "../../support/objects.ts";
import { fixture } from "../build.ts";

const test = suite("elf/object/libbpf");

interface Theirs {
  readonly path: string;
  readonly error?: true;
  readonly crashed?: true;
  /** 0 when the maps were made and the programs relocated; an errno when not; missing when it was only opened. */
  readonly prepared?: number;
  readonly btf?: string;
  readonly maps: readonly TheirMap[];
  readonly programs: readonly {
    readonly name: string;
    readonly section: string;
    readonly type: number;
    readonly attachType: number;
    readonly autoload: number;
    readonly instructions: string;
    readonly functions: string;
    readonly lines: string;
  }[];
}

interface TheirMap {
  readonly name: string;
  readonly fd: number;
  readonly type: number;
  readonly keySize: number;
  readonly valueSize: number;
  readonly maxEntries: number;
  readonly flags: number;
  readonly numaNode: number;
  readonly mapExtra: string;
  readonly keyType: number;
  readonly valueType: number;
  readonly autocreate: number;
  readonly pinned: number;
  readonly inner?: Pick<TheirMap, "type" | "keySize" | "valueSize" | "maxEntries" | "flags">;
  readonly contents?: string;
}

/** What libbpf makes of objects, in their order. */
function libbpf(images: readonly ObjectImage[], prepare: boolean): Theirs[] {
  const peer = buildLibbpfPeer("test/elf/object/libbpf-dump.c");
  if (peer === undefined) throw new Error("libbpf-cc is there, but does not compile");
  const folder = mkdtempSync(join(tmpdir(), "rawbpf-libbpf-"));
  try {
    const paths = images.map(({ bytes }, i) => {
      const path = join(folder, `${i}.o`);
      writeFileSync(path, bytes);
      return path;
    });
    const env = prepare ? { ...process.env, LIBBPF_DUMP_PREPARE: "1" } : process.env;
    const result = spawnSync(peer.path, paths, { env, encoding: "utf8", maxBuffer: 1 << 30 });
    assert.is(result.status, 0, result.stderr);
    return result.stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as Theirs);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Collects what differs. */
type Compare = (what: string, ours: unknown, theirs: unknown) => void;

function compareMap(compare: Compare, map: ObjectMapSpec, theirs: TheirMap, opened: boolean): void {
  const { name } = map;
  const isStructOps = map.kind === "struct_ops";
  const rounded = map.type === "ringbuf" || map.type === "user_ringbuf" || map.maxEntries === 0;
  compare(
    `map ${name}`,
    {
      type: MapType[map.type],
      keySize: map.keySize,
      valueSize: isStructOps ? theirs.valueSize : map.valueSize,
      maxEntries: rounded ? theirs.maxEntries : map.maxEntries,
      flags: map.flags | (map.mmapable ? BPF_F_MMAPABLE : 0),
      numaNode: map.numaNode ?? 0,
      mapExtra: String(map.mapExtra),
      autocreate: map.autocreate,
    },
    {
      type: theirs.type,
      keySize: theirs.keySize,
      valueSize: theirs.valueSize,
      maxEntries: theirs.maxEntries,
      flags: theirs.flags,
      numaNode: theirs.numaNode,
      mapExtra: theirs.mapExtra,
      autocreate: theirs.autocreate === 1,
    },
  );
  if (opened) {
    compare(`pinning of map ${name}`, map.pinning === "by_name", theirs.pinned === 1);
    if (!isStructOps) compare(`types of map ${name}`, [map.keyType, map.valueType], [theirs.keyType, theirs.valueType]);
  }
  const { inner } = theirs;
  if (inner !== undefined) {
    const ours = map.inner && {
      type: MapType[map.inner.type],
      keySize: map.inner.keySize,
      valueSize: map.inner.valueSize,
      maxEntries: map.inner.maxEntries,
      flags: map.inner.flags,
    };
    compare(`inner map of ${name}`, ours, inner);
  }
  if (theirs.contents !== undefined && map.kind === "data") {
    const contents = new Uint8Array(map.valueSize);
    contents.set(map.contents);
    compare(`contents of map ${name}`, toHex(contents), theirs.contents);
  }
}

/** Instructions whose numbers only the kernel knows: CO-RE, symbols, maps of jump tables. */
function isOpen(program: ObjectProgramSpec, { meta }: Instruction): boolean {
  const kind = meta?.relocation?.kind;
  if (meta?.reference !== undefined && meta.reference in program.jumpTables) return true;
  return kind !== undefined && kind !== "arena";
}

function compareCode(
  compare: Compare,
  spec: ObjectSpec,
  program: ObjectProgramSpec,
  theirs: Theirs["programs"][number],
  btf: string,
  maps: Readonly<Record<string, number>>,
): void {
  const { name } = program;
  const known = program.instructions.map((insn) =>
    isOpen(program, insn) ? { ...insn, meta: { labels: insn.meta?.labels } } : insn,
  );
  const ours = toHex(encode(link(known, { maps }), { littleEndian: spec.littleEndian }));
  const slots = (hex: string): string[] => hex.match(/.{16}/g) ?? [];
  const expected = slots(theirs.instructions);
  const found = slots(ours);
  let slot = 0;
  for (const insn of program.instructions) {
    if (isOpen(program, insn)) for (let i = 0; i < slotsOf(insn); i++) expected[slot + i] = found[slot + i]!;
    slot += slotsOf(insn);
  }
  compare(`instructions of ${name}`, found, expected);
  const { strings } = openBtf(fromHex(btf));
  const words = (hex: string): number[] => [...new Uint32Array(fromHex(hex).buffer)];
  const functions = words(theirs.functions);
  compare(
    `functions of ${name}`,
    functionInfos(program).flatMap(({ insnOffset, type }) => [insnOffset / 8, type]),
    functions,
  );
  const lines = words(theirs.lines);
  const text: unknown[] = [];
  for (let i = 0; i < lines.length; i += 4) {
    const place = lines[i + 3]!;
    text.push([lines[i]! * 8, strings.at(lines[i + 1]!), strings.at(lines[i + 2]!), place >>> 10, place & 1023]);
  }
  compare(
    `lines of ${name}`,
    lineInfos(program).map((info) => [info.insnOffset, info.fileName, info.line, info.lineNumber, info.column]),
    text,
  );
}

// Names of sections that libbpf 1.7 does not know yet.
const NEWER = /^((tp|tracepoint|raw_tp|raw_tracepoint|tp_btf)\.s|fsession.*|.*\.multi(\.s)?|fentry.*)(\/|$)/;

function comparePrograms(compare: Compare, spec: ObjectSpec, theirs: Theirs): void {
  const row = (name: string, section: string, type: number, attachType: number): string =>
    // A member of struct_ops is told when the kernel's type is known.
    [name, section, NEWER.test(section) ? "?" : `${type} ${type === ProgType.struct_ops ? 0 : attachType}`].join(" ");
  const ours = Object.values(spec.programs).map((program) =>
    row(
      program.name,
      program.sectionName,
      ProgType[program.type],
      program.attachType === undefined ? 0 : AttachType[program.attachType],
    ),
  );
  const expected = theirs.programs.map(({ name, section, type, attachType }) => row(name, section, type, attachType));
  compare("programs", ours.sort(), expected.sort());
}

/** What differs; no lines when nothing does. */
function differences(spec: ObjectSpec, theirs: Theirs): string[] {
  const found: string[] = [];
  const compare: Compare = (what, ours, expected) => {
    const [a, b] = [JSON.stringify(ours), JSON.stringify(expected)];
    if (a !== b) found.push(`${what}: ours ${a.slice(0, 2000)}, theirs ${b.slice(0, 2000)}`);
  };
  const opened = theirs.prepared === undefined;
  const maps = new Map(theirs.maps.map((map) => [map.name.replace(/^o\./, "."), map]));
  compare("maps", Object.keys(spec.maps).sort(), [...maps.keys()].sort());
  for (const [name, map] of Object.entries(spec.maps)) {
    const theirMap = maps.get(name);
    if (theirMap !== undefined) compareMap(compare, map, theirMap, opened);
  }
  comparePrograms(compare, spec, theirs);
  if (opened && spec.btf !== undefined) {
    // libbpf makes hidden functions static when it loads them, we do so at once.
    const types = (btf: NonNullable<ObjectSpec["btf"]>): string[] =>
      [...btf.types()].map((type) =>
        JSON.stringify(type.kind === "func" ? { ...type, linkage: "" } : type, (_, value) =>
          typeof value === "bigint" ? String(value) : value,
        ),
      );
    compare("types", types(spec.btf), types(openBtf(fromHex(theirs.btf ?? ""))));
  }
  if (theirs.prepared !== 0) return found;
  const descriptors = Object.fromEntries([...maps].map(([name, { fd }]) => [name, fd]));
  for (const program of theirs.programs) {
    const ours = spec.programs[program.name];
    // What is not going to be loaded is not relocated.
    if (ours === undefined || program.autoload === 0) continue;
    compareCode(compare, spec, ours, program, theirs.btf ?? "", descriptors);
  }
  return found;
}

/** Objects that libbpf refuses and we do not, with the reason. */
const ONLY_OURS =
  /legacy|no-btf|link-b|subprogram-sections|\.eb\.o|bpfilter|^opensnitch|grundig|imon|manchester|pulse|raw\.o|rc_mm|samsung|xbox/;

function run(images: readonly ObjectImage[], prepare: boolean, what: string): void {
  const theirs = libbpf(images, prepare);
  const faults: string[] = [];
  let agree = 0;
  let bothRefuse = 0;
  let onlyOurs = 0;
  let prepared = 0;
  for (const [i, { name, bytes }] of images.entries()) {
    const result = theirs[i]!;
    if (result.prepared === 0) prepared++;
    let spec: ObjectSpec;
    try {
      spec = parseObject(bytes);
    } catch (error) {
      if (!(error instanceof ElfError)) throw error;
      if (result.error === true || result.crashed === true) bothRefuse++;
      else faults.push(`${name}: only we refuse it: ${error.message}`);
      continue;
    }
    if (result.error === true || result.crashed === true) {
      if (ONLY_OURS.test(name)) onlyOurs++;
      else faults.push(`${name}: only libbpf refuses it`);
      continue;
    }
    const found = differences(spec, result);
    if (found.length === 0) agree++;
    else faults.push(`${name}: ${found.slice(0, 3).join("\n  ")}`);
  }
  assert.equal(faults, []);
  const code = prepare ? `, ${prepared} of them to the last instruction` : "";
  console.log(
    `NOTE ${what}: libbpf agrees on ${agree} of ${images.length} objects${code}; it refuses ${onlyOurs} that we take, both refuse ${bothRefuse}`,
  );
}

function register(name: string, requirements: readonly Requirement[], body: () => void, other?: string): void {
  const reasons = [...requirements.map(missing), other].filter((reason) => reason !== undefined);
  if (reasons.length === 0) test(name, body);
  else skip(test, name, reasons.join(", "));
}

const fixtures = (): ObjectImage[] =>
  readdirSync(join(repository, "test/fixtures"))
    .filter((name) => name.endsWith(".o"))
    .map((name) => ({ name, bytes: fixture(name) }));

register("libbpf opens the fixtures as we do", ["tool:libbpf-cc"], () => run(fixtures(), false, "fixtures, opened"));

const kernel: Requirement[] = ["tool:libbpf-cc", "bpf", "kernel-btf"];
register("libbpf relocates the fixtures as we do", kernel, () =>
  run(
    fixtures().filter(({ name }) => name.endsWith(".el.o")),
    true,
    "fixtures, prepared",
  ),
);

register(
  "every object in Debian's packages is read",
  [],
  () => {
    const images = installedObjects();
    let read = 0;
    let programs = 0;
    for (const { name, bytes } of images) {
      try {
        const spec = parseObject(bytes);
        programs += Object.keys(spec.programs).length;
        read++;
      } catch (error) {
        throw new Error(`${name}: ${(error as Error).message}`);
      }
    }
    assert.ok(images.length > 150, `found ${images.length} objects`);
    console.log(`NOTE ${read} of ${images.length} objects in Debian's packages are read, with ${programs} programs`);
  },
  missingObjects(),
);

register(
  "libbpf opens the objects in Debian's packages as we do",
  ["tool:libbpf-cc"],
  () => run(installedObjects(), false, "packages, opened"),
  missingObjects(),
);

register(
  "libbpf relocates the objects in Debian's packages as we do",
  kernel,
  () => {
    const step = rounds(8, 1);
    run(
      installedObjects().filter((_, i) => i % step === 0),
      true,
      "packages, prepared",
    );
  },
  missingObjects(),
);

test.run();
