// Browser-safe.

export { type Btf, type OpenBtfOptions, openBtf } from "./btf.ts";
export type { BtfHeader, BtfImage, BtfOrigin } from "./image.ts";
export { essentialName } from "./names.ts";
export { StringTable } from "./strings.ts";
export type * from "./types.ts";
