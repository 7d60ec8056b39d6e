#!/usr/bin/env python3
"""50 AdamW steps of Corten's command line next to PyTorch's, from the same weights and batches.

usage: train_losses.py [--corten build/release/corten] [--text build/corpus/kjv.txt] [--dtype f32]
                       [--device cpu|cuda] [--sizes small|gpt2]

Corten first writes fresh weights (a run with a learning rate of zero). Then both sides train on from
that folder: Corten as its users do, PyTorch through transformers. Tokens are read from the run's shard
file and the order of sequences is computed here again from its definition (src/data/permutation.h),
so that data, schedule, clipping, weight decay and AdamW are all compared. Prints one line of JSON and
fails if the largest relative difference of losses exceeds --tolerance.
"""

import argparse
import json
import math
import pathlib
import struct
import subprocess
import sys
import tempfile

import numpy
import torch
from transformers import GPT2LMHeadModel

BATCH, SEQ, SEED, VAL_FRACTION = 8, 64, 3, 0.05
LR, MIN_LR, WARMUP, BETAS, EPS, DECAY, CLIP = 1e-3, 1e-4, 10, (0.9, 0.95), 1e-8, 0.1, 1.0
MASK64 = 2**64 - 1


# Layers, width, heads, positions, sequences per step, learning rate.
SIZES = {"tiny": (2, 32, 2, 16, 2, 1e-3), "small": (4, 128, 4, 64, 8, 1e-3), "gpt2": (12, 768, 12, 1024, 8, 6e-4)}


def choose(sizes):
    global SEQ, BATCH, LR, MIN_LR
    layers, width, heads, SEQ, BATCH, LR = SIZES[sizes]
    MIN_LR = LR / 10
    return f'model_type = "gpt2"\nn_layer = {layers}\nn_embd = {width}\nn_head = {heads}\nn_positions = {SEQ}'


def config(model, text, out, steps, lr, dtype, shards, tokenizer=""):
    return f"""
[model]
{model}
{tokenizer}
[data]
text = [{json.dumps(str(text))}]
val_fraction = {VAL_FRACTION}
seq = {SEQ}
[train]
steps = {steps}
batch = {BATCH}
virtual_shards = {shards}
dtype = "{dtype}"
seed = {SEED}
eval_every = 0
save_every = 0
out = {json.dumps(str(out))}
[optim]
lr = {lr}
min_lr = {min(lr, MIN_LR)}
warmup_steps = {WARMUP}
betas = [{BETAS[0]}, {BETAS[1]}]
eps = {EPS}
weight_decay = {DECAY}
clip_grad_norm = {CLIP}
"""


def corten_train(binary, folder, name, device="cpu", **options):
    path = folder / f"{name}.toml"
    path.write_text(config(out=folder / name, **options))
    done = subprocess.run([binary, "train", path, "--json", "--device", device], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def read_tokens(path):
    raw = path.read_bytes()
    magic, version, width, count = struct.unpack_from("<8sIIQ", raw)
    assert (magic, version) == (b"CORTENTK", 1)
    return numpy.frombuffer(raw, {2: "<u2", 4: "<u4"}[width], count, 64).astype(numpy.int64)


def mix(x):
    x ^= x >> 30
    x = x * 0xBF58476D1CE4E5B9 & MASK64
    x ^= x >> 27
    x = x * 0x94D049BB133111EB & MASK64
    return x ^ x >> 31


def permuted(index, size, seed, epoch):
    golden = 0x9E3779B97F4A7C15
    half = 1
    while half < 31 and 1 << 2 * half < size:
        half += 1
    state = mix(mix(seed + golden & MASK64) + epoch + golden & MASK64)
    keys = []
    for _ in range(8):
        state = state + golden & MASK64
        keys.append(mix(state))
    low = (1 << half) - 1
    while True:
        left, right = index >> half, index & low
        for key in keys:
            left, right = right, left ^ mix(right + key & MASK64) & low
        index = left << half | right
        if index < size:
            return index


def batch(tokens, step):
    windows = (len(tokens) - 1) // SEQ
    train = windows - max(1, round(VAL_FRACTION * windows))
    rows = []
    for sample in range(step * BATCH, (step + 1) * BATCH):
        start = permuted(sample % train, train, SEED, sample // train) * SEQ
        rows.append(tokens[start : start + SEQ + 1])
    return torch.from_numpy(numpy.stack(rows))


def learning_rate(step, steps):
    if step < WARMUP:
        return LR * (step + 1) / (WARMUP + 1)
    x = (step - WARMUP) / (steps - WARMUP)
    return MIN_LR + 0.5 * (1 + math.cos(math.pi * x)) * (LR - MIN_LR)


def torch_train(folder, tokens, steps, dtype, device):
    model = GPT2LMHeadModel.from_pretrained(folder, attn_implementation="sdpa").float().to(device)
    model.eval()  # no dropout
    params = list(model.parameters())
    groups = [{"params": [p for p in params if p.dim() >= 2], "weight_decay": DECAY},
              {"params": [p for p in params if p.dim() < 2], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=LR, betas=BETAS, eps=EPS)
    losses = []
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps)
        rows = batch(tokens, step).to(device)
        with torch.autocast(device, dtype=torch.bfloat16, enabled=dtype == "bf16"):
            logits = model(rows[:, :-1]).logits
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), rows[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(params, CLIP)
        optimizer.step()
        losses.append(loss.item())
    return losses


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--corten", default="build/release/corten")
    parser.add_argument("--text", default="build/corpus/kjv.txt", type=pathlib.Path)
    parser.add_argument("--dtype", default="f32", choices=["f32", "bf16"])
    parser.add_argument("--steps", default=50, type=int)
    parser.add_argument("--virtual-shards", default=2, type=int)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--sizes", default="small", choices=list(SIZES))
    parser.add_argument("--tolerance", type=float, help="default: 1e-4 for f32, 2e-2 for bf16")
    args = parser.parse_args()
    tolerance = args.tolerance or {"f32": 1e-4, "bf16": 2e-2}[args.dtype]
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        sizes = choose(args.sizes)
        drop = "\nresid_pdrop = 0.0\nembd_pdrop = 0.0\nattn_pdrop = 0.0"
        common = {"text": args.text.resolve(), "shards": args.virtual_shards}
        fresh = corten_train(args.corten, folder, "fresh", model=sizes + drop, steps=1, lr=0.0, dtype="f32",
                             tokenizer="[tokenizer]\nvocab_size = 1024", **common)
        start = fresh["model_dir"]
        ours = corten_train(args.corten, folder, "run", device=args.device, model=f"path = {json.dumps(start)}{drop}", steps=args.steps,
                            lr=LR, dtype=args.dtype, **common)
        tokens = read_tokens(folder / "run/data/train/shard-00000.tokens")
        theirs = torch_train(start, tokens, args.steps, args.dtype, args.device)
    relative = [abs(a - b) / b for a, b in zip(ours["losses"], theirs, strict=True)]
    print(json.dumps({"dtype": args.dtype, "steps": args.steps, "virtual_shards": args.virtual_shards,
                      "max_relative_difference": max(relative), "at_step": 1 + relative.index(max(relative)),
                      "corten_first_last": [ours["losses"][0], ours["losses"][-1]],
                      "torch_first_last": [theirs[0], theirs[-1]], "torch": torch.__version__}))
    if not max(relative) <= tolerance:
        sys.exit(f"the largest relative difference {max(relative):.2e} exceeds {tolerance:.0e}")


if __name__ == "__main__":
    main()
