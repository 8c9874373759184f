import type { Btf, BtfStruct, BtfUnion } from "../../src/btf/index.ts";
import type { StructSource } from "./tables.ts";

interface AttrSource extends StructSource {
  /** Name of the variant where the kernel gives it one, else members that only this variant has together. */
  readonly recognise: string | readonly string[];
}

const POINTERS =
  /^(key|value|next_key|in_batch|out_batch|keys|values|insns|license|log_buf|func_info|line_info|fd_array|core_relos|signature|excl_prog_hash|pathname|data_in|data_out|ctx_in|ctx_out|info|prog_ids|prog_attach_flags|link_ids|link_attach_flags|name|btf|btf_log_buf|buf|iter_info|syms|addrs|cookies|path|offsets|ref_ctr_offsets|ids|stream_buf)$/;

const ATTRS: readonly Omit<AttrSource, "struct" | "pointers">[] = [
  { name: "mapCreateAttr", recognise: ["map_type", "key_size", "max_entries"], doc: "`BPF_MAP_CREATE`." },
  {
    name: "mapElemAttr",
    recognise: ["map_fd", "key", "value", "next_key"],
    doc: "`BPF_MAP_LOOKUP_ELEM`, `_UPDATE_ELEM`, `_DELETE_ELEM`, `_LOOKUP_AND_DELETE_ELEM`, `_GET_NEXT_KEY`, `_FREEZE`.",
  },
  {
    name: "mapBatchAttr",
    recognise: "batch",
    doc: "`BPF_MAP_LOOKUP_BATCH`, `_LOOKUP_AND_DELETE_BATCH`, `_UPDATE_BATCH`, `_DELETE_BATCH`.",
  },
  { name: "progLoadAttr", recognise: ["prog_type", "insns", "license"], doc: "`BPF_PROG_LOAD`." },
  { name: "objAttr", recognise: ["pathname", "bpf_fd"], doc: "`BPF_OBJ_PIN`, `BPF_OBJ_GET`." },
  {
    name: "progAttachAttr",
    recognise: ["target_fd", "attach_bpf_fd", "attach_type"],
    doc: "`BPF_PROG_ATTACH`, `BPF_PROG_DETACH`.",
  },
  { name: "progTestRunAttr", recognise: "test", doc: "`BPF_PROG_TEST_RUN`." },
  {
    name: "getIdAttr",
    recognise: ["start_id", "next_id", "open_flags"],
    doc: "`BPF_{PROG,MAP,BTF,LINK}_GET_NEXT_ID`, `_GET_FD_BY_ID`.",
  },
  { name: "infoByFdAttr", recognise: "info", doc: "`BPF_OBJ_GET_INFO_BY_FD`." },
  { name: "progQueryAttr", recognise: "query", doc: "`BPF_PROG_QUERY`." },
  { name: "rawTracepointOpenAttr", recognise: "raw_tracepoint", doc: "`BPF_RAW_TRACEPOINT_OPEN`." },
  { name: "btfLoadAttr", recognise: ["btf", "btf_size", "btf_log_level"], doc: "`BPF_BTF_LOAD`." },
  { name: "taskFdQueryAttr", recognise: "task_fd_query", doc: "`BPF_TASK_FD_QUERY`." },
  { name: "linkCreateAttr", recognise: "link_create", doc: "`BPF_LINK_CREATE`." },
  { name: "linkUpdateAttr", recognise: "link_update", doc: "`BPF_LINK_UPDATE`." },
  { name: "linkDetachAttr", recognise: "link_detach", doc: "`BPF_LINK_DETACH`." },
  { name: "enableStatsAttr", recognise: "enable_stats", doc: "`BPF_ENABLE_STATS`." },
  { name: "iterCreateAttr", recognise: "iter_create", doc: "`BPF_ITER_CREATE`." },
  { name: "progBindMapAttr", recognise: "prog_bind_map", doc: "`BPF_PROG_BIND_MAP`." },
  { name: "tokenCreateAttr", recognise: "token_create", doc: "`BPF_TOKEN_CREATE` (Linux 6.9)." },
  { name: "progStreamReadAttr", recognise: "prog_stream_read", doc: "`BPF_PROG_STREAM_READ_BY_FD` (Linux 6.17)." },
  {
    name: "progAssocStructOpsAttr",
    recognise: "prog_assoc_struct_ops",
    doc: "`BPF_PROG_ASSOC_STRUCT_OPS` (Linux 7.0).",
  },
];

/** One variant of `union bpf_attr`. */
export interface AttrLayout {
  readonly source: StructSource;
  readonly kernelName: string;
  readonly variant: BtfStruct | BtfUnion;
  readonly size: number;
}

/**
 * Takes `union bpf_attr` apart: most of its variants are anonymous structs, told by their members.
 *
 * @param strict whether a variant that is not known here, or one known here that is missing, is an error
 */
export function* bpfAttrLayouts(btf: Btf, attr: BtfUnion, strict = true): Generator<AttrLayout> {
  const left = new Set(ATTRS);
  for (const member of attr.members) {
    const variant = btf.resolve(member.type);
    if (variant.kind !== "struct") throw new Error(`bpf_attr has a member of kind ${variant.kind}`);
    const names = new Set(memberNames(btf, variant));
    const matches = ATTRS.filter(({ recognise }) =>
      typeof recognise === "string"
        ? recognise === member.name
        : member.name === "" && recognise.every((name) => names.has(name)),
    );
    const [source] = matches;
    if (source === undefined && !strict) continue;
    if (source === undefined || matches.length > 1) {
      throw new Error(`bpf_attr variant "${member.name}" {${[...names]}} has ${matches.length} names here`);
    }
    left.delete(source);
    const kernelName = member.name === "" ? "bpf_attr" : `bpf_attr.${member.name}`;
    yield { source: { ...source, struct: "", pointers: POINTERS }, kernelName, variant, size: endOf(btf, variant) };
  }
  if (strict && left.size > 0) throw new Error(`bpf_attr lacks ${[...left].map(({ name }) => name)}`);
}

function* memberNames(btf: Btf, struct: BtfStruct | BtfUnion): Generator<string> {
  for (const member of struct.members) {
    const type = btf.resolve(member.type);
    if (member.name !== "") yield member.name;
    else if (type.kind === "struct" || type.kind === "union") yield* memberNames(btf, type);
  }
}

/**
 * Size as `bpf()` is to be told it: up to the end of the last field. The padding behind it may become a field of a
 * newer kernel, which an older one would then refuse for its size alone.
 */
function endOf(btf: Btf, struct: BtfStruct | BtfUnion, base = 0): number {
  let end = base;
  for (const member of struct.members) {
    const type = btf.resolve(member.type);
    const at = base + member.bitOffset / 8;
    const to = type.kind === "struct" || type.kind === "union" ? endOf(btf, type, at) : at + btf.sizeOf(member.type);
    end = Math.max(end, to);
  }
  return end;
}
