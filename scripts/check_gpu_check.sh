#!/usr/bin/env bash
# Checks scripts/gpu_check.sh without a GPU: with programs in the place of test_gpu and of NVIDIA's
# checker that write the reports of a card that is well, of one that is not, and of none.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/bin" "$work/tools"

# test_gpu: SCENARIO says what becomes of Gpu.Second.
cat >"$work/bin/test_gpu" <<'PROGRAM'
#!/usr/bin/env bash
for word in "$@"; do
  case $word in
    --gtest_list_tests) printf 'Gpu.\n  IsDescribed\n  Second\n  Collectives\n'; exit ;;
    --gtest_filter=*) filter=${word#*=} ;;
    --gtest_output=xml:*) report=${word#*xml:} ;;
  esac
done
begin() {
  printf '<?xml version="1.0" encoding="UTF-8"?>\n<testsuites tests="1" failures="0">\n'
  printf '  <testsuite name="Gpu" tests="1">\n'
}
case_of() {
  printf '    <testcase name="%s" file="a.cpp" line="9" status="run" result="%s" time="1.25" timestamp="2026-01-01T00:00:00.000" classname="Gpu"' "$1" "$2"
}
skip() { case_of "$1" skipped; printf '>\n      <skipped message="tests/gpu/a.cpp:9&#x0A;%s"><![CDATA[x]]></skipped>\n    </testcase>\n' "$2"; }
end() { printf '  </testsuite>\n</testsuites>\n'; }
echo "$filter" >>"$0.log"
code=0
{
  begin
  case $filter in
    Gpu.IsDescribed)
      if [[ $SCENARIO == none ]]; then skip IsDescribed 'no CUDA driver: install &lt;it&gt;'
      else case_of IsDescribed completed; echo ' />'; [[ -z ${CORTEN_GPU_TABLE:-} ]] || printf '| %-58s | %s |\n' device 'a card, sm_90' >>"$CORTEN_GPU_TABLE"; fi ;;
    Gpu.Second)
      case $SCENARIO in
        fails)
          case_of Second completed
          printf '>\n      <failure message="tests/gpu/a.cpp:12&#x0A;Expected: 1 | 2&#x0A;" type=""><![CDATA[x]]></failure>\n      <failure message="more" type=""><![CDATA[y]]></failure>\n    </testcase>\n'
          code=1 ;;
        crashes) rm -f "$report"; echo 'cuLaunchKernel: CUDA_ERROR_ILLEGAL_ADDRESS' >&2; exit 134 ;;
        hangs) sleep 30 ;;
        *) case_of Second completed; echo ' />' ;;
      esac ;;
    Gpu.Collectives) skip Collectives 'no NCCL: libnccl.so.2 was not found' ;;
    *) for name in RandomRows Attention; do case_of $name completed; echo ' />'; done ;;
  esac
  end
} >"$report.part"
mv "$report.part" "$report"
exit $code
PROGRAM
# compute-sanitizer: HAZARD is what its log says.
cat >"$work/tools/compute-sanitizer" <<'PROGRAM'
#!/usr/bin/env bash
while [[ $1 == --* ]]; do
  case $1 in
    --tool | --error-exitcode | --racecheck-report) shift ;;
    --log-file) log=$2; shift ;;
  esac
  shift
done
printf '========= COMPUTE-SANITIZER\n' >"$log"
"$@" || exit
[[ -z ${HAZARD:-} ]] || { printf '========= %s\n' "$HAZARD" >>"$log"; exit 9; }
printf '========= ERROR SUMMARY: 0 errors\n' >>"$log"
PROGRAM
chmod +x "$work/bin/test_gpu" "$work/tools/compute-sanitizer"

failed=0
# expect CODE SCENARIO PATTERN...: the exit code, and lines that the table (or what is printed) has.
expect() {
  local code=$1 scenario=$2 status=0 pattern
  shift 2
  printf 'old\n' >"$work/table.md"
  SCENARIO=$scenario GPU_CHECK_PROGRAMS=$work/bin "$here/gpu_check.sh" "$work/table.md" \
    >"$work/out" 2>&1 || status=$?
  [[ $status == "$code" ]] || { echo "$scenario: exit code $status instead of $code"; failed=1; }
  if grep -qx old "$work/out" "$work/table.md" 2>/dev/null; then
    echo "$scenario: an old table is left"
    failed=1
  fi
  for pattern in "$@"; do
    grep -qE "$pattern" "$work/out" || {
      echo "$scenario: no line matches: $pattern"
      cat "$work/out"
      failed=1
    }
  done
}
path=$PATH
export PATH=$work/tools:$path
expect 1 none '^gpu-check: no GPU was used: no CUDA driver: install <it>$'
[[ ! -e $work/table.md ]] || { echo 'a table of no GPU'; failed=1; }
expect 0 well '^\| Gpu.IsDescribed +\| passed, 1.2 s \|$' '^\| - device +\| a card, sm_90 \|$' \
  '^\| Gpu.Second +\| passed' \
  '^\| Gpu.Collectives +\| skipped: no NCCL: libnccl.so.2 was not found \|$' \
  '^\| memory checker +\| nothing found in 2 tests \|$' '^\| race checker +\| nothing found in 2 tests \|$'
expect 1 fails '^\| Gpu.Second +\| FAILED: a.cpp:12 Expected: 1 / 2 \|$' '^\| Gpu.Collectives +\| skipped' \
  '^\| race checker'
expect 1 crashes '^\| Gpu.Second +\| FAILED: ended with code 134: cuLaunchKernel: CUDA_ERROR_ILLEGAL_ADDRESS \|$' \
  '^\| Gpu.Collectives +\| skipped'
GPU_CHECK_SECONDS=6 expect 1 hangs '^\| Gpu.Second +\| FAILED: not done after [0-9]+ s \|$' \
  '^\| Gpu.Collectives +\| (skipped|FAILED: no time was left)'
HAZARD='Invalid __global__ read of size 4 bytes' \
  expect 1 well '^\| memory checker +\| FAILED: ========= Invalid __global__ read of size 4 bytes \|$'
HAZARD='Error: Race reported between Write access and Read access' \
  expect 1 well '^\| race checker +\| FAILED: ========= Error: Race reported'
export PATH=$path
if ! command -v compute-sanitizer >/dev/null; then
  CUDA_HOME='' CUDA_PATH='' expect 0 well '^\| memory checker +\| (skipped: compute-sanitizer was not found; install|nothing)'
fi
exit "$failed"
