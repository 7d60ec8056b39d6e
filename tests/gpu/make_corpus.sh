#!/usr/bin/env bash
# Writes tests/gpu/corpus.cu: the kernel text of some ops as the emitter gives it now. Raise kGpuEmitterVersion first.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
CORTEN_WRITE_GOLDENS=1 "${1:-build/release}"/test_gpu --gtest_filter=Corpus.*
git diff --stat tests/gpu/corpus.cu
