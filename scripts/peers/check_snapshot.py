#!/usr/bin/env python3
"""Opens memory snapshots of `corten plan --snapshot` and `corten profile --out` with Python's pickle and
PyTorch's own tools: check_snapshot.py FILE.pickle... Exit code 1 if one is not as they want it."""

import pickle
import pickletools
import sys

from torch.cuda import _memory_viz as viz

# What the memory viewer's own unpickler knows.
OPCODES = set("PROTO EMPTY_DICT EMPTY_LIST MARK SETITEM SETITEMS APPEND APPENDS TUPLE TUPLE1 TUPLE2 TUPLE3 LIST DICT NONE NEWTRUE "
              "NEWFALSE BININT BININT1 BININT2 LONG1 BINFLOAT BINUNICODE SHORT_BINUNICODE BINPUT LONG_BINPUT BINGET LONG_BINGET "
              "MEMOIZE FRAME STOP".split())
ACTIONS = {"alloc", "free_requested", "free_completed", "segment_alloc", "segment_free", "snapshot", "oom"}


def check(path):
    with open(path, "rb") as file:
        data = file.read()
    unknown = {op.name for op, _, _ in pickletools.genops(data)} - OPCODES
    assert not unknown, f"opcodes that the viewer lacks: {unknown}"
    snapshot = pickle.loads(data)
    for segment in snapshot["segments"]:
        at = segment["address"]
        for block in segment["blocks"]:
            assert block["address"] == at, f"a block lies at {block['address']} and not at {at}"
            assert block["state"] in ("active_allocated", "active_pending_free", "inactive")
            at += block["size"]
        assert at == segment["address"] + segment["total_size"], "blocks do not fill their segment"
    live = peak = 0
    categories = set()
    for event in snapshot["device_traces"][0]:
        assert event["action"] in ACTIONS, event
        categories.add(event.get("category", "unknown"))
        if event["action"] == "alloc":
            live += event["size"]
            peak = max(peak, live)
        elif event["action"] == "free_completed":
            live -= event["size"]
    assert categories <= {"unknown"} or any(e.get("category") == "unknown" for e in snapshot["device_traces"][0])
    assert viz.segsum(snapshot) and viz.trace(snapshot)
    assert len(viz.trace_plot(snapshot)) > 1000 and len(viz.segment_plot(snapshot)) > 1000
    print(f"{path}: {len(snapshot['segments'])} segments, {len(snapshot['device_traces'][0])} events, peak {peak} bytes, "
          f"{', '.join(sorted(categories))}")


def main():
    faults = 0
    for path in sys.argv[1:]:
        try:
            check(path)
        except (AssertionError, KeyError, pickle.UnpicklingError) as fault:
            faults += 1
            print(f"{path}: {fault}")
    return 1 if faults or len(sys.argv) < 2 else 0


if __name__ == "__main__":
    sys.exit(main())
