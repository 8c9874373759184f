#!/bin/bash
# Compiles the fixtures: each test/fixtures/NAME.c into NAME.el.o and NAME.eb.o, little- and big-endian, with BTF and
# without DWARF. They are committed, so that tests need no compiler; a test compiles them again where there is one and
# compares. Takes clang and llvm-strip from the cache of scripts/debian-tools.sh.
#
#   scripts/build-fixtures.sh [--to DIRECTORY] [NAME...]
#
# A first line `// clang: FLAGS` in a source adds flags.
set -euo pipefail
export LC_ALL=C
cd "$(dirname "$0")/.."
fixtures=$PWD/test/fixtures
to=$fixtures
if [ "${1-}" = --to ]; then
  mkdir -p "$2"
  to=$(cd "$2" && pwd)
  shift 2
fi
bin=$(scripts/debian-tools.sh --path)/bin
[ -x "$bin/clang" ] || { echo "build-fixtures: no clang in $bin: run scripts/debian-tools.sh llvm" >&2; exit 1; }

cd "$fixtures"
if [ $# -eq 0 ]; then
  for source in *.c; do set -- "$@" "${source%.c}"; done
fi
for name in "$@"; do
  read -ra flags <<<"$(sed -nE '1s|^// clang: ||p' "$name.c")"
  for order in el eb; do
    object=$to/$name.$order.o
    # No path of this machine may get into the object.
    "$bin/clang" -target "bpf$order" -mcpu=v3 -O2 -g -Wall -Wno-unused -Wno-incompatible-pointer-types \
      -Wno-visibility -fno-ident -fdebug-compilation-dir=. "${flags[@]}" -c "$name.c" -o "$object"
    "$bin/llvm-strip" -g "$object"
  done
done
