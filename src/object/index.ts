export { type LoadObjectOptions, loadObject } from "./load.ts";
export type { ObjectMap } from "./maps.ts";
export { type AttachObjectOptions, BpfObject, ObjectLinks } from "./object.ts";
export { Variable } from "./variable.ts";
