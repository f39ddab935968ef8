#!/usr/bin/env bash
# Builds the fuzzer of the kernels: build.sh OUTPUT COMPILER [FLAGS...]
set -euo pipefail
output=$1 compiler=$2
shift 2
here=$(cd "$(dirname "$0")" && pwd)
native=$here/../../native
folder=$output.objects
mkdir -p "$folder"
flags=(-std=c++20 -ffp-contract=off -Wall -Wextra -Wno-psabi -I "$native" "$@")
kernel() { "$compiler" "${flags[@]}" -DTHROUGHTIME_ISA="$1" "${@:2}" -c "$native/sequence.cpp" -o "$folder/$1.o"; }
if "$compiler" -dumpmachine | grep -q '^x86_64'; then
  kernel baseline
  kernel avx2 -mavx2 -mfma
  kernel avx512 -mavx512f -mavx512dq -mavx512bw -mavx512vl -mfma
else
  kernel neon
fi
"$compiler" "${flags[@]}" "$here/fuzz.cpp" "$native/dispatch.cpp" "$native/threads.cpp" \
  "$folder"/*.o -pthread -o "$output"
