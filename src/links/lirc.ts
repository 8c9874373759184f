import type { Program } from "../programs/index.ts";
import { requireType } from "./create.ts";
import type { Link } from "./link.ts";
import { attachProgram } from "./prog-attach.ts";
import { openTarget } from "./targets.ts";

/**
 * Attaches a program that decodes what an infrared receiver hears (Linux 4.18). It is no `bpf_link`: the program stays
 * attached when the process ends without closing the attachment.
 *
 * @param program open program of type `lirc_mode2`
 * @param device path such as `/dev/lirc0`, or a descriptor of it
 * @returns the attachment: close it to detach
 * @throws BpfError `ERR_ATTACH_TARGET` when there is no such device, `ERR_TYPE_MISMATCH`; SyscallError `EINVAL` when it is
 *   no receiver of raw signals, `EEXIST` when the program is attached already, `E2BIG` above 64 programs
 */
export function attachLirc(program: Program, device: string | number): Link {
  const label = `lirc_mode2 of ${typeof device === "number" ? `descriptor ${device}` : device}`;
  requireType(program, label, "lirc_mode2");
  const owner = openTarget(program.owner.backend, device, "infrared device");
  try {
    return attachProgram(program, {
      attachType: "lirc_mode2",
      label,
      target: { target_fd: owner.number },
      owned: [owner],
      meanings: {
        EINVAL: "this is no receiver of raw infrared signals",
        EEXIST: "this program is attached there already",
        E2BIG: "the device has as many programs as the kernel takes",
      },
    });
  } catch (error) {
    owner.close();
    throw error;
  }
}
