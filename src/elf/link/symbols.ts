// Browser-safe.

import { named, SymbolBinding, SymbolType, SymbolVisibility } from "../constants.ts";
import { symbolName } from "../object/file.ts";
import type { ElfSymbol } from "../types.ts";
import { globalName, type Input, linkError } from "./input.ts";

/** What all objects together say of a name that they share. */
export interface Global {
  readonly name: string;
  /** The object whose symbol counts: the one that defines it, else the first that refers to it. */
  input: Input;
  symbol: ElfSymbol;
  /** Whether any object defines it. */
  defined: boolean;
  /** Whether it may be missing, or replaced when another object is linked to the result. */
  weak: boolean;
  /** One of `SymbolVisibility`: the strictest that any object asks for. */
  visibility: number;
  /** All objects that have it, for the comparison of types. */
  readonly all: { readonly input: Input; readonly symbol: ElfSymbol }[];
}

/** From the strictest. */
const VISIBILITIES: readonly number[] = [
  SymbolVisibility.internal,
  SymbolVisibility.hidden,
  SymbolVisibility.protected,
  SymbolVisibility.default,
];

/**
 * Decides for every name that objects share which definition counts: a strong one goes before weak ones, of which the
 * first counts.
 *
 * @throws ElfError `ERR_ELF_LINK` for two strong definitions, and for a name that is a function here and a variable
 *   there
 */
export function resolveGlobals(
  inputs: readonly Input[],
  isSkipped: (input: Input, symbol: ElfSymbol) => boolean,
): Map<string, Global> {
  const globals = new Map<string, Global>();
  for (const input of inputs) {
    for (const symbol of input.file.symbols) {
      const name = globalName(input, symbol);
      if (name === undefined || isSkipped(input, symbol)) continue;
      checkSymbol(input, symbol);
      const defined = symbol.section !== "undefined";
      const weak = symbol.binding === SymbolBinding.weak;
      const known = globals.get(name);
      if (known === undefined) {
        const all = [{ input, symbol }];
        globals.set(name, { name, input, symbol, defined, weak, visibility: symbol.visibility, all });
      } else merge(known, input, symbol, defined, weak);
    }
  }
  return globals;
}

function merge(known: Global, input: Input, symbol: ElfSymbol, defined: boolean, weak: boolean): void {
  known.all.push({ input, symbol });
  known.visibility = VISIBILITIES.find((each) => each === known.visibility || each === symbol.visibility)!;
  if (defined && known.defined) {
    if (symbol.type !== known.symbol.type) {
      const [here, there] = [named(SymbolType, symbol.type), named(SymbolType, known.symbol.type)];
      throw linkError(input, `Type is ${here}, but ${there} in ${known.input.name}`, symbolName(symbol));
    }
    if (!weak && !known.weak) {
      const hint = "Make one of them static or weak";
      throw linkError(input, `"${known.name}" is defined in ${known.input.name} too`, symbolName(symbol), hint);
    }
  }
  // Among references the strictest counts, among definitions the first strong one.
  if (defined === known.defined) {
    if (defined && known.weak && !weak) take(known, input, symbol);
    known.weak &&= weak;
  } else if (defined) {
    take(known, input, symbol);
    known.defined = true;
    known.weak = weak;
  }
}

function take(known: Global, input: Input, symbol: ElfSymbol): void {
  known.input = input;
  known.symbol = symbol;
}

/** Whether a symbol is something that can be linked. */
export function checkSymbol(input: Input, symbol: ElfSymbol): void {
  const { type, section, binding } = symbol;
  const path = symbolName(symbol);
  if (symbol.name === "" && type !== SymbolType.section) throw linkError(input, "Symbol without a name", path);
  if (binding > SymbolBinding.weak) throw linkError(input, `Binding is ${named(SymbolBinding, binding)}`, path);
  if (![SymbolType.notype, SymbolType.object, SymbolType.func, SymbolType.section].some((each) => each === type)) {
    throw linkError(input, `Type is ${named(SymbolType, type)}, which cannot be linked`, path);
  }
  if (section === "absolute" || section === "common" || section === "reserved") {
    throw linkError(input, `Lies in no section: it is ${section}`, path);
  }
}
