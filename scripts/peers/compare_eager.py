#!/usr/bin/env python3
"""Eager ops beside PyTorch's: nanoseconds per op, medians of interleaved runs, and their ratio.

    PYTHON scripts/peers/compare_eager.py [build/release/eager_bench] [rounds]

PYTHON has torch. Both sides use two threads.
"""
import os
import statistics
import subprocess
import sys
import time

import torch

BENCH = sys.argv[1] if len(sys.argv) > 1 else "build/release/eager_bench"
ROUNDS = int(sys.argv[2]) if len(sys.argv) > 2 else 5


def cases():
    a, b, m = torch.ones(4), torch.ones(4), torch.ones(8, 8)
    x, weight, bias = torch.ones(2, 8), torch.ones(4, 8), torch.ones(4)
    p, kept = torch.ones(4, requires_grad=True), torch.zeros(4)
    linear = torch.nn.functional.linear

    def backward():
        p.grad = None
        ((p * a + b) * p).sum().backward()

    return {
        "add": (1, lambda: a + b),
        "mul_number": (1, lambda: a * 2.0),
        "exp": (1, lambda: torch.exp(a)),
        "sum": (1, lambda: a.sum()),
        "softmax": (1, lambda: torch.softmax(m, -1)),
        "linear": (1, lambda: linear(x, weight, bias)),
        "matmul": (1, lambda: torch.matmul(m, m)),
        "reshape": (1, lambda: m.reshape(64)),
        "transpose": (1, lambda: m.t()),
        "slice": (1, lambda: m[2:5]),
        "add_of_view": (2, lambda: m.t() + m),
        "add_in_place": (1, lambda: kept.add_(a)),
        "zeros": (1, lambda: torch.zeros(4)),
        "item": (1, lambda: kept[0].item()),
        "chain_forward": (4, lambda: ((p * a + b) * p).sum()),
        "chain_backward": (10, backward),
    }


def nanoseconds(ops, call):
    calls = 16
    call()
    while True:
        start = time.perf_counter()
        for _ in range(calls):
            call()
        if time.perf_counter() - start > 0.01:
            break
        calls *= 2
    times = []
    for _ in range(9):
        start = time.perf_counter()
        for _ in range(calls):
            call()
        times.append((time.perf_counter() - start) / (calls * ops) * 1e9)
    return statistics.median(times)


def main():
    torch.set_num_threads(2)
    mine, theirs = {}, {}
    for _ in range(ROUNDS):
        out = subprocess.run([BENCH], capture_output=True, text=True, check=True, env=dict(os.environ, OMP_NUM_THREADS="2")).stdout
        for line in out.splitlines():
            name, ns, _unit = line.split()
            mine.setdefault(name, []).append(float(ns))
        for name, (ops, call) in cases().items():
            theirs.setdefault(name, []).append(nanoseconds(ops, call))
    print(f"{'op':16} {'corten ns':>10} {'torch ns':>10} {'ratio':>6}")
    for name in mine:
        c, t = statistics.median(mine[name]), statistics.median(theirs[name])
        print(f"{name:16} {c:10.0f} {t:10.0f} {c / t:6.2f}")


main()
