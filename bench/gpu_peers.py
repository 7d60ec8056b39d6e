#!/usr/bin/env python3
"""Measures Corten on a GPU next to PyTorch on the same card, and writes one table and one JSON file.

usage: gpu_peers.py [--rows NAME,...] [--out build/gpu-peers] [--python PYTHON] [--minutes M]

Every measurement is a process of its own, `corten bench ...` or gpu_peers_torch.py; those that are
compared take turns for --rounds rounds, and medians count. Results go to OUT.json as they come, so
that a run can be cut short and continued: what is there already is measured again only if --rows
names it. OUT.md is made of OUT.json. What cannot be measured (no PyTorch, out of memory, a verb that
is not there) is a row that says why. --device cpu --tiny executes everything at toy sizes, to check
this script; its figures mean nothing.

rows: ceilings gpt2 llama memory ops attention linear_ce start decode losses
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROWS = ["ceilings", "gpt2", "llama", "memory", "ops", "attention", "linear_ce", "start", "decode", "losses"]
GPT2 = {"kind": "gpt2", "width": 768, "inner": 3072, "heads": 12, "kv_heads": 12, "layers": 12, "vocab": 50257,
        "positions": 1024}
LLAMA = {"kind": "llama", "width": 2048, "inner": 5632, "heads": 32, "kv_heads": 4, "layers": 22, "vocab": 32000,
         "positions": 2048}
# Far larger than any cache; rows as in the models above.
OPS = [("softmax", "65536x2048", "bf16"), ("layer_norm", "131072x768", "bf16"), ("rms_norm", "65536x2048", "bf16"),
       ("gelu", "65536x3072", "bf16"), ("swiglu", "32768x5632", "bf16"),
       ("rope", "16x32x2048x64,1x1x2048x32,1x1x2048x32", "bf16"), ("adamw", "32768x2048", "f32")]
ATTENTION = [("GPT-2", "32x12x1024x64"), ("LLaMA", "4x32x2048x64,4x4x2048x64,4x4x2048x64,4x32x2048x64")]
LINEAR_CE = [("GPT-2", "16384x768,50257x768"), ("LLaMA", "8192x2048,32000x2048")]


def tiny():
    """The same at toy sizes."""
    small = {"width": 64, "inner": 128, "heads": 4, "layers": 2, "vocab": 96, "positions": 64}
    GPT2.update(small, kv_heads=4)
    LLAMA.update(small, kv_heads=2)
    OPS[:] = [(op, {"rope": "1x2x16x8,1x1x16x4,1x1x16x4"}.get(op, "64x32"), dtype) for op, _, dtype in OPS]
    ATTENTION[:] = [("GPT-2", "1x2x16x8"), ("LLaMA", "1x4x16x8,1x2x16x8,1x2x16x8,1x4x16x8")]
    LINEAR_CE[:] = [("GPT-2", "32x16,50x16"), ("LLaMA", "16x32,40x32")]


class Absent(Exception):
    """Why there is no figure."""


class Bench:
    def __init__(self, args, scratch):
        self.args, self.scratch = args, pathlib.Path(scratch)
        self.end = time.time() + 60 * args.minutes
        self.python_missing = None
        if args.python == "none":
            self.python_missing = "PyTorch was not asked for (--python none)"
        self.batches = [2] if args.tiny else [int(batch) for batch in args.batches.split(",")]
        self.steps = 2 if args.tiny else 20
        self.rounds = 1 if args.tiny else args.rounds

    def command(self, command, environment=None):
        if time.time() > self.end:
            raise Absent("the time was up (--minutes)")
        shown = " ".join(map(str, command))
        print(f"[{time.strftime('%H:%M:%S')}] {shown}", file=sys.stderr, flush=True)
        try:
            done = subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                  timeout=min(self.args.timeout, max(self.end - time.time(), 1)),
                                  env={**os.environ, **(environment or {})})
        except subprocess.TimeoutExpired as error:
            raise Absent(f"no answer in {error.timeout:.0f} s") from None
        except OSError as error:
            raise Absent(f"cannot start {command[0]}: {error.strerror}") from None
        try:
            result = json.loads(done.stdout.strip().splitlines()[-1] if "torch" in str(command[1]) else done.stdout)
        except (ValueError, IndexError):
            last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
            raise Absent(last[:300]) from None
        if "error" in result:
            error = result["error"]
            raise Absent(str(error["message"] if isinstance(error, dict) else error)[:300])
        return result

    def corten(self, *arguments, environment=None):
        return self.command([self.args.corten, *arguments, "--device", self.args.device, "--json"], environment)

    def torch(self, *arguments):
        if self.python_missing:
            raise Absent(self.python_missing)
        compiling = [] if self.args.torch_compile else ["--no-compile"]
        return self.command([self.args.python, HERE / "gpu_peers_torch.py", *arguments, "--device", self.args.device,
                             *compiling])

    def folder(self, config):
        """A model folder of this shape, with a config.json only."""
        c, folder = config, self.scratch / config["kind"]
        folder.mkdir(exist_ok=True)
        fields = {"model_type": "gpt2", "n_embd": c["width"], "n_inner": c["inner"], "n_head": c["heads"],
                  "n_layer": c["layers"], "n_positions": c["positions"], "vocab_size": c["vocab"],
                  "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
        if c["kind"] == "llama":
            fields = {"model_type": "llama", "hidden_size": c["width"], "intermediate_size": c["inner"],
                      "num_attention_heads": c["heads"], "num_key_value_heads": c["kv_heads"],
                      "num_hidden_layers": c["layers"], "max_position_embeddings": c["positions"],
                      "vocab_size": c["vocab"]}
        (folder / "config.json").write_text(json.dumps(fields))
        return folder

    def train_corten(self, config, batch, steps, environment=None):
        return self.corten("bench", "train", "--model", self.folder(config), "--batch", batch, "--seq",
                           config["positions"], "--dtype", "bf16", "--steps", steps, environment=environment)

    def train_torch(self, config, batch, steps):
        return self.torch("train", "--config", json.dumps(config), "--batch", batch, "--seq", config["positions"],
                          "--steps", steps)

    def best_batch(self, train):
        """The batch with the most tokens per second; larger ones are tried until it falls or memory ends."""
        best, tried, why = None, {}, "no batch fits"
        for batch in self.batches:
            try:
                speed = train(batch)["tokens_per_s"]
            except Absent as absent:
                tried[batch] = why = str(absent)
                break
            tried[batch] = speed
            if best and speed < 1.01 * tried[best]:
                best = batch if speed > tried[best] else best
                break
            best = batch
        if best is None:
            raise Absent(why)
        return best, tried


def attempt(call):
    try:
        return call()
    except Absent as absent:
        return {"absent": str(absent)}


def interleaved(bench, sides, rounds=None):
    """Results of each side, in turns: {"name": [result, ...] or {"absent": why}}."""
    out = {name: [] for name in sides}
    for _ in range(rounds or bench.rounds):
        for name, call in sides.items():
            if isinstance(out[name], list):
                result = attempt(call)
                out[name] = result if "absent" in result and not out[name] else \
                    out[name] + ([] if "absent" in result else [result])
    return out


def middle(results, field):
    """Median of a field over rounds; None where there is none. "a.b" is a field of a field."""
    values = []
    for r in results if isinstance(results, list) else []:
        for name in field.split("."):
            r = r.get(name) if isinstance(r, dict) else None
        if r is not None:
            values.append(r)
    return statistics.median(values) if values else None


def measure_train(bench, config):
    out = {"config": config, "tried": {}, "batch": {}}
    sides = {}
    for name, train in (("corten", bench.train_corten), ("torch", bench.train_torch)):
        try:
            batch, tried = bench.best_batch(lambda b, t=train: t(config, b, max(bench.steps // 4, 1)))
            out["tried"][name], out["batch"][name] = tried, batch
            sides[name] = lambda b=batch, t=train: t(config, b, bench.steps)
        except Absent as absent:
            sides[name] = lambda why=str(absent): {"absent": why}
    return {**out, **interleaved(bench, sides)}


def measure_memory(bench):
    """Both at the same batches, a few steps each."""
    out = {}
    for name, config, batch in (("GPT-2", GPT2, bench.batches[len(bench.batches) // 2]), ("LLaMA", LLAMA, bench.batches[0])):
        out[name] = {"batch": batch,
                     **interleaved(bench, {"corten": lambda: bench.train_corten(config, batch, 2),
                                           "torch": lambda: bench.train_torch(config, batch, 2)}, 1)}
    return out


def measure_op(bench, op, shape, dtype):
    steps = 5 if bench.args.tiny else 50
    words = ["--op", op, "--shape", shape, "--dtype", dtype]
    return {"op": op, "shape": shape, "dtype": dtype,
            **interleaved(bench, {"corten": lambda: bench.corten("bench", "op", *words),
                                  "torch": lambda: bench.torch("op", *words, "--steps", steps)})}


def measure_start(bench):
    """The first step with an empty cache and with what that left there."""
    cache = bench.scratch / "cache"
    cache.mkdir(exist_ok=True)
    batch = bench.batches[min(1, len(bench.batches) - 1)]
    out = {}
    for name, config in (("GPT-2", GPT2), ("LLaMA", LLAMA)):
        run = lambda: bench.train_corten(config, batch, 1, {"CORTEN_CACHE_DIR": str(cache / name)})
        out[name] = {"cold": attempt(run), "warm": attempt(run)}
    return out


def measure_decode(bench):
    out = {}
    prompt, tokens = (4, 4) if bench.args.tiny else (128, 128)
    for batch in (1, 2 if bench.args.tiny else 64):
        sides = {"corten": lambda: bench.corten("bench", "generate", "--model", bench.folder(LLAMA), "--prompt-tokens",
                                                prompt, "--new-tokens", tokens, "--batch", batch, "--dtype", "bf16"),
                 "torch": lambda: bench.torch("decode", "--config", json.dumps(LLAMA), "--batch", batch, "--prompt",
                                              prompt, "--steps", tokens)}
        out[str(batch)] = interleaved(bench, sides, 1)
    return out


def measure_losses(bench):
    if bench.python_missing:
        raise Absent(bench.python_missing)
    script = HERE.parent / "scripts/peers/train_losses.py"
    steps = 3 if bench.args.tiny else 300
    sizes = ["--sizes", "tiny" if bench.args.tiny else "gpt2"]
    return bench.command([bench.args.python, script, "--corten", bench.args.corten, "--text", bench.args.text, "--dtype",
                          "bf16", "--steps", steps, "--device", bench.args.device, "--virtual-shards", 1,
                          "--tolerance", 1e9, *sizes])


def measure(bench, row):
    if row == "ceilings":
        return attempt(lambda: bench.torch("ceilings"))
    if row == "gpt2":
        return measure_train(bench, GPT2)
    if row == "llama":
        return measure_train(bench, LLAMA)
    if row == "memory":
        return measure_memory(bench)
    if row == "ops":
        return [measure_op(bench, *op) for op in OPS]
    if row == "attention":
        return [{"name": name, **measure_op(bench, op, shape if op.endswith("grad") else ",".join(shape.split(",")[:3]),
                                            "bf16")}
                for name, shape in ATTENTION
                for op in ("scaled_dot_product_attention", "scaled_dot_product_attention_grad")]
    if row == "linear_ce":
        return [{"name": name, **measure_op(bench, "linear_cross_entropy", shape, "bf16")} for name, shape in LINEAR_CE]
    if row == "start":
        return measure_start(bench)
    if row == "decode":
        return measure_decode(bench)
    return attempt(lambda: measure_losses(bench))


def missing(data, path=""):
    """Where Corten gave no figure, and why."""
    out = []
    if isinstance(data, list):
        data = dict(enumerate(data))
    for name, value in data.items() if isinstance(data, dict) else []:
        here = f"{path}/{name}"
        if name in ("corten", "cold", "warm") and isinstance(value, dict) and "absent" in value:
            out.append(f"{here}: {value['absent']}")
        elif name != "torch":
            out += missing(value, here)
    return out


class Table:
    """Lines of: figure, bar, Corten, PyTorch, ratio, verdict."""

    def __init__(self):
        self.lines = ["| figure | bar | Corten | PyTorch | ratio | |", "|---|---|---|---|---|---|"]

    def add(self, figure, bar, corten, torch="", value=None, passes=None, why=None):
        if why:
            self.lines.append(f"| {figure} | {bar} | {corten} | {torch} | | absent: {why.replace('|', '/')} |")
            return
        ratio = "" if value is None else f"{value:.3g}"
        self.lines.append(f"| {figure} | {bar} | {corten} | {torch} | {ratio} | "
                          f"{'' if passes is None else 'meets it' if passes else 'misses it'} |")


def reason(*sides):
    for side in sides:
        if isinstance(side, dict) and "absent" in side:
            return side["absent"]
    return "not measured"


def number(value, text="{:.0f}"):
    return "" if value is None else text.format(value)


def table(data):
    t = Table()
    c = data.get("ceilings", {})
    peaks = [(name, middle(data.get(name, {}).get("corten"), "peak_flops"),
              middle(data.get(name, {}).get("corten"), "on_device.copy_bytes_per_s")) for name in ("gpt2", "llama")]
    peak = next((p for _, p, _ in peaks if p), None)
    copy = next((b for _, _, b in peaks if b), None)
    t.add("large copy, GB/s", "", number(copy and copy * 1e-9), number(c.get("copy_bytes_per_s", 0) * 1e-9 or None),
          why=None if copy or "copy_bytes_per_s" in c else reason(c))
    t.add("large bf16 product, TFLOP/s", "", number(peak and peak * 1e-12), number(c.get("peak_flops", 0) * 1e-12 or None),
          why=None if peak or "peak_flops" in c else reason(c))
    for row, name in (("gpt2", "GPT-2 124M"), ("llama", "LLaMA 1.1B")):
        if row not in data:
            continue
        d = data[row]
        ours, theirs = d["corten"], d["torch"]
        a, b = middle(ours, "tokens_per_s"), middle(theirs, "tokens_per_s")
        seq = d["config"]["positions"]
        batches = f"best batch {d['batch'].get('corten', '-')} and {d['batch'].get('torch', '-')}"
        t.add(f"{name}, T={seq}, {batches}, tokens/s", ">= 1.0x", number(a), number(b), a / b if a and b else None,
              a >= b if a and b else None, None if a and b else reason(ours, theirs))
        device = middle(ours, "on_device.step_ms")
        if device and a:
            tokens = d["batch"]["corten"] * seq
            t.add(f"{name}, the same without the host, tokens/s", "", number(1e3 * tokens / device))
        measured, sheet = middle(ours, "mfu_measured"), middle(ours, "mfu")
        t.add(f"{name}, mfu measured (data sheet)", ">= 0.50",
              f"{number(measured, '{:.3f}')} ({number(sheet, '{:.3f}') or 'unknown'})", value=measured,
              passes=measured and measured >= 0.5, why=None if measured else reason(ours))
        busy, wall = middle(ours, "on_device.busy_ms"), middle(ours, "on_device.wall_ms")
        traced = isinstance(ours, list) and any(r.get("on_device", {}).get("traced") for r in ours)
        note = next((r["on_device"]["note"] for r in ours if r.get("on_device", {}).get("note")), None) \
            if isinstance(ours, list) else None
        t.add(f"{name}, kernel time / wall time of the replayed step", ">= 0.97", "", value=busy / wall if busy and wall else None,
              passes=traced and busy / wall >= 0.97,
              why=None if traced else note or (reason(ours) if not isinstance(ours, list) else "no device figures"))
    for name, d in data.get("memory", {}).items():
        a, b = middle(d["corten"], "peak_bytes"), middle(d["torch"], "peak_bytes")
        t.add(f"{name}, batch {d['batch']}, peak memory, GiB", "<= 0.8x", number(a and a / 2**30, "{:.2f}"),
              number(b and b / 2**30, "{:.2f}"), a / b if a and b else None, a <= 0.8 * b if a and b else None,
              None if a and b else reason(d["corten"], d["torch"]))
    for d in data.get("ops", []):
        fraction = middle(d["corten"], "bandwidth_fraction")
        a, b = middle(d["corten"], "ms.median"), middle(d["torch"], "ms")
        t.add(f"{d['op']} {d['shape'].split(',')[0]} {d['dtype']}, ms; fraction of a copy", ">= 0.85", number(a, "{:.4f}"),
              number(b, "{:.4f}"), fraction, fraction and fraction >= 0.85, None if fraction else reason(d["corten"]))
    for d in data.get("attention", []):
        a, b = middle(d["corten"], "ms.median"), middle(d["torch"], "ms")
        best = next((r["best"] for r in d["torch"]), "") if isinstance(d["torch"], list) else ""
        what = "forward and backward" if d["op"].endswith("grad") else "forward"
        t.add(f"attention of {d['name']}, {what}, ms", ">= 1.0x", number(a, "{:.4f}"), f"{number(b, '{:.4f}')} {best}",
              b / a if a and b else None, b >= a if a and b else None, None if a and b else reason(d["corten"], d["torch"]))
    for d in data.get("linear_ce", []):
        for field, other, bar, limit, scale, unit in (("peak_bytes", "peak_bytes", "<= 0.2x", 0.2, 2**-20, "memory, MiB"),
                                                      ("ms.median", "ms", "<= 1.0x", 1.0, 1, "time, ms")):
            a, b = middle(d["corten"], field), middle(d["torch"], other)
            t.add(f"linear + cross-entropy of {d['name']}, {unit}", bar, number(a and a * scale, "{:.2f}"),
                  number(b and b * scale, "{:.2f}"), a / b if a and b else None, a <= limit * b if a and b else None,
                  None if a and b else reason(d["corten"], d["torch"]))
    for name, d in data.get("start", {}).items():
        for which, field, limit in (("cold", "compile_ms", 3000), ("warm", "first_step_ms", 1500)):
            ms = d[which].get(field)
            what = "cold compile" if which == "cold" else "warm start to first step"
            t.add(f"{name}, {what}, s", f"<= {limit / 1e3:g} s", number(ms and ms * 1e-3, "{:.2f}"), value=None,
                  passes=ms is not None and ms <= limit, why=None if ms is not None else reason(d[which]))
    for batch, d in data.get("decode", {}).items():
        a, b = middle(d["corten"], "decode_tokens_per_s"), middle(d["torch"], "decode_tokens_per_s")
        t.add(f"decode, 1.1B bf16, batch {batch}, tokens/s", ">= 5x" if batch != "1" else "", number(a, "{:.1f}"),
              number(b, "{:.1f}"), a / b if a and b else None, a >= 5 * b if a and b and batch != "1" else None,
              None if a and b else reason(d["corten"], d["torch"]))
        if batch == "1":
            fraction = middle(d["corten"], "bandwidth_fraction")
            t.add("decode, 1.1B bf16, batch 1, fraction of bandwidth", ">= 0.75", "", value=fraction,
                  passes=fraction and fraction >= 0.75, why=None if fraction else reason(d["corten"]))
    if "losses" in data:
        d = data["losses"]
        worst = d.get("max_relative_difference")
        t.add(f"losses of {d.get('steps', 300)} steps on text, largest relative difference", "bf16 noise (0.02)",
              number((d.get("corten_first_last") or [None])[-1], "{:.4f}"),
              number((d.get("torch_first_last") or [None])[-1], "{:.4f}"), worst,
              worst is not None and worst <= 0.02, None if worst is not None else reason(d))
    lines = ["# Corten and PyTorch on " + str(next((r["device"] for row in ("gpt2", "llama")
             for r in (data.get(row, {}).get("corten") or []) if isinstance(r, dict)), c.get("name", "this machine"))),
             "", f"PyTorch {c.get('torch', '')}; `bench/gpu_peers.py`", "", *t.lines]
    for row, name in (("gpt2", "GPT-2 124M"), ("llama", "LLaMA 1.1B")):
        ours = data.get(row, {}).get("corten")
        if isinstance(ours, list) and ours and "on_device" in ours[-1]:
            lines += ["", f"Where a step of {name} spends its time:", "", "| family | launches | ms | floor ms | fraction |",
                      "|---|---|---|---|---|"]
            for f in ours[-1]["on_device"]["families"]:
                part = f["floor_ms"] / f["ms"] if f["ms"] else 0
                lines.append(f"| {f['family']} | {f['steps']} | {f['ms']:.3f} | {f['floor_ms']:.3f} | {part:.2f} |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--corten", default="build/release/corten")
    parser.add_argument("--python", default="python3", help="a Python with PyTorch and transformers; none: without them")
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--rows", default="", help="comma-separated; default: those that are not there yet")
    parser.add_argument("--out", default="build/gpu-peers", help="without suffix")
    parser.add_argument("--text", default="build/corpus/kjv.txt")
    parser.add_argument("--batches", default="4,8,16,32,64,128", help="those that the best is looked for among, ascending")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=60, help="nothing new is started after so many")
    parser.add_argument("--timeout", type=float, default=400, help="seconds of one measurement")
    parser.add_argument("--no-torch-compile", dest="torch_compile", action="store_false")
    parser.add_argument("--strict", action="store_true", help="exit code 1 if Corten gave no figure somewhere")
    parser.add_argument("--tiny", action="store_true", help="toy sizes")
    args = parser.parse_args()
    rows = [row for row in args.rows.split(",") if row]
    if unknown := [row for row in rows if row not in ROWS]:
        parser.error(f"unknown row {unknown[0]} (known: {', '.join(ROWS)})")
    if args.tiny:
        tiny()
    stored, shown = pathlib.Path(args.out + ".json"), pathlib.Path(args.out + ".md")
    stored.parent.mkdir(parents=True, exist_ok=True)
    data = json.loads(stored.read_text()) if stored.exists() else {}
    with tempfile.TemporaryDirectory() as scratch:
        bench = Bench(args, scratch)
        for row in rows or [row for row in ROWS if row not in data]:
            data[row] = measure(bench, row)
            stored.write_text(json.dumps(data, indent=1) + "\n")
            shown.write_text(table(data))
    print(table(data), end="")
    if args.strict and (gaps := missing(data)):
        sys.exit("\n".join(["Corten gave no figure:", *gaps]))


if __name__ == "__main__":
    main()
