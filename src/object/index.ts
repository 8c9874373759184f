export { type LoadObjectOptions, loadObject } from "./load.ts";
export { type LoadObjectAsyncOptions, loadObjectAsync } from "./load-async.ts";
export { type AttachObjectOptions, BpfObject, ObjectLinks } from "./object.ts";
export { type ObjectRecordsOptions, RecordMap } from "./record-map.ts";
export type { AnyObjectMap, AnyObjectTypes, NamesOf, ObjectMap, ObjectTypes, VariablesOf } from "./types.ts";
export { Variable } from "./variable.ts";
