// Browser-safe.

import type { Instruction } from "../../asm/index.ts";
import type { Btf } from "../../btf/index.ts";
import { SymbolBinding } from "../constants.ts";
import { elfError, sectionPath } from "../errors.ts";
import type { ElfSymbol } from "../types.ts";
import { type Code, type CodeFunction, functionsOf } from "./code.ts";
import { programOf } from "./create.ts";
import { emptyRecord, type ObjectFile, symbolName } from "./file.ts";
import { type JumpTables, labelled } from "./jump-tables.ts";
import { matchSection, type SectionRule } from "./sections.ts";
import type { FunctionSpec, JumpTableSpec, ObjectProgramSpec } from "./spec.ts";

/** All programs of an object together. More than one kernel takes at once, and no more than memory can hold. */
const MAX_INSTRUCTIONS = 2 ** 22;

const EXCEPTION_CALLBACK = "exception_callback:";

/** Whether a function may be a program of its own: one that other files see, in another section than `.text`. */
export function isProgram(file: ObjectFile, symbol: ElfSymbol): boolean {
  if (symbol.binding === SymbolBinding.local || typeof symbol.section !== "number") return false;
  return file.elf.sections[symbol.section]?.name !== ".text";
}

/**
 * Puts together the programs: each with its own code, and behind it that of all functions it reaches.
 *
 * @param rules further rules for names of sections
 * @throws ElfError for a program that is static; or when all together are too long
 */
export function readPrograms(
  btf: Btf | undefined,
  code: Code,
  jumpTables: JumpTables,
  rules: readonly SectionRule[],
): Record<string, ObjectProgramSpec> {
  const programs = emptyRecord<ObjectProgramSpec>();
  const all = [...functionsOf(code)];
  const byName = new Map(all.map((func) => [func.name, func]));
  const bodies = new Map<CodeFunction, readonly Instruction[]>();
  const callees = new Map<CodeFunction, readonly CodeFunction[]>();
  const specs = new Map<CodeFunction, FunctionSpec>();
  let total = 0;
  for (const func of all) {
    const { section } = func.code;
    const match = matchSection(section.name, rules);
    if (section.name === ".text" || isLibrary(func, match.rule)) continue;
    if (func.symbol.binding === SymbolBinding.local) {
      throw elfError(
        "ERR_ELF_INVALID",
        `Program "${func.name}" is static, and nothing calls it`,
        `${sectionPath(section)} ${symbolName(func.symbol)}`,
        undefined,
        "Leave out the word static, so that it can be found",
      );
    }
    const callback = exceptionCallback(btf, func, byName);
    const functions = reach(func, callback, callees);
    const instructions: Instruction[] = [];
    const tables = emptyRecord<JumpTableSpec>();
    for (const each of functions) {
      total += each.end - each.start;
      if (total > MAX_INSTRUCTIONS) {
        const message = `Programs are longer than ${MAX_INSTRUCTIONS} instructions together`;
        throw elfError("ERR_LIMIT", message, `${sectionPath(section)} ${symbolName(func.symbol)}`);
      }
      for (const insn of bodyOf(each, bodies)) instructions.push(insn);
      for (const table of jumpTables.of(each)) tables[table.name] = table;
    }
    programs[func.name] = {
      ...programOf(func.name, section.name, rules),
      instructions,
      functions: functions.map((each) => specOf(each, specs)),
      exceptionCallback: callback?.label,
      jumpTables: tables,
    };
  }
  return programs;
}

/** Whether a function outside of `.text` is there to be called only. */
function isLibrary(func: CodeFunction, rule: SectionRule | undefined): boolean {
  return func.used && (rule === undefined || func.symbol.binding === SymbolBinding.local);
}

/** The functions a program reaches, in the order of libbpf: each at its first call, followed by those that it calls. */
function reach(
  main: CodeFunction,
  callback: CodeFunction | undefined,
  cache: Map<CodeFunction, readonly CodeFunction[]>,
): CodeFunction[] {
  const found = new Set<CodeFunction>();
  for (const root of [main, callback]) {
    if (root === undefined || found.has(root)) continue;
    found.add(root);
    // Without recursion: a chain of calls may be as long as the file.
    const stack = [{ callees: calleesOf(root, cache), next: 0 }];
    for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
      const callee = top.callees[top.next++];
      if (callee === undefined) stack.pop();
      else if (!found.has(callee)) {
        found.add(callee);
        stack.push({ callees: calleesOf(callee, cache), next: 0 });
      }
    }
  }
  return [...found];
}

function calleesOf(func: CodeFunction, cache: Map<CodeFunction, readonly CodeFunction[]>): readonly CodeFunction[] {
  let callees = cache.get(func);
  if (callees === undefined) {
    const found = new Set<CodeFunction>();
    for (let index = func.start; index < func.end; index++) {
      const target = func.code.references.get(index);
      if (target !== undefined) found.add(target);
    }
    callees = [...found];
    cache.set(func, callees);
  }
  return callees;
}

/** Instructions of a function, the first one with its label: made once, and shared by all programs that use it. */
function bodyOf(func: CodeFunction, cache: Map<CodeFunction, readonly Instruction[]>): readonly Instruction[] {
  let body = cache.get(func);
  if (body === undefined) {
    const made = func.code.instructions.slice(func.start, func.end);
    made[0] = labelled(made[0]!, func.label);
    body = made;
    cache.set(func, body);
  }
  return body;
}

/** The same object for all programs that have the function. */
function specOf(func: CodeFunction, cache: Map<CodeFunction, FunctionSpec>): FunctionSpec {
  let spec = cache.get(func);
  if (spec === undefined) {
    const { label, name, type } = func;
    spec = { label, name, type };
    cache.set(func, spec);
  }
  return spec;
}

function exceptionCallback(
  btf: Btf | undefined,
  func: CodeFunction,
  byName: ReadonlyMap<string, CodeFunction>,
): CodeFunction | undefined {
  if (btf === undefined || func.type === undefined) return undefined;
  const tags = btf.declTags(func.type, -1).filter((tag) => tag.name.startsWith(EXCEPTION_CALLBACK));
  if (tags.length === 0) return undefined;
  const path = `${sectionPath(func.code.section)} ${symbolName(func.symbol)}`;
  if (tags.length > 1) throw elfError("ERR_ELF_INVALID", `"${func.name}" has ${tags.length} exception callbacks`, path);
  const name = tags[0]!.name.slice(EXCEPTION_CALLBACK.length);
  const callback = byName.get(name);
  if (callback === undefined)
    throw elfError("ERR_ELF_INVALID", `Exception callback "${name}" is not in this object`, path);
  return callback;
}
