import { AttachType, HELPERS, type HelperName, MapType, ProgType } from "../kernel-abi/index.ts";
import { mapTypeSince } from "../maps/traits.ts";
import { FEATURES, type FeatureName, probeFeature } from "../syscall/features.ts";
import {
  haveAttachType,
  haveBoundedLoops,
  haveHelper,
  haveInstructions,
  haveLargePrograms,
  haveMapType,
  haveProgramType,
  INSTRUCTION_PROBES,
  type InstructionFeature,
} from "../syscall/probes.ts";
import { type BackendOption, backendOf } from "../syscall/select.ts";
import { PROGRAM_TYPE_SINCE } from "./program-types.ts";

/** A feature that was asked for. */
export interface ProbedFeature<Name extends string = string> {
  readonly name: Name;
  /** `undefined` when it cannot be told. */
  readonly supported: boolean | undefined;
  /** First release of Linux that has it, where that is known. */
  readonly since: string | undefined;
}

/** What a kernel can do. */
export interface FeatureReport {
  readonly programTypes: readonly ProbedFeature<ProgType>[];
  readonly mapTypes: readonly ProbedFeature<MapType>[];
  readonly attachTypes: readonly ProbedFeature<AttachType>[];
  /** Levels of the instruction set, and single instructions. */
  readonly instructions: readonly ProbedFeature<InstructionFeature>[];
  /** What loading objects asks for, size of programs, loops. */
  readonly features: readonly ProbedFeature<FeatureName | "large_programs" | "bounded_loops">[];
  /** Helpers by program type; of types for which they cannot be told, `undefined`. */
  readonly helpers: { readonly [type in ProgType]?: readonly HelperName[] | undefined };
}

/** How much to ask. */
export interface ProbeAllOptions extends BackendOption {
  /** Ask for each helper in each program type too: some 6000 loads, a second. Default `true`. */
  readonly helpers?: boolean | undefined;
  /**
   * Ask for `trace_printk`, `trace_vprintk` and `probe_write_user` too: the kernel writes a warning to its log when a
   * program that calls them is loaded. Default `false`: they are left out.
   */
  readonly noisyHelpers?: boolean | undefined;
}

const NOISY: ReadonlySet<HelperName> = new Set<HelperName>(["trace_printk", "trace_vprintk", "probe_write_user"]);

/**
 * Asks the kernel for everything that can be asked for, by trying it. Takes a second or two and leaves nothing behind.
 *
 * @param options shim; whether to ask for helpers
 *
 * @example
 * ```ts
 * import { probeAll } from "rawbpf/programs";
 *
 * const { mapTypes } = probeAll({ helpers: false });
 * console.log(mapTypes.filter((each) => each.supported === false).map((each) => each.name));
 * ```
 */
export function probeAll(options: ProbeAllOptions = {}): FeatureReport {
  const backend = backendOf(options);
  const names = <Name extends string>(table: { readonly [name in Name]: unknown }): Name[] =>
    (Object.keys(table) as Name[]).filter((name) => name !== "unspec");
  const helpers: { [type in ProgType]?: readonly HelperName[] | undefined } = {};
  if (options.helpers !== false) {
    for (const type of names(ProgType)) helpers[type] = helpersOf(type, { backend }, options.noisyHelpers === true);
  }
  return {
    programTypes: names(ProgType).map((name) => ({
      name,
      supported: haveProgramType(name, { backend }),
      since: PROGRAM_TYPE_SINCE[name],
    })),
    mapTypes: names(MapType).map((name) => ({
      name,
      supported: haveMapType(name, { backend }),
      since: mapTypeSince(name),
    })),
    attachTypes: names(AttachType).map((name) => ({
      name,
      supported: haveAttachType(name, { backend }),
      since: undefined,
    })),
    instructions: names(INSTRUCTION_PROBES).map((name) => ({
      name,
      supported: haveInstructions(name, { backend }),
      since: INSTRUCTION_PROBES[name].since,
    })),
    features: [
      ...names(FEATURES).map((name) => ({
        name,
        supported: probeFeature(name, { backend }),
        since: FEATURES[name].since,
      })),
      { name: "large_programs", supported: haveLargePrograms({ backend }), since: "5.2" },
      { name: "bounded_loops", supported: haveBoundedLoops({ backend }), since: "5.3" },
    ],
    helpers,
  };
}

/** Helpers of a program type; `undefined` when that cannot be told of any of them. */
function helpersOf(type: ProgType, options: BackendOption, noisy: boolean): HelperName[] | undefined {
  const found: HelperName[] = [];
  for (const helper of HELPERS) {
    if (!noisy && NOISY.has(helper.name)) continue;
    const answer = haveHelper(type, helper.number, options);
    if (answer === undefined) return undefined;
    if (answer) found.push(helper.name);
  }
  return found;
}
