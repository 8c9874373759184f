import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { buildLibbpfPeer } from "../../bench/build-peer.ts";
import { toHex } from "../../src/bytes/index.ts";
import { type ObjectSpec, parseObject } from "../../src/elf/index.ts";
import { BpfError } from "../../src/errors.ts";
import { decodeStruct, mapInfo, progInfo } from "../../src/kernel-abi/index.ts";
import { type BpfObject, loadObject } from "../../src/object/index.ts";
import { type KernelBtfCache, objInfo, SyscallError } from "../../src/syscall/index.ts";
import { fixture } from "../elf/build.ts";
import { failOnLeaks, missing, type Requirement, repository, rounds, skip } from "../support/harness.ts";
import { installedObjects, missingObjects, type ObjectImage } from "../support/objects.ts";

const test = suite("object/libbpf");
failOnLeaks(test);

interface Loaded {
  /** Errno name or `ok`; the code of an error of ours that is none. */
  readonly result: string;
  /** Tag, type, numbers of functions and lines. */
  readonly facts: string;
}

interface LoadedObject {
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
    for (const line of run.stdout.trim().split("\n")) {
      const [kind, name = "", ...rest] = line.split(" ");
      if (kind === "object") objects.push({ programs: new Map(), maps: new Map() });
      else if (kind === "map") objects.at(-1)!.maps.set(name, rest.join(" "));
      else {
        const result = rest[0] === "0" ? "ok" : rest[0]!;
        objects.at(-1)!.programs.set(name, { result, facts: rest.slice(1).join(" ") });
      }
    }
    return objects;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const btfCache: KernelBtfCache = new Map();

function rawbpf(image: ObjectImage, index: number, names: Iterable<string>): LoadedObject {
  const loaded: LoadedObject = { programs: new Map(), maps: new Map() };
  let spec: ObjectSpec;
  try {
    // libbpf names an object after its file.
    spec = parseObject(image.bytes, { name: `object${index}` });
  } catch (error) {
    if (!(error instanceof BpfError)) throw error;
    return loaded;
  }
  for (const name of names) {
    if (spec.programs[name] === undefined) continue;
    try {
      using object = loadObject(spec, { programs: [name], btfCache });
      const info = decodeStruct(progInfo, objInfo(object.program(name).owner, progInfo.size));
      const tag = toHex(info.tag as unknown as Uint8Array);
      const facts = `${tag} ${info.type} ${info.nr_func_info} ${info.nr_line_info}`;
      if (loaded.maps.size === 0) describeMaps(object, loaded.maps);
      loaded.programs.set(name, { result: "ok", facts });
    } catch (error) {
      if (!(error instanceof BpfError)) throw error;
      const result = error instanceof SyscallError ? String(-error.errno) : error.code;
      loaded.programs.set(name, { result, facts: error.message });
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
  agree: number;
  accepted: number;
  /** Programs that libbpf refuses and we load: it wants everything that an object names, not only what is used. */
  more: number;
  maps: number;
  mapsAgree: number;
  readonly differences: string[];
}

function compare(images: readonly ObjectImage[], step: number): Tally {
  const tally: Tally = { programs: 0, agree: 0, accepted: 0, more: 0, maps: 0, mapsAgree: 0, differences: [] };
  const theirs = libbpf(images, step);
  for (const [i, image] of images.entries()) {
    const wanted = theirs[i]!;
    const ours = rawbpf(image, i, wanted.programs.keys());
    for (const [name, program] of wanted.programs) {
      tally.programs++;
      const found = ours.programs.get(name);
      const accepted = program.result === "ok";
      if (accepted) tally.accepted++;
      // Who refuses it, and with which errno, depends on who looks first: that it is refused has to agree.
      const same = accepted ? found?.result === "ok" && found.facts === program.facts : found?.result !== "ok";
      if (same) tally.agree++;
      else if (!accepted) tally.more++;
      else {
        const show = (loaded: Loaded | undefined): string => `${loaded?.result} ${loaded?.facts}`;
        tally.differences.push(`${image.name} ${name}: libbpf ${show(program)}, rawbpf ${show(found)}`);
      }
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

function check(name: string, images: () => readonly ObjectImage[], step: number, needs: readonly Requirement[]): void {
  const reason = needs.map(missing).find((each) => each !== undefined);
  if (reason !== undefined) {
    skip(test, name, reason);
    return;
  }
  test(name, () => {
    const tally = compare(images(), step);
    console.log(
      `NOTE ${name}: ${tally.agree} of ${tally.programs} programs agree (${tally.accepted} accepted), ` +
        `${tally.more} more are loaded, ` +
        `${tally.mapsAgree} of ${tally.maps} maps`,
    );
    assert.equal(tally.differences, []);
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
  NEEDS,
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
    NEEDS,
  );
}

test.run();
