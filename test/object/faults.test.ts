import { readdirSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { BpfError } from "../../src/errors.ts";
import { unpin } from "../../src/maps/index.ts";
import { type LoadObjectOptions, loadObject } from "../../src/object/index.ts";
import {
  errnoNumber,
  FakeKernel,
  type KernelBtfCache,
  mountDetached,
  openBackend,
  type SyscallBackend,
  syscallNumbers,
} from "../../src/syscall/index.ts";
import { fixture } from "../elf/build.ts";
import { failOnLeaks, kernelDescriptors, requires, rounds } from "../support/harness.ts";
import { watchedBackend } from "../support/watched.ts";

const test = suite("object/faults");
failOnLeaks(test);

/** Calls that give things back: they are what must work when all else fails. */
const GIVE_BACK = new Set<number>([
  syscallNumbers.x64.close,
  syscallNumbers.arm64.close,
  syscallNumbers.x64.munmap,
  syscallNumbers.arm64.munmap,
]);

interface Outcome {
  /** Which call failed; `undefined` when there were not as many. */
  readonly failed: string | undefined;
  readonly error: unknown;
}

interface Fault {
  /** Which call fails, counted from 1. */
  readonly at: number;
  readonly errno: string;
  /** Whether all calls behind it fail too, and not it alone. */
  readonly lasting: boolean;
}

/** Loads an object on a kernel where calls fail. */
function loadWithFault(kernel: SyscallBackend, bytes: Uint8Array, options: LoadObjectOptions, fault: Fault): Outcome {
  let count = 0;
  let failed: string | undefined;
  const fail = (name: string): number | undefined => {
    count++;
    if (fault.lasting ? count < fault.at : count !== fault.at) return undefined;
    failed ??= name;
    return -errnoNumber(fault.errno);
  };
  const backend = watchedBackend(
    kernel,
    ({ command }) => fail(command),
    (number) => (GIVE_BACK.has(number) ? undefined : fail(`system call ${number}`)),
  );
  try {
    loadObject(bytes, { ...options, backend }).close();
    return { failed, error: undefined };
  } catch (error) {
    return { failed, error };
  }
}

interface Tally {
  calls: number;
  refused: number;
}

/** Lets one call after the other fail, until none is left; `left` tells what was not given back. */
function everyFault(
  kernel: () => SyscallBackend,
  bytes: Uint8Array,
  options: LoadObjectOptions,
  kind: Omit<Fault, "at">,
  left: (loaded: boolean) => readonly string[],
): Tally {
  const tally = { calls: 0, refused: 0 };
  for (let at = 1; ; at++) {
    const { failed, error } = loadWithFault(kernel(), bytes, options, { at, ...kind });
    const what = `call ${at}, ${failed}: ${kind.errno}${kind.lasting ? " from then on" : ""}`;
    assert.equal(left(error === undefined), [], what);
    if (failed === undefined) {
      assert.is(error, undefined, `${what}: ${error}`);
      return tally;
    }
    tally.calls++;
    if (error === undefined) continue;
    tally.refused++;
    assert.instance(error, BpfError, `${what}: ${error}`);
    // The step is named: what was to be made.
    assert.match(
      (error as BpfError).message,
      /^(Cannot|Loading) .*(map "|program "|BTF|types|the pin |array map)/,
      what,
    );
  }
}

const cache: KernelBtfCache = new Map();
const KINDS = ["EMFILE", "EINVAL", "EPERM"].flatMap((errno) => [
  { errno, lasting: false },
  { errno, lasting: true },
]);

for (const file of ["packet-count.el.o", "subprograms.el.o", "variables.el.o"]) {
  test(`${file}: whatever call fails, nothing is left on the fake kernel`, () => {
    for (const kind of KINDS) {
      let kernel = new FakeKernel();
      const fresh = (): SyscallBackend => {
        kernel = new FakeKernel();
        return kernel.backend;
      };
      const { calls, refused } = everyFault(fresh, fixture(file), {}, kind, () => kernel.open);
      assert.ok(calls > 3 && (refused > 0 || !kind.lasting), `${refused} of ${calls} calls led to an error`);
    }
  });
}

for (const file of ["packet-count.el.o", "maps.el.o", "struct-ops.el.o", "arena.el.o"]) {
  requires(
    test,
    "bpf",
    "net-admin",
    "sys-admin",
    "kernel-btf",
  )(`${file}: whatever call fails, nothing is left in this kernel`, () => {
    const kernel = openBackend();
    using bpffs = mountDetached(kernel, "bpf");
    const pinFolder = `/proc/self/fd/${bpffs.number}`;
    const before = kernelDescriptors();
    const left = (loaded: boolean): string[] => {
      const pins = readdirSync(pinFolder).filter((name) => !name.endsWith(".debug"));
      // Pins outlive an object that was loaded, as they should.
      if (loaded) for (const name of pins) unpin(`${pinFolder}/${name}`);
      return [...kernelDescriptors().filter((entry) => !before.includes(entry)), ...(loaded ? [] : pins)];
    };
    for (const kind of KINDS.slice(0, rounds(1, KINDS.length))) {
      const options = { btfCache: cache, pinFolder };
      const { calls, refused } = everyFault(() => kernel, fixture(file), options, kind, left);
      const from = kind.lasting ? "and all behind it" : "alone";
      console.log(`NOTE ${file}: each of ${calls} calls failed with ${kind.errno}, ${from}: ${refused} errors`);
      assert.ok(calls > 3 && (refused > 1 || !kind.lasting), `${refused} of ${calls} calls led to an error`);
    }
  });
}

test.run();
