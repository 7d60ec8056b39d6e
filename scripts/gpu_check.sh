#!/usr/bin/env bash
# Every check that needs an NVIDIA GPU, in at most ten minutes, as one table: each test of test_gpu
# in a process of its own (what one does to the device is not the next one's), then some of them under
# NVIDIA's memory checker and race checker.
#
# usage: gpu_check.sh [TABLE]     beside it: test_gpu, corten, libcorten_cuda.so, gpu_table.awk
# Environment: GPU_CHECK_PROGRAMS (where the programs are), GPU_CHECK_SECONDS (of all tests, 360),
# GPU_CHECK_CHECKER_SECONDS (of each checker, 110).
#
# Exit code: 0 if no test failed; a test that a missing library lets be is skipped and no failure. 1
# if one failed, or if there is no GPU.
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
programs=${GPU_CHECK_PROGRAMS:-$here/bin}
table=${1:-gpu-check.md}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export CORTEN_CUDA_PLUGIN=$programs/libcorten_cuda.so
[[ -n ${HOME:-} ]] || export HOME=$work  # where caches go

# In a bundle the programs' libraries are beside them; the system's C library is the one to use, as
# the driver does, unless it is too old for them.
start=()
if [[ -d $here/lib ]]; then
  export LD_LIBRARY_PATH=$here/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
  if ! "$programs/corten" --version >/dev/null 2>&1; then
    export LD_LIBRARY_PATH=$here/glibc:$LD_LIBRARY_PATH
    start=("$here/glibc/ld-linux-x86-64.so.2" --library-path "$LD_LIBRARY_PATH")
  fi
fi

failed=0
row() { printf '| %-58s | %s |\n' "$1" "$2" >>"$table"; }

# execute SECONDS FILTER COMMAND...: runs tests, under a command if there is one. What they print goes to
# $work/log, their report to $work/report.xml, what they measure to $work/figures.
execute() {
  local seconds=$1 filter=$2
  shift 2
  rm -f "$work/report.xml" "$work/figures"
  CORTEN_GPU_TABLE=$work/figures timeout -k 5 "$seconds" "$@" "${start[@]}" "$programs/test_gpu" \
    --gtest_filter="$filter" --gtest_output="xml:$work/report.xml" >"$work/log" 2>&1 </dev/null
}

# What a process said last, in a row of the table.
last_words() { tail -n 1 "$work/log" | tr '|\t' '/ ' | cut -c 1-200 | sed 's/ *$//'; }

# Rows of a test: its result, and what it measured.
check() {
  local name=$1 seconds=$2 status=0
  execute "$seconds" "$name" || status=$?
  if [[ ! -s $work/report.xml ]]; then
    failed=1
    if ((status == 124 || status == 137)); then
      row "$name" "FAILED: not done after $seconds s"
    else
      row "$name" "FAILED: ended with code $status: $(last_words)"
    fi
  else
    awk -f "$here/gpu_table.awk" "$work/report.xml" >>"$table" || failed=1
    if ((status)) && ! grep -q '<failure ' "$work/report.xml"; then
      failed=1
      row "$name" "FAILED: ended with code $status: $(last_words)"
    fi
  fi
  [[ ! -s $work/figures ]] || sed 's/^| \(.*\) *|/| - \1|/; s/^\(| - .\{57\}\)  /\1/' "$work/figures" >>"$table"
}

find_sanitizer() {
  local home
  command -v compute-sanitizer && return
  for home in "${CUDA_HOME:-}" "${CUDA_PATH:-}" /usr/local/cuda; do
    [[ -n $home ]] || continue
    for place in "$home/bin" "$home/compute-sanitizer"; do
      [[ -x $place/compute-sanitizer ]] && printf '%s\n' "$place/compute-sanitizer" && return
    done
  done
  return 1
}

# checker NAME TOOL FLAG...: kernels of all kinds, few of each, under a tool of compute-sanitizer.
checker() {
  local name=$1 tool=$2 sanitizer status=0 seconds=${GPU_CHECK_CHECKER_SECONDS:-110} found
  shift 2
  if ! sanitizer=$(find_sanitizer); then
    row "$name" "skipped: compute-sanitizer was not found; install the CUDA toolkit's package \
cuda-sanitizer-13-0 (or of another version), or set CUDA_HOME"
    return
  fi
  CORTEN_FUZZ_SEEDS=12 execute "$seconds" \
    'Gpu.Random*:Gpu.Attention:Gpu.Gpt2Kernels:Gpu.LlamaKernels' \
    "$sanitizer" --tool "$tool" --error-exitcode 9 --log-file "$work/sanitizer" "$@" || status=$?
  found=$(grep -E '^=========+ +(Invalid|Program hit|Error:|Warning:.*[Hh]azard|.*ERROR SUMMARY: [1-9]|RACECHECK SUMMARY: [1-9])' \
    "$work/sanitizer" 2>/dev/null | head -n 1 | tr '|' '/' | cut -c 1-200)
  if [[ -n $found ]]; then
    failed=1
    row "$name" "FAILED: $found"
    cp "$work/sanitizer" "${table%.md}-$tool.log"
  elif ((status == 124 || status == 137)); then
    row "$name" "nothing found in $seconds s, not all was executed"
  elif [[ ! -s $work/report.xml ]]; then
    failed=1
    row "$name" "FAILED: ended with code $status: $(last_words)"
  elif ! awk -f "$here/gpu_table.awk" "$work/report.xml" >"$work/rows"; then
    failed=1
    row "$name" "FAILED: $(grep -m 1 FAILED "$work/rows" | tr '|' ' ')"
  elif grep -q '| skipped: ' "$work/rows"; then
    row "$name" "$(grep -m 1 -o 'skipped: [^|]*' "$work/rows")"
  elif ((status)); then
    failed=1
    row "$name" "FAILED: ended with code $status: $(last_words)"
  else
    row "$name" "nothing found in $(wc -l <"$work/rows") tests"
  fi
}

rm -f "$table"
if [[ ! -x $programs/test_gpu ]]; then
  printf 'gpu-check: there is no %s\n' "$programs/test_gpu" >&2
  exit 1
fi
# Whether there is a GPU at all.
execute 60 Gpu.IsDescribed
if [[ ! -s $work/report.xml ]]; then
  printf 'gpu-check: test_gpu does not start: %s\n' "$(last_words)" >&2
  exit 1
fi
awk -f "$here/gpu_table.awk" "$work/report.xml" >"$work/rows"
if grep -q '| skipped: ' "$work/rows"; then
  printf 'gpu-check: no GPU was used: %s\n' "$(sed -n 's/.*| skipped: \(.*\) |$/\1/p' "$work/rows")" >&2
  exit 1
fi
printf '| %-58s | result |\n|---|---|\n' 'check' >"$table"
end=$((SECONDS + ${GPU_CHECK_SECONDS:-360}))
mapfile -t names < <("${start[@]}" "$programs/test_gpu" --gtest_list_tests --gtest_filter='Gpu.*' |
  sed -n 's/^  \([A-Za-z0-9_]*\).*/Gpu.\1/p')
for name in "${names[@]}"; do
  left=$((end - SECONDS))
  if ((left < 5)); then
    failed=1
    row "$name" "FAILED: no time was left"
    continue
  fi
  check "$name" "$((left < 150 ? left : 150))"
done
checker 'memory checker' memcheck
checker 'race checker' racecheck --racecheck-report all
cat "$table"
exit "$failed"
