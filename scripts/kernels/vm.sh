#!/bin/bash
# Runs a command of this repository, as root, under another kernel: in a machine that QEMU emulates in software.
#
#   scripts/kernels/vm.sh [--seconds N] KERNEL COMMAND [ARGUMENT...]
#   scripts/kernels/vm.sh --fetch KERNEL...        only download and prepare
#
# KERNEL is a series, such as 6.12: the newest kernel of it that Debian has for amd64. The package is downloaded with apt,
# from the mirror which this machine uses, into a cache directory, and unpacked there, never installed. The machine has
# this machine's node, bash, busybox, ip, tc and bpftool, and a copy of what was built here (.build, test, and the packages
# the tests need) at the same path, where COMMAND starts; what it writes is lost. Its output goes to our stdout, and its
# status is ours; 124: the time limit (default 900 s) passed; 125: the machine died.
#
#   RAWBPF_KERNELS          cache directory; default: .cache/kernels of this repository, or /var/cache/rawbpf-kernels when
#                           only that exists
#   RAWBPF_KERNELS_MIRROR   Debian mirror; default: the one of this machine's apt
#
# Needs Debian packages: qemu-system-x86 busybox-static cpio e2fsprogs xz-utils zstd lz4 iproute2 bpftool. Neither root nor KVM.
set -euo pipefail
umask 022
export LC_ALL=C PATH=$PATH:/usr/sbin:/sbin

FORMAT=1 # raise when the layout of the cache changes
root=$(cd "$(dirname "$0")/../.." && pwd -P)
shared=/var/cache/rawbpf-kernels
if [ -n "${RAWBPF_KERNELS-}" ]; then cache=$RAWBPF_KERNELS
elif [ ! -d "$root/.cache/kernels" ] && [ -d "$shared" ]; then cache=$shared
else cache=$root/.cache/kernels
fi

die() { echo "vm: $*" >&2; exit 126; }
note() { echo "vm: $*" >&2; }

mkdir -p "$cache"/{apt/lists/partial,apt/cache/archives/partial} || die "cannot write $cache"
cache=$(cd "$cache" && pwd -P)
work=$(mktemp -d "$cache/new.XXXXXX")
trap 'rm -rf "$work"' EXIT

apt=(-qq -o Dir::Etc::sourcelist="$cache/apt/sources.list" -o Dir::Etc::sourceparts=/dev/null
  -o Dir::State::Lists="$cache/apt/lists" -o Dir::Cache="$cache/apt/cache" -o Dir::State::status=/dev/null
  -o Dir::Log=/dev/null -o Acquire::Languages=none -o Acquire::GzipIndexes=true -o Acquire::Retries=3
  -o APT::Sandbox::User= -o APT::Architecture=amd64)

update() { # the package lists of every suite that has kernels, once a week
  local mirror suite key=/usr/share/keyrings/debian-archive-keyring.gpg
  [ -z "$(find "$cache/apt/stamp" -mtime -7 2>/dev/null)" ] || return 0
  mirror=${RAWBPF_KERNELS_MIRROR-}
  [ -n "$mirror" ] || mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -E '/debian/?$' | head -1) || true
  [ -n "$mirror" ] || mirror=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null | sed 's/#.*//' |
    grep -oE '[a-z+]+://[^] ]+/debian/?( |$)' | tr -d ' ' | head -1) || true
  [ -n "$mirror" ] || die "no Debian mirror in this machine's apt configuration; set RAWBPF_KERNELS_MIRROR"
  for suite in bookworm bookworm-backports trixie trixie-backports sid; do
    echo "deb [signed-by=$key] ${mirror%/} $suite main"
  done >"$cache/apt/sources.list"
  note "reading the package lists"
  timeout 300 apt-get "${apt[@]}" update >&2 || die "cannot read the package lists: is the network there?"
  touch "$cache/apt/stamp"
}

download() { # PACKAGE...: unpacked into $work/tree
  rm -rf "$work"/{deb,tree}
  mkdir "$work"/{deb,tree}
  (cd "$work/deb" && timeout 900 apt-get "${apt[@]}" download "$@" >&2) || die "cannot download $*"
  local package
  for package in "$work"/deb/*.deb; do dpkg-deb -x "$package" "$work/tree"; done
}

locked() { # COMMAND...: one at a time
  exec 9>"$cache/lock"
  flock 9
  "$@"
  exec 9>&-
}

image() { # TREE FILE MIB: an ext4 file system of a tree, with so much room left
  local kib count
  kib=$(du -sk --apparent-size "$1" | cut -f1) count=$(find "$1" | wc -l)
  truncate -s $((kib + count * 4 + 4096 + $3 * 1024))K "$2"
  mkfs.ext4 -q -F -m 0 -b 4096 -O '^has_journal,^resize_inode' -E lazy_itable_init=0,nodiscard,root_owner=0:0 \
    -N $((count * 2 + 4096)) -d "$1" "$2" >/dev/null
}

# The unlocked CMPXCHG16B of QEMU before 8.1 sets wrong flags, of which kernels before 7.0 die; without that instruction
# newer ones have no arenas. Debian 12 has a new enough one among its backports, which needs nothing else that is new.
emulator() {
  local version
  version=$(qemu-system-x86_64 --version 2>/dev/null | sed -nE '1s/.* version ([0-9]+)\.([0-9]+).*/\1 * 100 + \2/p')
  if [ -n "$version" ] && [ $((version)) -ge 801 ]; then qemu=(qemu-system-x86_64); return; fi
  if [ ! -d "$cache/qemu" ]; then
    update
    note "fetching a newer QEMU"
    download qemu-system-{x86,common,data}/bookworm-backports seabios/bookworm
    mv "$work/tree" "$cache/qemu"
  fi
  qemu=("$cache/qemu/usr/bin/qemu-system-x86_64" -L "$cache/qemu/usr/share/qemu" -L "$cache/qemu/usr/share/seabios")
  "${qemu[@]}" --version >/dev/null || die "needs QEMU 8.1 or newer"
}

# The kernel as an ELF file, which boots a second sooner than when it unpacks itself.
unpack_kernel() { # BZIMAGE FILE
  local sectors offset length
  sectors=$(od -An -tu1 -j497 -N1 "$1")
  read -r offset length < <(od -An -tu4 -j584 -N8 "$1")
  offset=$(((sectors + 1) * 512 + offset))
  dd if="$1" iflag=skip_bytes,count_bytes skip=$offset count=$((length - 4)) bs=1M status=none >"$work/packed"
  case $(od -An -tx1 -N4 "$work/packed" | tr -d ' ') in
    28b52ffd) zstd -dcq "$work/packed" ;;
    fd377a58) xz -dcq --single-stream "$work/packed" ;;
    02214c18) lz4 -dc "$work/packed" ;;
    *) gzip -dc "$work/packed" ;;
  esac >"$2"
}

fetch_kernel() { # SERIES: leaves kernel, modules.img, initramfs and release in the cache
  local release packages modules module dependency name into=$work/kernel
  [ "$(cat "$cache/$1/format" 2>/dev/null)" != $FORMAT ] || return 0
  update
  # From 6.19 on a package of each release has the kernel, and another one its modules, which the archive forgets first.
  release=$(apt-cache "${apt[@]}" search --names-only "^linux-(image|modules)-${1//./\\.}[.+-].*-cloud-amd64\$" |
    sed -nE 's/^linux-(image|modules)-([0-9][^ ]*-cloud-amd64) .*/\2/p' | sort -V | tail -1)
  [ -n "$release" ] || die "Debian has no kernel $1"
  packages=$(apt-cache "${apt[@]}" pkgnames linux- | grep -xE "linux-(image|binary|modules)-${release//+/\\+}")
  note "fetching Linux $release"
  # shellcheck disable=SC2086
  download $packages
  modules=$(find "$work/tree" -type d -path "*/lib/modules/$release")
  rm -rf "$into" "$work/lib" "$work/initramfs"
  mkdir -p "$into" "$work/lib/modules" "$work/initramfs"/{bin,dev,proc,sys,modules}
  unpack_kernel "$(find "$work/tree" -name "vmlinuz*" | head -1)" "$into/kernel"
  find "$modules" -name '*.xz' -print0 | xargs -0r -P2 -n64 xz -d
  mv "$modules" "$work/lib/modules/"
  modules=$work/lib/modules/$release
  busybox depmod -b "$work" "$release"
  cp "$(find "$work/tree" -name "config-$release" | head -1)" "$modules/config" 2>/dev/null || true
  image "$work/lib/modules" "$into/modules.img" 8
  for module in virtio_pci virtio_blk virtio_console crc32c_generic ext4; do
    for dependency in $(sed -nE "s#^([^:]*/)?(${module}\.ko):#\1\2 #p" "$modules/modules.dep" | tr ' ' '\n' | tac); do
      name=${dependency##*/}
      [ ! -f "$work/initramfs/modules/$name" ] || continue
      cp "$modules/$dependency" "$work/initramfs/modules/$name"
      echo "$name" >>"$work/initramfs/modules/order"
    done
  done
  cp "$(command -v busybox)" "$work/initramfs/bin/busybox"
  (cd "$work/initramfs" && find . | cpio -o -H newc --quiet -R 0:0) >"$into/initramfs"
  echo "$release" >"$into/release"
  echo $FORMAT >"$into/format"
  rm -rf "${cache:?}/$1" "$cache/apt/cache/archives"/*.deb
  mv "$into" "$cache/$1"
}

copy_program() { # PATH TREE: with the libraries it needs, at their paths
  local file
  for file in "$1" $(ldd "$1" 2>/dev/null | grep -oE '/[^ ]+'); do
    [ -e "$2$file" ] || { mkdir -p "$2${file%/*}" && cp -L --preserve=mode,timestamps "$file" "$2$file"; }
  done
}

fetch_programs() { # leaves programs.img in the cache: made again when one of the programs changed
  local name path key tree=$work/programs newer
  newer=$("$root/scripts/debian-tools.sh" --path)
  key=$(for name in node bash busybox ip tc bpftool; do
    path=$(command -v "$name") || die "needs $name"
    stat -Lc '%n %s %Y' "$path"
  done; ls -d "$newer"/trees/bpftool 2>/dev/null || true)
  key="$FORMAT $(sha256sum <<<"$key")"
  [ "$(cat "$cache/programs.key" 2>/dev/null)" != "$key" ] || return 0
  note "packing the programs"
  mkdir -p "$tree"/usr/{bin,lib,lib64} "$tree"/{dev,etc,home,mnt,proc,root,run,sys,tmp,usr/lib/modules,var/tmp}
  for name in bin sbin lib lib64; do ln -s "usr/$name" "$tree/$name"; done
  ln -s bin "$tree/usr/sbin"
  cp "$(command -v busybox)" "$tree/usr/bin/busybox"
  for name in $(busybox --list); do [ "$name" = busybox ] || ln -s busybox "$tree/usr/bin/$name"; done
  for name in node bash ip tc bpftool; do
    path=$(command -v "$name")
    rm -f "$tree/usr/bin/$name"
    copy_program "$path" "$tree"
  done
  # Tests that start another program want one with the C library, which busybox has in itself.
  rm -f "$tree/usr/bin/true" && copy_program /usr/bin/true "$tree"
  # The kernel's tracepoints and links of today are only known to a bpftool of today.
  if [ -d "$newer/trees/bpftool" ]; then
    mkdir -p "$tree$newer"/{bin,trees} && cp "$newer/bin/bpftool" "$tree$newer/bin/" && cp -a "$newer/trees/bpftool" "$tree$newer/trees/"
  fi
  printf 'root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534:nobody:/:/bin/false\n' >"$tree/etc/passwd"
  printf 'root:x:0:\nnogroup:x:65534:\n' >"$tree/etc/group"
  printf '127.0.0.1 localhost\n' >"$tree/etc/hosts"
  cp /etc/ld.so.conf "$tree/etc/" && cp -r /etc/ld.so.conf.d "$tree/etc/" && ldconfig -r "$tree"
  image "$tree" "$work/programs.img" 64
  mv "$work/programs.img" "$cache/programs.img"
  echo "$key" >"$cache/programs.key"
  rm -rf "$tree"
}

pack_project() { # leaves project.img
  local tree=$work/project name
  mkdir -p "$tree/node_modules"
  (cd "$root" && cp -a package.json .build test scripts src "$tree/")
  for name in koffi @koromix uvu dequal diff kleur mri sade fast-check pure-rand; do
    cp -aL "$root/node_modules/$name" "$tree/node_modules/$name"
  done
  image "$tree" "$work/project.img" 128
  rm -rf "$tree"
}

run() { # SERIES COMMAND...
  local kernel=$cache/$1 name status
  shift
  emulator
  mkdir -p "$work/boot"/{conf,disk}
  {
    echo "project='$root'"
    for name in RAWBPF_TEST_LONG RAWBPF_KERNEL; do
      [ -z "${!name+set}" ] || printf 'export %s=%q\n' "$name" "${!name}"
    done
    printf 'command=%q\n' "$(printf '%q ' "$@")"
  } >"$work/boot/conf/conf"
  cp "$root/scripts/kernels/start.sh" "$work/boot/conf/"
  install -m 755 "$root/scripts/kernels/init.sh" "$work/boot/init"
  (cd "$work/boot" && find . | cpio -o -H newc --quiet -R 0:0) | cat "$kernel/initramfs" - >"$work/initrd"
  # What QEMU opens as its stdout must be a pipe: `cat`. It is not told of the rest of the world: no network, no monitor.
  timeout --foreground --kill-after=5 "$seconds" "${qemu[@]}" -accel tcg,thread=single -M pc -cpu max,la57=off -smp 2 -m 1024 \
    -nodefaults -no-user-config -display none -monitor none -no-reboot -serial "file:$work/console" \
    -kernel "$kernel/kernel" -initrd "$work/initrd" -append "console=ttyS0 quiet loglevel=4 panic=-1 oops=panic" \
    -device virtio-serial-pci \
    -chardev file,id=output,path=/dev/fd/1 -device virtserialport,chardev=output,name=output \
    -chardev "file,id=status,path=$work/status" -device virtserialport,chardev=status,name=status \
    -drive "file=$cache/programs.img,format=raw,if=virtio,snapshot=on" \
    -drive "file=$kernel/modules.img,format=raw,if=virtio,readonly=on" \
    -drive "file=$work/project.img,format=raw,if=virtio,snapshot=on" </dev/null 2>"$work/errors" | cat || true
  status=$(cat "$work/status" 2>/dev/null || true)
  if [ -n "$status" ]; then return "$status"; fi
  tail -n 40 "$work/console" | tr -d '\r' >&2
  cat "$work/errors" >&2
  if [ $((SECONDS - started)) -ge "$seconds" ]; then note "ended after $seconds s"; return 124; fi
  note "the machine died"
  return 125
}

for program in apt-get apt-cache dpkg-deb busybox cpio mkfs.ext4 xz zstd; do
  command -v $program >/dev/null || die "needs $program (Debian packages: qemu-system-x86 busybox-static cpio e2fsprogs xz-utils zstd)"
done
seconds=900
case ${1-} in
  --fetch)
    shift
    for series; do locked fetch_kernel "$series"; echo "$series $(cat "$cache/$series/release")"; done
    locked fetch_programs
    emulator
    exit ;;
  --seconds) seconds=$2; shift 2 ;;
  '' | -*) sed -n '2,/^set -/{/^set -/d;s/^# \{0,1\}//;p}' "$0"; exit 126 ;;
esac
[ $# -ge 2 ] || die "usage: scripts/kernels/vm.sh [--seconds N] KERNEL COMMAND [ARGUMENT...]"
locked fetch_kernel "$1"
locked fetch_programs
pack_project
started=$SECONDS
run "$@"
