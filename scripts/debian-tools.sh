#!/bin/bash
# Newer Debian tools than this machine's suite has, for differential tests and benchmarks: unpacked into a cache
# directory of their own and never installed. Needs apt and dpkg, but neither root nor a chroot.
#
#   scripts/debian-tools.sh [--refresh] [GROUP...]     fetch groups that are not cached (default: llvm bpftool libbpf)
#   scripts/debian-tools.sh --path                     print the cache directory and do nothing
#
#   llvm      clang, llvm-mc, llvm-objdump, llvm-strip, lld and the rest of LLVM 22 or 21 (at least 19)
#   bpftool   bpftool 7.8 (at least 7.5)
#   libbpf    libbpf 1.7 (at least 1.5), static and shared, with headers; `libbpf-cc` compiles against it
#   go        Go with github.com/cilium/ebpf and what it imports; builds offline
#   pahole    pahole
#   binutils  bpf-as, bpf-objdump and the rest of GNU binutils for BPF (at least 2.42)
#   objects   packages whose programs have BPF objects inside: nothing to start, but to be read by tests
#
# BIN in the cache directory holds a start script for each program. It runs the program through the dynamic loader and
# the libraries of its own tree, because the programs need a newer C library than an older Debian has; paths on this
# machine mean the same to them as to any program.
#
# The packages come from the mirror which this machine's apt uses already, out of newer suites, through an apt
# configuration and package lists of their own. A group that is there is used offline and as it is; --refresh fetches
# it again. Several runs at once wait for one another.
#
#   RAWBPF_TOOLS          cache directory; default: .cache/tools of this repository, or /var/cache/rawbpf-tools when
#                         only that exists
#   RAWBPF_TOOLS_MIRROR   Debian mirror; default: the one of this machine's apt
set -euo pipefail
umask 022
export LC_ALL=C

FORMAT=1 # raise when the layout of the cache changes
root=$(cd "$(dirname "$0")/.." && pwd)
shared=/var/cache/rawbpf-tools
if [ -n "${RAWBPF_TOOLS-}" ]; then cache=$RAWBPF_TOOLS
elif [ ! -d "$root/.cache/tools" ] && [ -d "$shared" ]; then cache=$shared
else cache=$root/.cache/tools
fi

die() { echo "debian-tools: $*" >&2; exit 1; }
note() { echo "debian-tools: $*" >&2; }

groups=() refresh=
for word in "$@"; do
  case $word in
    llvm | bpftool | libbpf | go | pahole | binutils | objects) groups+=("$word") ;;
    --refresh) refresh=1 ;;
    --path) echo "$cache"; exit 0 ;;
    -h | --help) sed -n '2,/^set -/{/^set -/d;s/^# \{0,1\}//;p}' "$0"; exit 0 ;;
    *) die "unknown group $word (llvm bpftool libbpf go pahole binutils objects)" ;;
  esac
done
[ ${#groups[@]} -gt 0 ] || groups=(llvm bpftool libbpf)

mkdir -p "$cache/bin" "$cache/trees" || die "cannot write $cache"
cache=$(cd "$cache" && pwd -P)

# Each line: a suite, then packages. The first line that the archive can satisfy whole is taken.
candidates() {
  case $1 in
    llvm)
      for suite in trixie-backports sid; do
        for version in 22 21 19; do echo "$suite llvm-$version clang-$version lld-$version"; done
      done ;;
    bpftool) printf '%s bpftool\n' trixie-backports sid trixie ;;
    libbpf) printf '%s libbpf-dev libelf-dev zlib1g-dev libzstd-dev libc6-dev linux-libc-dev\n' sid trixie ;;
    go) printf '%s golang-go golang-github-cilium-ebpf-dev\n' sid trixie ;;
    pahole) printf '%s pahole\n' sid trixie ;;
    binutils) printf '%s binutils-bpf\n' sid trixie ;;
    objects) printf '%s libbpf-tools xdp-tools xdp-tests libxdp1 libxdp-dev bpftune libbpftune0 systemd linux-perf rtla bpfilter libbpfilter0 ir-keytable udev-hid-bpf opensnitch-ebpf-modules\n' sid ;;
  esac
}

# What the tools never open: sanitizers, other languages' libraries, documentation.
unneeded='^(lib(a|l|t|ub|hwa)san[0-9]*|libobjc.*|libgc1|libitm1|libgomp1|libquadmath0|libgprofng0|libjs-.*|rpcsvc-proto|golang-golang-x-tools)$'

apt_options() { # SUITE: sets apt=(...) for the suites that go with it
  local state=$cache/apt/${1%%-*}
  apt=(-o Dir::Etc::sourcelist="$state/sources.list" -o Dir::Etc::sourceparts=/dev/null -o Dir::Etc::preferences=/dev/null
    -o Dir::Etc::preferencesparts=/dev/null -o Dir::State::Lists="$state/lists" -o Dir::Cache="$state/cache"
    -o Dir::State::status=/dev/null -o Dir::State::extended_states="$state/extended_states" -o Dir::Log=/dev/null
    -o Acquire::Languages=none -o Acquire::GzipIndexes=true -o Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled=false
    -o Acquire::Retries=3 -o APT::Sandbox::User= -o APT::Install-Recommends=false -o APT::Default-Release="$1")
}

update() { # SUITE [force]: fresh package lists, once a day
  local state=$cache/apt/${1%%-*} mirror key=/usr/share/keyrings/debian-archive-keyring.gpg suite suites
  if [ -z "${2-}" ] && [ -n "$(find "$state/stamp" -mtime -1 2>/dev/null)" ]; then return 0; fi
  for program in apt-get apt-cache dpkg-deb; do
    command -v "$program" >/dev/null || die "needs $program: these tools come from Debian packages"
  done
  mirror=${RAWBPF_TOOLS_MIRROR-}
  [ -n "$mirror" ] || mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -E '/debian/?$' | head -1) || true
  # A minimal system has sources but no lists yet, and then no index targets.
  [ -n "$mirror" ] || mirror=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null | sed 's/#.*//' |
    grep -oE '[a-z+]+://[^] ]+/debian/?( |$)' | tr -d ' ' | head -1) || true
  [ -n "$mirror" ] || die "no Debian mirror in this machine's apt configuration; set RAWBPF_TOOLS_MIRROR"
  [ -f "$key" ] || die "needs $key (package debian-archive-keyring)"
  mkdir -p "$state/lists/partial" "$state/cache/archives/partial"
  case $1 in sid) suites=sid ;; *) suites="trixie trixie-backports" ;; esac
  for suite in $suites; do echo "deb [signed-by=$key] ${mirror%/} $suite main"; done >"$state/sources.list"
  note "reading the package lists of $suites"
  timeout 300 apt-get "${apt[@]}" -qq update >&2 || die "cannot read the package lists of $suites: is the network there?"
  touch "$state/stamp"
}

fetch() { # GROUP: leaves trees/GROUP
  local group=$1 suite packages line closure= new
  while read -r suite packages; do
    apt_options "$suite"
    update "$suite"
    # shellcheck disable=SC2086
    if [ "$group" = objects ]; then # without what they depend on
      closure=$(apt-cache "${apt[@]}" show --no-all-versions $packages 2>/dev/null |
        sed -nE '/^Package: /{s///;h};/^Version: /{s//=/;H;x;s/\n//p}')
    elif line=$(apt-get "${apt[@]}" -s install $packages 2>/dev/null); then
      closure=$(sed -nE 's/^Inst ([^ ]+) \(([^ ]+) .*/\1 \2/p' <<<"$line" |
        while read -r name version; do [[ $name =~ $unneeded ]] || echo "$name=$version"; done)
    fi
    [ -z "$closure" ] || break
  done < <(candidates "$group")
  [ -n "$closure" ] || die "no suite has what $group needs"
  new=$(mktemp -d "$cache/new.XXXXXX")
  # shellcheck disable=SC2064
  trap "rm -rf '$new'" EXIT
  mkdir -p "$new/deb" "$new/tree/usr/"{bin,sbin,lib,lib64}
  for part in bin sbin lib lib64; do ln -s "usr/$part" "$new/tree/$part"; done
  note "$group: ${packages%% *} from $suite, $(wc -l <<<"$closure") packages"
  # shellcheck disable=SC2086
  if ! (cd "$new/deb" && timeout 900 apt-get "${apt[@]}" -qq download $closure >&2); then
    # The archive may have moved on since the lists were read.
    rm -rf "$new"; trap - EXIT
    [ -z "${2-}" ] || die "cannot download the packages of $group"
    update "$suite" force
    fetch "$group" again
    return
  fi
  for package in "$new"/deb/*.deb; do dpkg-deb -x "$package" "$new/tree"; done
  # An absolute link would lead out of the tree.
  find "$new/tree" -type l -lname '/*' | while read -r link; do
    ln -sfnr "$new/tree$(readlink "$link")" "$link"
  done
  rm -rf "$new/tree/usr/share/"{doc,man,locale,lintian,bash-completion}
  { echo "suite $suite"; tr '=' ' ' <<<"$closure"; } >"$new/tree/packages"
  echo "$FORMAT" >"$new/tree/format"
  rm -rf "$cache/trees/$group"
  mv "$new/tree" "$cache/trees/$group"
  rm -rf "$new" "$cache/apt/${suite%%-*}/cache/archives"
  trap - EXIT
}

start_script() { # NAME LINE...: a program in bin/ which exists from one moment to the next
  local name=$1
  shift
  printf '%s\n' '#!/bin/sh' '# Made by scripts/debian-tools.sh.' "$@" >"$cache/bin/.$name.$$"
  chmod 755 "$cache/bin/.$name.$$"
  mv "$cache/bin/.$name.$$" "$cache/bin/$name"
}

through_loader() { # PROGRAM NAME: the command that starts it, quoted for sh
  printf "%s --library-path %s --argv0 %s %s" "'$loader'" "'$libraries'" "'$2'" "'$1'"
}

make_starts() { # GROUP
  [ "$1" != objects ] || return 0
  local tree=$cache/trees/$1 program name
  loader=$(find "$tree/usr/lib" "$tree/usr/lib64" -maxdepth 2 -name 'ld-linux*.so.*' | head -1)
  libraries=$(dirname "$(find "$tree/usr/lib" -maxdepth 2 -name 'libc.so.6' | head -1)")
  [ -n "$loader" ] || die "no dynamic loader in $tree"
  case $1 in
    llvm)
      local home resource
      home=$(find "$tree/usr/lib" -maxdepth 1 -name 'llvm-*' | sort -V | tail -1)
      resource=$(find "$home/lib/clang" -maxdepth 1 -mindepth 1 | sort -V | tail -1)
      libraries=$libraries:$home/lib
      for program in "$home"/bin/*; do
        name=${program##*/}
        [ -f "$program" ] && [ "$(head -c 4 "$program" | tr -d '\0')" = $'\177ELF' ] || continue
        case $name in
          clang | clang++ | clang-cpp)
            # For several jobs clang starts itself again as -cc1, by the path we give it here.
            start_script "$name" \
              "[ \"\$1\" != -cc1 ] || exec $(through_loader "$program" "$cache/bin/$name") \"\$@\"" \
              "exec $(through_loader "$program" "$cache/bin/$name") -no-canonical-prefixes -resource-dir '$resource' \"\$@\"" ;;
          *) start_script "$name" "exec $(through_loader "$program" "$name") \"\$@\"" ;;
        esac
      done ;;
    bpftool | pahole)
      program=$(find "$tree/usr/sbin" "$tree/usr/bin" -name "$1" | head -1)
      start_script "$1" "exec $(through_loader "$program" "$1") \"\$@\"" ;;
    binutils)
      for program in "$tree"/usr/bin/bpf-*; do
        start_script "${program##*/}" "exec $(through_loader "$program" "${program##*/}") \"\$@\""
      done ;;
    libbpf)
      # A program linked with this starts by itself: it names the loader and the libraries of the tree.
      start_script libbpf-cc \
        "exec \"\${CC:-cc}\" --sysroot='$tree' -B'$libraries/' -L'$libraries' -Wl,--dynamic-linker='$loader' -Wl,--disable-new-dtags -Wl,-rpath,'$libraries' \"\$@\"" ;;
    go)
      local home
      home=$(find "$tree/usr/lib" -maxdepth 1 -name 'go-*' | sort -V | tail -1)
      start_script go \
        "export GOROOT='$home' GOPATH='$tree/usr/share/gocode' GO111MODULE=off GOTOOLCHAIN=local GOFLAGS= GOPROXY=off" \
        "export CGO_ENABLED=0 GOCACHE=\"\${GOCACHE:-$cache/go-build}\"" \
        "exec $(through_loader "$home/bin/go" "$home/bin/go") \"\$@\"" ;;
  esac
}

exec 9>"$cache/lock"
flock 9
for group in "${groups[@]}"; do
  if [ -n "$refresh" ] || [ "$(cat "$cache/trees/$group/format" 2>/dev/null)" != "$FORMAT" ]; then fetch "$group"; fi
  # Always: the cache may have been moved, or an older script have made them.
  make_starts "$group"
done

echo "cache $cache"
for group in "${groups[@]}"; do
  case $group in
    llvm) for name in clang llvm-mc llvm-objdump; do echo "$name $("$cache/bin/$name" --version | grep -m1 -oE 'version [0-9.]+' | cut -d' ' -f2)"; done ;;
    bpftool) "$cache/bin/bpftool" version | sed -n '1s/ v/ /p' ;;
    libbpf) sed -n 's/^libbpf-dev \([0-9]*:\)*\([0-9.]*\).*/libbpf \2/p' "$cache/trees/libbpf/packages" ;;
    go) "$cache/bin/go" version | cut -d' ' -f3 | sed 's/^go/go /'
      sed -n 's/^golang-github-cilium-ebpf-dev \([0-9]*:\)*\([0-9.]*\).*/cilium-ebpf \2/p' "$cache/trees/go/packages" ;;
    objects) echo "objects $(grep -vc "^suite " "$cache/trees/objects/packages") packages" ;;
    binutils) "$cache/bin/bpf-as" --version | sed -nE '1s/.* ([0-9.]+)$/binutils \1/p' ;;
    pahole) echo "pahole $("$cache/bin/pahole" --version | tr -d v)" ;;
  esac
done
