// Browser-safe.

export { type Btf, type OpenBtfOptions, openBtf } from "./btf.ts";
export { type BtfBuilder, createBtfBuilder } from "./builder.ts";
export { type EncodeBtfOptions, encodeBtf } from "./encode.ts";
export type { BtfHeader, BtfImage, BtfOrigin } from "./image.ts";
export { essentialName } from "./names.ts";
export { type BtfMemberSpec, type BtfTypeSpec, mapReferences, referencesOf } from "./spec.ts";
export { StringTable } from "./strings.ts";
export type * from "./types.ts";
export { validateBtf } from "./validate.ts";
