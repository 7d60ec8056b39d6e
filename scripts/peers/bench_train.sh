#!/usr/bin/env bash
# A GPT-2 124M training step of Corten and of PyTorch side by side: rounds are interleaved, so that a
# busy machine slows both down. Prints each round and the ratio of the medians.
#
# usage: bench_train.sh TORCH_SCRIPT [ROUNDS]     TORCH_SCRIPT takes --B --T --dtype --threads --steps
#   environment: CORTEN (build/release/corten), PYTHON (python3), B (4), T (256), DTYPE (bf16), THREADS
#   (all), STEPS (6), TORCH_FLAGS ("--sdpa --fused-adam"; add --compile)
set -euo pipefail
torch_script=${1:?usage: bench_train.sh TORCH_SCRIPT [ROUNDS]}
rounds=${2:-3}
corten=${CORTEN:-build/release/corten} python=${PYTHON:-python3}
batch=${B:-4} seq=${T:-256} dtype=${DTYPE:-bf16} threads=${THREADS:-$(nproc)} steps=${STEPS:-6}
read -r -a torch_flags <<<"${TORCH_FLAGS:---sdpa --fused-adam}"
torch_dtype=$dtype
[ "$dtype" = f32 ] && torch_dtype=fp32

ours=() theirs=()
for ((round = 1; round <= rounds; ++round)); do
  json=$("$corten" bench train --model gpt2 --batch "$batch" --seq "$seq" --dtype "$dtype" --threads "$threads" \
    --steps "$steps" --json 2>/dev/null)
  ms=$(python3 -c 'import json, sys; print(json.loads(sys.argv[1])["step_ms"]["median"])' "$json")
  ours+=("$ms")
  line=$("$python" "$torch_script" --B "$batch" --T "$seq" --dtype "$torch_dtype" --threads "$threads" --steps "$steps" \
    --warmup 2 "${torch_flags[@]}" 2>/dev/null | tail -n 1)
  torch_ms=$(sed -n 's/.*median \([0-9.]*\) ms.*/\1/p' <<<"$line")
  theirs+=("$torch_ms")
  printf 'round %d: corten %.0f ms, torch %s ms\n  %s\n  %s\n' "$round" "$ms" "$torch_ms" "$json" "$line"
done
python3 - "${ours[*]}" "${theirs[*]}" <<'PY'
import statistics, sys
ours, theirs = ([float(x) for x in text.split()] for text in sys.argv[1:])
a, b = statistics.median(ours), statistics.median(theirs)
print(f"median: corten {a:.0f} ms, torch {b:.0f} ms, torch / corten = {b / a:.2f}")
PY
