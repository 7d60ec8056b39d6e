#!/usr/bin/env python3
"""PyTorch's side of gpu_peers.py: one measurement per process, one JSON object on stdout.

usage: gpu_peers_torch.py ceilings|train|op|decode --device cuda|cpu ...

PyTorch gets everything it has: torch.compile, fused AdamW, scaled_dot_product_attention, bf16
autocast over f32 weights, a vocabulary padded to a multiple of 64. Times on a GPU are those of CUDA
events, medians; nothing waits between two steps.
"""

import argparse
import json
import math
import statistics
import sys
import time

START = time.time()

import torch
import torch.nn.functional as F
from torch import nn


class Clock:
    """Milliseconds of calls: CUDA events on a GPU, the wall clock otherwise."""

    def __init__(self, device):
        self.cuda = device == "cuda"
        self.marks = []

    def mark(self):
        if self.cuda:
            event = torch.cuda.Event(enable_timing=True)
            event.record()
            self.marks.append(event)
        else:
            self.marks.append(time.perf_counter())

    def times(self):
        if not self.cuda:
            return [1e3 * (b - a) for a, b in zip(self.marks, self.marks[1:])]
        torch.cuda.synchronize()
        return [a.elapsed_time(b) for a, b in zip(self.marks, self.marks[1:])]


def timed(device, call, warm_up, runs):
    for _ in range(warm_up):
        call()
    clock = Clock(device)
    clock.mark()
    for _ in range(runs):
        call()
        clock.mark()
    return clock.times()


def rotate(x, cos, sin):
    a, b = x.float().chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1).to(x.dtype)


class Block(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c = c
        width, kv = c["width"], c["width"] // c["heads"] * c["kv_heads"]
        bias = c["kind"] == "gpt2"
        norm = (lambda: nn.LayerNorm(width)) if bias else (lambda: nn.RMSNorm(width, eps=1e-5))
        self.norm1, self.norm2 = norm(), norm()
        self.qkv = nn.Linear(width, width + 2 * kv, bias=bias)
        self.out = nn.Linear(width, width, bias=bias)
        self.up = nn.Linear(width, c["inner"] * (1 if bias else 2), bias=bias)
        self.down = nn.Linear(c["inner"], width, bias=bias)
        self.sizes = [width, kv, kv]

    def forward(self, x, rotation):
        B, T, C = x.shape
        heads, kv_heads = self.c["heads"], self.c["kv_heads"]
        D = C // heads
        q, k, v = self.qkv(self.norm1(x)).split(self.sizes, dim=-1)
        q = q.view(B, T, heads, D).transpose(1, 2)
        k, v = (t.view(B, T, kv_heads, D).transpose(1, 2) for t in (k, v))
        if rotation is not None:
            q, k = rotate(q, *rotation), rotate(k, *rotation)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=heads != kv_heads)
        x = x + self.out(y.transpose(1, 2).reshape(B, T, C))
        h = self.up(self.norm2(x))
        if rotation is None:
            h = F.gelu(h, approximate="tanh")
        else:
            gate, up = h.chunk(2, dim=-1)
            h = F.silu(gate) * up
        return x + self.down(h)


class Decoder(nn.Module):
    """GPT-2 or LLaMA for training, as small as it can be written."""

    def __init__(self, c):
        super().__init__()
        self.c = c
        gpt2 = c["kind"] == "gpt2"
        vocab = (c["vocab"] + 63) // 64 * 64
        self.tokens = nn.Embedding(vocab, c["width"])
        self.positions = nn.Embedding(c["positions"], c["width"]) if gpt2 else None
        self.blocks = nn.ModuleList(Block(c) for _ in range(c["layers"]))
        self.norm = nn.LayerNorm(c["width"]) if gpt2 else nn.RMSNorm(c["width"], eps=1e-5)
        self.head = nn.Linear(c["width"], vocab, bias=False)
        if gpt2:
            self.head.weight = self.tokens.weight
        half = c["width"] // c["heads"] // 2
        angles = torch.outer(torch.arange(c["positions"]).float(), 10000.0 ** (-torch.arange(half) / half))
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)
        for p in self.parameters():
            if p.dim() > 1:
                nn.init.normal_(p, std=0.02)

    def forward(self, ids, targets):
        T = ids.shape[1]
        x = self.tokens(ids)
        rotation = None
        if self.positions is not None:
            x = x + self.positions.weight[:T]
        else:
            rotation = self.cos[:T], self.sin[:T]
        for block in self.blocks:
            x = block(x, rotation)
        logits = self.head(self.norm(x))
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def train(args):
    c = json.loads(args.config)
    device, cuda = args.device, args.device == "cuda"
    torch.manual_seed(1)
    torch.set_float32_matmul_precision("high")
    with torch.device(device):
        model = Decoder(c)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    compiled = torch.compile(model, dynamic=False) if args.compile else model
    shape = (args.batch, args.seq)
    ids, targets = (torch.randint(c["vocab"], shape, device=device) for _ in range(2))
    losses = []

    def step():
        with torch.autocast(device, dtype=torch.bfloat16):
            loss = compiled(ids, targets)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.detach())

    begin = time.time()
    step()
    if cuda:
        torch.cuda.synchronize()
    first = time.time()
    times = timed(device, step, 2, args.steps)
    ms = statistics.median(times)
    return {"step_ms": ms, "min_ms": min(times), "tokens_per_s": 1e3 * args.batch * args.seq / ms,
            "peak_bytes": torch.cuda.max_memory_allocated() if cuda else None,
            "reserved_bytes": torch.cuda.max_memory_reserved() if cuda else None,
            "compile_ms": 1e3 * (first - begin), "first_step_ms": 1e3 * (first - START),
            "loss_first": losses[0].item(), "loss_last": losses[-1].item()}


def attention(q, k, v):
    return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=q.shape[1] != k.shape[1])


def adamw(p, g, m, v):
    p = p * (1 - 1e-3 * 0.1)
    m = 0.9 * m + 0.1 * g
    v = 0.95 * v.abs() + 0.05 * g * g
    return p - 1e-3 / (1 - 0.9) * m / (v.sqrt() / math.sqrt(1 - 0.95) + 1e-8), m, v


def ones(x):
    return torch.ones(x.shape[-1], dtype=x.dtype, device=x.device)


OPS = {
    "softmax": lambda x: F.softmax(x, -1),
    "layer_norm": lambda x: F.layer_norm(x, x.shape[-1:], ones(x), ones(x)),
    "rms_norm": lambda x: F.rms_norm(x, x.shape[-1:], ones(x)),
    "gelu": lambda x: F.gelu(x),
    "swiglu": lambda x, y: F.silu(x) * y,
    "rope": rotate,
    "adamw": adamw,
    "scaled_dot_product_attention": attention,
}

OPERANDS = {"swiglu": 2, "adamw": 4, "scaled_dot_product_attention": 3, "scaled_dot_product_attention_grad": 4}


def with_gradients(function, leaves, gradient=None):
    """Calls a function and differentiates it in all of its operands."""

    def call():
        for leaf in leaves:
            leaf.grad = None
        function(*leaves).backward(gradient)

    return call


def op(args):
    device, dtype = args.device, {"bf16": torch.bfloat16, "f32": torch.float32}[args.dtype]
    torch.manual_seed(1)
    shapes = args.shape.split(",")
    if len(shapes) == 1:
        shapes *= OPERANDS.get(args.op, 1)
    x = [torch.randn([int(n) for n in shape.split("x")], device=device).to(dtype) for shape in shapes]
    results = {}
    if args.op == "linear_cross_entropy":
        targets = torch.arange(x[0].shape[0], device=device) % x[1].shape[0]
        leaves = [t.requires_grad_() for t in x]
        calls = {"unfused": with_gradients(lambda h, w: F.cross_entropy(F.linear(h, w), targets), leaves)}
    elif args.op.startswith("scaled_dot_product_attention"):
        gradient = args.op.endswith("_grad")
        leaves = [t.requires_grad_(gradient) for t in x[:3]]
        run = with_gradients(attention, leaves, x[3]) if gradient else lambda: attention(*leaves)
        from torch.nn.attention import SDPBackend, sdpa_kernel

        def backend(which):
            def call():
                with sdpa_kernel(which):
                    run()
            return call

        calls = {name: backend(getattr(SDPBackend, name)) for name in
                 ("FLASH_ATTENTION", "CUDNN_ATTENTION", "EFFICIENT_ATTENTION", "MATH") if hasattr(SDPBackend, name)}
        if device == "cuda":
            calls.pop("MATH", None)
    else:
        function = OPS[args.op]
        compiled = torch.compile(function) if args.compile else function
        calls = {"eager": lambda: function(*x)}
        if args.compile:
            calls["compiled"] = lambda: compiled(*x)
    for name, call in calls.items():
        try:
            if device == "cuda":
                torch.cuda.synchronize()
                torch.cuda.reset_peak_memory_stats()
            with torch.set_grad_enabled(any(t.requires_grad for t in x)):
                ms = statistics.median(timed(device, call, 3, args.steps))
            results[name] = {"ms": ms, "peak_bytes": torch.cuda.max_memory_allocated() if device == "cuda" else None}
        except Exception as error:  # a backend that does not take these operands
            results[name] = {"error": str(error).splitlines()[0][:200]}
    done = {name: r for name, r in results.items() if "ms" in r}
    if not done:
        return {"error": "; ".join(f"{n}: {r['error']}" for n, r in results.items()), "all": results}
    best = min(done, key=lambda name: done[name]["ms"])
    return {"best": best, **done[best], "all": results}


def ceilings(args):
    device, cuda = args.device, args.device == "cuda"
    n = 8192 if cuda else 256
    a, b = (torch.randn(n, n, device=device).bfloat16() for _ in range(2))
    product = min(timed(device, lambda: a @ b, 3, 30))
    elements = (1 << 30) if cuda else 1 << 20
    source = torch.empty(elements, dtype=torch.uint8, device=device).fill_(90)
    target = torch.empty_like(source)
    copy = statistics.median(timed(device, lambda: target.copy_(source), 3, 20))
    return {"peak_flops": 2 * n**3 / (product * 1e-3), "copy_bytes_per_s": 2 * elements / (copy * 1e-3),
            "name": torch.cuda.get_device_name() if cuda else "cpu", "torch": torch.__version__}


def decode(args):
    """transformers' generate() on random weights: time of the tokens after the first."""
    import transformers
    c = json.loads(args.config)
    torch.manual_seed(1)
    kind, config = transformers.LlamaForCausalLM, transformers.LlamaConfig(
        hidden_size=c["width"], intermediate_size=c["inner"], num_attention_heads=c["heads"],
        num_key_value_heads=c["kv_heads"], num_hidden_layers=c["layers"], vocab_size=c["vocab"],
        max_position_embeddings=c["positions"])
    with torch.device(args.device):
        model = kind(config).bfloat16().eval()
    ids = torch.randint(c["vocab"], (args.batch, args.prompt), device=args.device)
    seconds = {}
    with torch.no_grad():
        for tokens in (1, 1 + args.steps, 1, 1 + args.steps):  # the first two warm up
            begin = time.perf_counter()
            model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, min_new_tokens=tokens,
                           max_new_tokens=tokens, pad_token_id=0)
            if args.device == "cuda":
                torch.cuda.synchronize()
            seconds[tokens] = time.perf_counter() - begin
    spent = seconds[1 + args.steps] - seconds[1]
    if spent <= 0:
        return {"error": f"{args.steps} tokens are too few to be timed"}
    return {"decode_tokens_per_s": args.batch * args.steps / spent, "transformers": transformers.__version__,
            "peak_bytes": torch.cuda.max_memory_allocated() if args.device == "cuda" else None}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=["ceilings", "train", "op", "decode"])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--config", help="JSON: kind, width, inner, heads, kv_heads, layers, vocab, positions")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--seq", type=int, default=1024)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--prompt", type=int, default=128)
    parser.add_argument("--op")
    parser.add_argument("--shape")
    parser.add_argument("--dtype", default="bf16")
    parser.add_argument("--no-compile", dest="compile", action="store_false")
    args = parser.parse_args()
    try:
        if args.device == "cuda" and not torch.cuda.is_available():
            raise RuntimeError("PyTorch sees no CUDA device")
        result = globals()[args.what](args)
    except torch.OutOfMemoryError as error:
        result = {"error": "out of memory: " + str(error).splitlines()[0], "out_of_memory": True}
    except Exception as error:
        result = {"error": f"{type(error).__name__}: {str(error).splitlines()[0][:300] if str(error) else ''}"}
    print(json.dumps(result))
    sys.exit("error" in result)


if __name__ == "__main__":
    main()
