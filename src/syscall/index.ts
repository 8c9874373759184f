export { type AttrValue, type AttrValues, type EncodedAttr, encodeAttr } from "./attr.ts";
export { encodeAttributes, type NetlinkAttribute, NetlinkAttributes, type NetlinkValue } from "./attributes.ts";
export type {
  Architecture,
  BackendAdapter,
  BackendName,
  DescriptorWatcher,
  SyscallBackend,
} from "./backend.ts";
export { type BpfCallContext, bpf, bpfFd, type RawBpfResult, rawBpf } from "./bpf.ts";
export { type BtfDescription, listBtf, openBtfById, readBtfInfo } from "./btf-object.ts";
export { kernelBuffer, toKernel } from "./call.ts";
export { bootTime, monotonicTime } from "./clock.ts";
export {
  enableStats,
  iterCreate,
  linkCreate,
  linkDetach,
  linkUpdate,
  mapCreate,
  mapDelete,
  mapFreeze,
  mapLookup,
  mapNextKey,
  mapUpdate,
  type NumberedObject,
  objectById,
  objectIds,
  objGet,
  objInfo,
  objInfoInto,
  objPin,
  progAttach,
  progBindMap,
  progDetach,
  progLoad,
  progQuery,
  progTestRun,
  rawTracepointOpen,
  taskFdQuery,
  tokenCreate,
} from "./commands.ts";
export { ENOTSUPP, errnoMeaning, errnoName, errnoNumber } from "./errno.ts";
export { isErrno, SyscallError, type SyscallErrorOptions } from "./errors.ts";
export {
  type FakeCall,
  type FakeCallHandler,
  type FakeHandler,
  FakeKernel,
  type FakeMap,
  type FakeObject,
  type FakeRecordOptions,
  type FakeRequest,
} from "./fake.ts";
export { Fd, objectKind } from "./fd.ts";
export {
  FEATURES,
  type Feature,
  type FeatureName,
  type ProbeOptions,
  probeFeature,
  requireFeature,
} from "./features.ts";
export { type CallNeeds, permissionHint, requiredCapabilities } from "./hints.ts";
export {
  type Capability,
  capabilities,
  effectiveCapabilities,
  type KernelVersion,
  kernelOlderThan,
  kernelVersion,
  type Lockdown,
  lockdown,
  onlineCpus,
  parseCpuList,
  possibleCpus,
} from "./host.ts";
export {
  findInterface,
  listInterfaces,
  type NetworkInterface,
  type XdpMode,
  type XdpState,
} from "./interfaces.ts";
export { type KernelBtfCache, kernelBtfNames, type LoadKernelBtfOptions, loadKernelBtf } from "./kernel-btf.ts";
export { type LoadBtfOptions, loadBtf } from "./load-btf.ts";
export { raiseMemlock } from "./memlock.ts";
export { type MapMemoryOptions, MappedMemory, mapMemory, pageSize } from "./memory.ts";
export { kernelString, mountDetached } from "./mount.ts";
export {
  attributesOf,
  NetlinkFlag,
  type NetlinkMessage,
  type NetlinkReply,
  type NetlinkRequest,
  NetlinkSocket,
  openNetlink,
  withNetlink,
} from "./netlink.ts";
export { type SyscallNumbers, syscallNumbers } from "./numbers.ts";
export { type PerfEventOptions, PerfIoctl, perfEventOpen, perfIoctl } from "./perf.ts";
export { type PollHandler, type PollSource, pollDescriptor } from "./poller.ts";
export {
  haveAttachType,
  haveBoundedLoops,
  haveHelper,
  haveInstructions,
  haveKfunc,
  haveLargePrograms,
  haveMapType,
  haveProgramType,
  INSTRUCTION_PROBES,
  type InstructionFeature,
} from "./probes.ts";
export { adapters, type BackendOption, backendOf, openBackend } from "./select.ts";
export {
  type FormatSyscallOptions,
  formatSyscall,
  type SyscallListener,
  type SyscallTrace,
  type SyscallTracer,
  type TraceValue,
  traceSyscalls,
} from "./trace.ts";
export {
  findTracefs,
  openTracefs,
  parseTracepointFormat,
  readTracepointFormat,
  type Tracefs,
  type TracepointField,
  type TracepointFormat,
} from "./tracefs.ts";
