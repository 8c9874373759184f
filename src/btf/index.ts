// Browser-safe.

export { type Btf, type OpenBtfOptions, openBtf } from "./btf.ts";
export { type BtfBuilder, createBtfBuilder } from "./builder.ts";
export * from "./core/index.ts";
export { type DedupBtfOptions, dedupBtf } from "./dedup.ts";
export { type DistilledBtf, distillBtf, relocateBtf } from "./distill.ts";
export { type BtfFeatures, downgradeBtf } from "./downgrade.ts";
export { type EncodeBtfOptions, type EncodedBtf, encodeBtf, type LayoutBtfOptions, layoutBtf } from "./encode.ts";
export {
  type BtfExt,
  type CoreRelo,
  type ExtSection,
  encodeBtfExt,
  encodeFuncInfo,
  encodeLineInfo,
  type FuncInfo,
  type LineInfo,
  type OffsetOf,
  readBtfExt,
  stringsOfExt,
} from "./ext.ts";
export type { BtfHeader, BtfImage, BtfOrigin } from "./image.ts";
export { essentialName } from "./names.ts";
export { type ToCOptions, toC } from "./print/c.ts";
export { type FormatOptions, format } from "./print/format.ts";
export { type ToTypeScriptOptions, toTypeScript } from "./print/typescript.ts";
export { functionInfos, lineInfos, type ProgramCode, type ProgramFunction } from "./program-info.ts";
export { type BtfMemberSpec, type BtfTypeSpec, mapReferences, referencesOf } from "./spec.ts";
export { StringTable } from "./strings.ts";
export { type RenumberedTypes, type SubsetBtfOptions, subsetBtf } from "./subset.ts";
export type * from "./types.ts";
export { validateBtf } from "./validate.ts";
export { codec } from "./values/codec.ts";
export type { CodecOptions, ValueOptions } from "./values/options.ts";
