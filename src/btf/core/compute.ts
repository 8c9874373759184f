// Browser-safe.

import { BtfError } from "../../errors.ts";
import type { Btf } from "../btf.ts";
import { essentialName } from "../names.ts";
import type { TypeId } from "../types.ts";
import { kindsCompatible } from "./compatible.ts";
import { coreError, subjectOf } from "./errors.ts";
import { matchSpec } from "./match.ts";
import { describe, formatSpec, parseSpec } from "./spec.ts";
import type { CoreCandidate, CoreFixup, CoreMemory, CoreRelocation, CoreSpec, CoreTarget } from "./types.ts";
import { type CoreValue, valueAt } from "./value.ts";

/** Options of {@link computeFixups}. */
export interface ComputeFixupsOptions {
  /**
   * Gives more places to look in, such as the modules of the kernel. Called at most once, and only when the targets have
   * no candidate for some type: reading the types of all modules takes a while.
   */
  readonly modules?: (() => readonly CoreTarget[]) | undefined;
  /** Byte order of the program. Default: that of the local types. */
  readonly littleEndian?: boolean | undefined;
}

/**
 * Answers the CO-RE relocations of a program for a kernel. The first of two steps: this one works everything out and
 * changes nothing, `applyFixup` changes instructions.
 *
 * For each local type, the types of the same name in the kernel are candidates, without regard to flavours: what
 * follows the last `___` in the names of both. They are those of the first target; only when it has none, those of the
 * others. Each relocation is then followed through each candidate, by the names of the members. Answers are those of
 * libbpf:
 *
 * - What is not there gives 0 where existence, the size of a type or its number is asked, and otherwise poison: an
 *   instruction that the verifier refuses, unless it can tell that it is never reached.
 * - A candidate that lacks what another has is left out from then on, for all relocations of the same local type, so
 *   that the layouts of two types are never mixed.
 * - Where the candidates that are left disagree, libbpf gives up. Here the one that has most of what is asked is taken,
 *   as cilium/ebpf does, and only a tie is an error.
 *
 * @param relocations in the order of the file, as `readBtfExt` gives them, or with that `order`; equal ones are answered
 *   once
 * @param local types of the program
 * @param targets types of the kernel, and after them those of its modules
 * @param options more targets, byte order
 * @returns one answer for each different relocation, in the order in which they first appear
 * @throws BtfError `ERR_CORE_SPEC` for a malformed relocation, `ERR_CORE_AMBIGUOUS` when candidates disagree,
 *   `ERR_CORE_RELOCATION` when an answer cannot be worked out
 *
 * @example
 * ```ts
 * import { computeFixups, createBtfBuilder, formatRelocation } from "rawbpf/btf";
 *
 * const types = (bitOffset: number) => {
 *   const builder = createBtfBuilder();
 *   const int = builder.add({ kind: "int", name: "int", size: 4 });
 *   builder.add({ kind: "struct", name: "task", size: 64, members: [{ name: "pid", type: int, bitOffset }] });
 *   return builder.build();
 * };
 * const local = types(0);
 * const { id } = local.typeByName("task");
 * const asked = { kind: "field_byte_offset", type: id, access: "0:0" } as const;
 * const [fixup] = computeFixups([asked], local, [{ name: "vmlinux", btf: types(96) }]);
 * fixup?.after; // 12n
 * fixup && formatRelocation(fixup); // "<byte_off> [2] struct task.pid (0:0 @ offset 0)"
 * ```
 */
export function computeFixups(
  relocations: readonly CoreRelocation[],
  local: Btf,
  targets: readonly CoreTarget[],
  options: ComputeFixupsOptions = {},
): CoreFixup[] {
  const asked = new Map<string, CoreRelocation>();
  const groups = new Map<number, CoreRelocation[]>();
  for (const relocation of relocations) {
    const { kind, type, access } = relocation;
    const key = relocationKey(relocation);
    if (!asked.has(key)) asked.set(key, { kind, type, access });
  }
  const grouped = new Set<CoreRelocation>();
  for (const relocation of inFileOrder(relocations)) {
    const plain = asked.get(relocationKey(relocation))!;
    if (grouped.has(plain)) continue;
    grouped.add(plain);
    const group = groups.get(plain.type);
    if (group === undefined) groups.set(plain.type, [plain]);
    else group.push(plain);
  }
  const context: Context = {
    local,
    targets,
    modules: once(options.modules),
    littleEndian: options.littleEndian ?? local.littleEndian,
  };
  const fixups = new Map<CoreRelocation, CoreFixup>();
  for (const [type, group] of groups) {
    for (const fixup of computeGroup(context, type as TypeId, group)) fixups.set(fixup.relocation, fixup);
  }
  return [...asked.values()].map((relocation) => fixups.get(relocation)!);
}

/** By their places in the object, where these are known; programs may have been put together in another order. */
function inFileOrder(relocations: readonly CoreRelocation[]): readonly CoreRelocation[] {
  if (relocations.some(({ order }) => order === undefined)) return relocations;
  return [...relocations].sort((a, b) => a.order! - b.order!);
}

/** What makes two relocations the same question, for one BTF of local types. */
function relocationKey({ kind, type, access }: CoreRelocation): string {
  return `${kind} ${type} ${access}`;
}

/** The form in which libbpf and the verifier's log name a relocation: `<byte_off> [2] struct task_struct.pid (0:1 @ offset 4)`. */
export function formatRelocation(fixup: Pick<CoreFixup, "relocation" | "local">): string {
  return describe(fixup.relocation, fixup.local);
}

interface Context {
  readonly local: Btf;
  readonly targets: readonly CoreTarget[];
  readonly modules: () => readonly CoreTarget[];
  readonly littleEndian: boolean;
}

/** A relocation with its path through the local types and its answer there. */
interface Question {
  readonly relocation: CoreRelocation;
  readonly spec: CoreSpec;
  readonly text: string;
  /** Worked out when it is needed: not every local type has an answer, and not every question asks for one. */
  readonly before: () => CoreValue;
}

interface Candidate {
  readonly target: CoreTarget;
  readonly type: TypeId;
  /** What it says to each question that was put to it, `undefined` where it does not match. */
  readonly answers: Map<Question, Match | undefined>;
}

interface Match {
  readonly spec: CoreSpec;
  readonly value: CoreValue;
}

function once(modules: (() => readonly CoreTarget[]) | undefined): () => readonly CoreTarget[] {
  let found: readonly CoreTarget[] | undefined;
  return () => {
    found ??= modules?.() ?? [];
    return found;
  };
}

function computeGroup(context: Context, type: TypeId, relocations: readonly CoreRelocation[]): CoreFixup[] {
  const { local, littleEndian } = context;
  const questions = relocations.map((relocation): Question => {
    const spec = parseSpec(local, relocation);
    const text = formatSpec(local, spec);
    let before: CoreValue | undefined;
    const work = (): CoreValue => {
      before ??= explained(describe(relocation, text), () => valueAt(local, spec, littleEndian));
      return before;
    };
    return { relocation, spec, text, before: work };
  });
  // The kernel has no say in numbers of local types.
  const own = questions.filter(({ relocation }) => relocation.kind === "type_id_local");
  const open = questions.filter(({ relocation }) => relocation.kind !== "type_id_local");
  const fixups = own.map((question) => ownFixup(question));
  if (open.length === 0) return fixups;
  if (local.nameOf(type) === "") {
    throw coreError(
      "ERR_CORE_RELOCATION",
      `Cannot relocate ${describe(open[0]!.relocation, open[0]!.text)}: the type has no name to look for`,
    );
  }
  const candidates = findCandidates(context, type);
  const chosen = choose(context, open, candidates);
  for (const question of open) fixups.push(makeFixup(context, question, candidates, chosen));
  return fixups;
}

/** Says which relocation an error is about. */
function explained<T>(relocation: string, run: () => T): T {
  try {
    return run();
  } catch (error) {
    if (!(error instanceof BtfError) || error.message.startsWith("Cannot relocate ")) throw error;
    const code = error.code === "ERR_CORE_SPEC" ? "ERR_CORE_SPEC" : "ERR_CORE_RELOCATION";
    throw new BtfError(code, `Cannot relocate ${relocation}: ${lowerFirst(error.message)}`, { cause: error });
  }
}

function lowerFirst(text: string): string {
  return text.charAt(0).toLowerCase() + text.slice(1);
}

/** Types of the same name and kind, of the first target that has any; modules are asked last. */
function findCandidates(context: Context, type: TypeId): Candidate[] {
  const { local, targets } = context;
  const kind = local.kindOf(type);
  const name = essentialName(local.nameOf(type));
  const enums = kindsCompatible(kind, "enum");
  const search = (target: CoreTarget): Candidate[] => {
    const { btf } = target;
    const ids = enums
      ? [...btf.idsByEssentialName(name, "enum"), ...btf.idsByEssentialName(name, "enum64")].sort((a, b) => a - b)
      : btf.idsByEssentialName(name, kind);
    // Of what stands for the kernel, all types count; of a module, its own.
    const own = target === targets[0] ? ids : ids.filter((id) => id >= btf.firstId);
    return own.map((id) => ({ target, type: id, answers: new Map() }));
  };
  const [first, ...others] = targets;
  const found = first === undefined ? [] : search(first);
  if (found.length > 0) return found;
  return [...others, ...context.modules()].flatMap(search);
}

function ask(context: Context, question: Question, candidate: Candidate): Match | undefined {
  const { answers, target, type } = candidate;
  if (answers.has(question)) return answers.get(question);
  const match = explained(describe(question.relocation, question.text), () => {
    const spec = matchSpec(context.local, question.spec, target.btf, type);
    if (spec === undefined) return undefined;
    question.before();
    return { spec, value: valueAt(target.btf, spec, context.littleEndian) };
  });
  answers.set(question, match);
  return match;
}

/** The candidates that stand for the local type: they agree on everything, or none of them has anything. */
function choose(context: Context, questions: readonly Question[], candidates: readonly Candidate[]): Candidate[] {
  const [left, dispute] = prune(context, questions, candidates);
  return dispute === undefined ? left : chooseByScore(context, questions, candidates);
}

/**
 * Leaves candidates out as libbpf does: relocation by relocation, those that do not match one which others do match.
 *
 * @returns those that are left, and whether some of them disagreed
 */
function prune(
  context: Context,
  questions: readonly Question[],
  candidates: readonly Candidate[],
): readonly [Candidate[], dispute: true | undefined] {
  let left = [...candidates];
  for (const question of questions) {
    const matching = left.filter((candidate) => ask(context, question, candidate) !== undefined);
    const first = matching[0];
    if (first === undefined) continue;
    left = matching;
    const { spec, value } = ask(context, question, first)!;
    const agrees = (candidate: Candidate): boolean => {
      const other = ask(context, question, candidate)!;
      return other.spec.bitOffset === spec.bitOffset && other.value.value === value.value;
    };
    if (!left.every(agrees)) return [left, true];
  }
  return [left, undefined];
}

/**
 * Those candidates that have most of what is asked, which must agree on the answers. Where nobody asks for a place, it
 * may differ, which libbpf does not let pass.
 */
function chooseByScore(
  context: Context,
  questions: readonly Question[],
  candidates: readonly Candidate[],
): Candidate[] {
  const scores = candidates.map((each) => questions.filter((q) => ask(context, q, each) !== undefined).length);
  const most = Math.max(...scores);
  const best = candidates.filter((_, i) => scores[i] === most);
  const [first, ...others] = best;
  for (const question of questions) {
    const answer = ask(context, question, first!);
    const other = others.find((candidate) => answer?.value.value !== ask(context, question, candidate)?.value.value);
    if (other !== undefined) throw ambiguous(context, question, first!, other);
  }
  return best;
}

function ambiguous(context: Context, question: Question, a: Candidate, b: Candidate): Error {
  const tell = (candidate: Candidate): string => {
    const { text, value } = describeCandidate(context, question, candidate);
    const answer = value === undefined ? "does not have it" : `gives ${value}`;
    return `${candidate.target.name} [${candidate.type}] ${text} ${answer}`;
  };
  const relocation = describe(question.relocation, question.text);
  return coreError(
    "ERR_CORE_AMBIGUOUS",
    `Cannot relocate ${relocation}: two types of the kernel fit equally well, ${tell(a)}, ${tell(b)}`,
  );
}

function describeCandidate(context: Context, question: Question, candidate: Candidate): CoreCandidate {
  const { target, type } = candidate;
  const match = ask(context, question, candidate);
  const bare: CoreSpec = { kind: "type_exists", root: type, accessors: [], indices: [], bitOffset: 0 };
  return {
    target: target.name,
    type,
    text: formatSpec(target.btf, match?.spec ?? bare),
    matches: match !== undefined,
    value: match?.value.value,
  };
}

function ownFixup({ relocation, text, before }: Question): CoreFixup {
  const { value } = before();
  return {
    relocation,
    local: text,
    target: undefined,
    before: value,
    after: value,
    checked: false,
    memory: undefined,
    poison: false,
    reason: undefined,
    candidates: [],
  };
}

function makeFixup(
  context: Context,
  question: Question,
  candidates: readonly Candidate[],
  chosen: readonly Candidate[],
): CoreFixup {
  const { relocation, text } = question;
  const { kind } = relocation;
  const before = question.before();
  const shown = candidates.map((candidate) => describeCandidate(context, question, candidate));
  const matching = chosen.filter((candidate) => ask(context, question, candidate) !== undefined);
  const first = matching[0];
  const answers = matching.map((candidate) => ask(context, question, candidate)!.value);
  return {
    relocation,
    local: text,
    target: first && shown[candidates.indexOf(first)],
    before: before.value,
    after: answers[0]?.value ?? 0n,
    checked: before.checked,
    memory: kind === "field_byte_offset" && first !== undefined ? memoryOf(before, answers) : undefined,
    poison: first === undefined && !ZERO_WHEN_MISSING.has(kind),
    reason: first === undefined ? whyMissing(context, question, candidates, chosen) : undefined,
    candidates: shown,
  };
}

/** What is 0 when it is not found; everything else poisons its instruction. */
const ZERO_WHEN_MISSING: ReadonlySet<CoreRelocation["kind"]> = /* @__PURE__ */ new Set<CoreRelocation["kind"]>([
  "field_exists",
  "type_exists",
  "type_matches",
  "type_size",
  "type_id_target",
  "enumval_exists",
]);

function whyMissing(
  context: Context,
  question: Question,
  candidates: readonly Candidate[],
  chosen: readonly Candidate[],
): string {
  const { local, targets } = context;
  const { relocation, spec } = question;
  if (candidates.length === 0) {
    const where = targets.length === 0 ? "nowhere to look" : targets.map(({ name }) => name).join(", ");
    return `no ${local.kindOf(relocation.type)} ${essentialName(local.nameOf(relocation.type))} in ${where}`;
  }
  const names = new Set(chosen.map(({ target }) => target.name));
  const elsewhere = candidates.some((candidate) => candidate.answers.get(question) !== undefined);
  const where = `in ${[...names].join(", ")}${elsewhere ? ", only in a type that lacks what else is asked for" : ""}`;
  switch (subjectOf(relocation.kind)) {
    case "type":
      return `no ${relocation.kind === "type_matches" ? "matching" : "compatible"} type ${where}`;
    case "enumerator":
      return `no enumerator ${essentialName(spec.accessors[0]!.name!)} ${where}`;
    default:
      return `no matching field ${where}`;
  }
}

function memoryOf(before: CoreValue, answers: readonly CoreValue[]): CoreMemory {
  const after = answers[0]!;
  const sizes = [...new Set(answers.map(({ size }) => size))];
  return {
    before: before.size,
    after: after.size,
    adjustable: isAdjustable(before, after),
    disputed: sizes.length > 1 ? sizes : undefined,
  };
}

/**
 * Whether a load of another width reads the same value. Pointers are 64 bits wide in BPF and may be 32 bits wide in the
 * kernel; they and integers without sign are extended with zeros, which is right. Anything else would be read wrongly.
 */
function isAdjustable({ type: a }: CoreValue, { type: b }: CoreValue): boolean {
  if (a?.kind === "ptr") return b?.kind === "ptr";
  return a?.kind === "int" && b?.kind === "int" && !isSigned(a) && !isSigned(b);
}

function isSigned(type: { readonly signed: boolean; readonly char: boolean; readonly bool: boolean }): boolean {
  return type.signed && !type.char && !type.bool;
}
