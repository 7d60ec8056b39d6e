#!/usr/bin/env python3
"""Makes memory_stats.json, memory_summary.txt, memory_summary_short.txt and snapshot.pickle beside this
script. Statistics are arbitrary numbers of every magnitude; the tables are what
torch.cuda.memory_summary() prints of them. The snapshot is written here opcode by opcode and read back
by Python's pickle. Needs torch (a CPU build is enough)."""

import json
import os
import pickle
import random
import struct

import torch.cuda.memory as memory

HERE = os.path.dirname(os.path.abspath(__file__))


def statistics():
    numbers = random.Random(7)
    pick = lambda: numbers.choice([0, 5, 700, 70_000, 786_431, 786_432, 5_000_000, 900_000_000, 7 << 32, 9 << 43])
    stats = {}
    for family in ("allocation", "segment", "active", "inactive_split", "allocated_bytes", "reserved_bytes",
                   "active_bytes", "inactive_split_bytes", "requested_bytes"):
        for pool in ("all", "large_pool", "small_pool"):
            for metric in ("current", "peak", "allocated", "freed"):
                stats[f"{family}.{pool}.{metric}"] = pick()
    for family in ("oversize_allocations", "oversize_segments"):
        for metric in ("current", "peak", "allocated", "freed"):
            stats[f"{family}.{metric}"] = pick()
    stats.update(num_alloc_retries=3, num_ooms=12, num_sync_all_streams=0, num_device_alloc=44,
                 num_device_free=2, num_oom_rejections=0, max_split_size=-1)
    return stats


def frame(name, line=0, filename=""):
    return {"filename": filename, "line": line, "name": name}


def snapshot():
    base = 1 << 40
    where = [frame("softmax", 12, "loss.cpp")]
    event = lambda action, **more: {"action": action, "addr": base, "size": 1 << 21, "stream": 0, "time_us": 1_700_000_000_000_000,
                                    "frames": where, **more}
    return {
        "segments": [{
            "device": 0, "address": base, "total_size": 1 << 21, "allocated_size": 1 << 20, "active_size": 1 << 20,
            "requested_size": 1_000_000, "stream": 0, "segment_type": "large", "segment_pool_id": (0, 0),
            "is_expandable": False, "frames": [],
            "blocks": [
                {"address": base, "size": 1 << 20, "requested_size": 1_000_000, "state": "active_allocated", "frames": where},
                {"address": base + (1 << 20), "size": 1 << 20, "requested_size": 0, "state": "inactive", "frames": []},
            ]}],
        "device_traces": [[
            event("alloc", category="activation", user_metadata="softmax f32[4]"),
            event("free_requested"),
            {"action": "oom", "device_free": base, "size": 1 << 21, "stream": 0, "time_us": 200, "frames": []},
            {"action": "snapshot", "addr": 0, "size": 0, "stream": 0, "time_us": 200, "frames": [], "category": "unknown"},
        ]],
        "allocator_settings": {
            "PYTORCH_CUDA_ALLOC_CONF": "", "max_split_size": -1, "garbage_collection_threshold": 0.0,
            "expandable_segments": False, "pinned_num_register_threads": 1, "release_lock_on_cudamalloc": False,
            "pinned_use_cuda_host_register": False, "roundup_power2_divisions": 0},
    }


def opcodes(value):
    """Protocol 2 without memo: what the writer is to produce."""
    if isinstance(value, dict):
        inside = b"".join(opcodes(key) + opcodes(item) for key, item in value.items())
        return b"}" + (b"(" + inside + b"u" if value else b"")
    if isinstance(value, list):
        return b"]" + (b"(" + b"".join(map(opcodes, value)) + b"e" if value else b"")
    if isinstance(value, tuple):
        return b"(" + b"".join(map(opcodes, value)) + b"t"
    if isinstance(value, bool):
        return b"\x88" if value else b"\x89"
    if isinstance(value, float):
        return b"G" + struct.pack(">d", value)
    if isinstance(value, str):
        return b"X" + struct.pack("<I", len(value.encode())) + value.encode()
    if 0 <= value < 256:
        return b"K" + struct.pack("<B", value)
    if 0 <= value < 65536:
        return b"M" + struct.pack("<H", value)
    if -2**31 <= value < 2**31:
        return b"J" + struct.pack("<i", value)
    return b"\x8a\x08" + struct.pack("<q", value)


def main():
    write = lambda name, text: open(os.path.join(HERE, name), "w", encoding="utf-8").write(text)
    stats = statistics()
    memory.memory_stats = lambda device=None: stats
    memory._get_device_index = lambda device, optional=False: 0
    write("memory_stats.json", json.dumps(stats, indent=1) + "\n")
    write("memory_summary.txt", memory.memory_summary(0))
    write("memory_summary_short.txt", memory.memory_summary(0, abbreviated=True))
    data = b"\x80\x02" + opcodes(snapshot()) + b"."
    assert pickle.loads(data) == snapshot()
    with open(os.path.join(HERE, "snapshot.pickle"), "wb") as out:
        out.write(data)


if __name__ == "__main__":
    main()
