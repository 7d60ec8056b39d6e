#!/usr/bin/env python3
"""Makes key_averages.txt beside this script: what torch.profiler's table() prints for the averages that
tests/diagnose/profile_test.cpp builds. Needs torch (a CPU build is enough)."""

import os
from types import SimpleNamespace

from torch.autograd import DeviceType
from torch.autograd.profiler_util import _build_table, _format_time

HERE = os.path.dirname(os.path.abspath(__file__))

# name, calls, self us, total us, total bytes, self bytes, flops
ROWS = [
    ("gemm", 300, 2_500_000.5, 2_500_000.5, 0, 0, 13_129_000_000),
    ("kernel mul, add, sqrt, div, add, div, mul, sub, and some more of them", 12, 45_000.25, 45_000.25, 0, 0, 0),
    ("train_step", 4, 1_639.0, 2_547_000.0, 3_221_225_472, 8, 0),
    ("attention", 2, 999.5, 999.5, -5_242_880, -5_242_880, 2_500_000),
    ("data_loading", 4, 16.125, 16.125, 2048, 2047, 0),
]


def event(row):
    name, calls, own, total, memory, own_memory, flops = row
    return SimpleNamespace(
        key=name, count=calls, self_cpu_time_total=own, cpu_time_total=total, cpu_time=total / calls,
        self_cpu_time_total_str=_format_time(own), cpu_time_total_str=_format_time(total),
        cpu_time_str=_format_time(total / calls), cpu_memory_usage=memory, self_cpu_memory_usage=own_memory,
        flops=flops, self_device_time_total=0, self_device_memory_usage=0, use_device=None, input_shapes=None,
        overload_name=None, stack=[], node_id=-1, device_type=DeviceType.CPU, is_legacy=False, is_async=False,
        is_user_annotation=False, cpu_parent=None)


def main():
    table = _build_table([event(row) for row in ROWS], with_flops=True, profile_memory=True)
    with open(os.path.join(HERE, "key_averages.txt"), "w", encoding="utf-8") as out:
        out.write(table)


if __name__ == "__main__":
    main()
