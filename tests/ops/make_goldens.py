#!/usr/bin/env python3
"""Values and gradients of the samples in cases.cpp, by PyTorch in float64, as golden.safetensors.

For sample NAME with result y: NAME holds y, NAME.grad.I the gradient of sum(y * w) with respect to operand I, where
w[k] = cos(k). Run with the pinned versions of scripts/peers/requirements.txt:  make_goldens.py
"""
import math
import os

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

M = (1 << 64) - 1


def operand(i, shape, low=-2.0, high=2.0, classes=0):
    n = math.prod(shape)
    out = []
    for k in range(n):
        x = ((k + 1) * 0x9E3779B97F4A7C15 + (i + 1) * 0xBF58476D1CE4E5B9) & M
        x ^= x >> 29
        x = (x * 0x94D049BB133111EB) & M
        x ^= x >> 32
        u = (x >> 11) * 2.0**-53
        out.append(x % classes if classes else low + u * (high - low))
    if classes:
        return torch.tensor(out, dtype=torch.int64).reshape(shape)
    return torch.tensor(out, dtype=torch.float64).float().double().reshape(shape)


a, row, column, positive = ((3, 5),), ((5,),), ((3, 1),), ((3, 5), 0.25, 3.0)
big, long_row, tall, wide = ((2, 3, 17),), ((2, 1500),), ((150, 9),), ((3, 5), -6.0, 6.0)


def ids(shape, classes):
    return (shape, 0.0, 0.0, classes)


def bool_mask(q, k, v, m):
    mask = (m != 0) & (torch.arange(7).reshape(7, 1) != 2)
    return F.scaled_dot_product_attention(q, k.expand(2, 3, 9, 8), v.expand(2, 3, 9, 8), mask, scale=0.5)


def projected(x):
    q, k, v = (part.reshape(2, 70, 3, 8).transpose(1, 2) for part in x.split(24, 2))
    return F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(2, 70, 24)


def by_statistics(x, m, v, w, b):
    """F.batch_norm outside of training, which has no gradients of the statistics."""
    return (x - m) / torch.sqrt(v + 1e-5) * w + b


CASES = {
    "add": ([a, a], lambda x, y: x + y),
    "add_row": ([a, row], lambda x, y: x + y),
    "add_column": ([a, column], lambda x, y: x + y),
    "add_number": ([a], lambda x: x + 1.5),
    "sub": ([a, a], lambda x, y: x - y),
    "rsub_number": ([a], lambda x: 1.5 - x),
    "mul": ([a, column], lambda x, y: x * y),
    "mul_same": ([a], lambda x: x * x),
    "div": ([a, positive], lambda x, y: x / y),
    "rdiv_number": ([positive], lambda x: 2.0 / x),
    "neg": ([a], lambda x: -x),
    "minimum": ([a, row], torch.minimum),
    "maximum": ([a, row], torch.maximum),
    "where": ([a, row], lambda x, y: torch.where(x > y, x * 2, y)),
    "less": ([a, row], lambda x, y: (x < y).double()),
    "equal": ([a, a], lambda x, y: (x == y).double()),
    "exp": ([a], torch.exp),
    "log": ([positive], torch.log),
    "sqrt": ([positive], torch.sqrt),
    "rsqrt": ([positive], torch.rsqrt),
    "tanh": ([a], torch.tanh),
    "erf": ([a], torch.erf),
    "sin": ([a], lambda x: torch.sin(x * 3)),
    "cos": ([a], lambda x: torch.cos(x * 3)),
    "abs": ([a], torch.abs),
    "sign": ([a], torch.sign),
    "floor": ([a], lambda x: torch.floor(x * 3)),
    "round": ([a], lambda x: torch.round(x * 3)),
    "square": ([a], torch.square),
    "pow3": ([a], lambda x: x**3),
    "pow_minus2": ([positive], lambda x: x**-2),
    "pow_fraction": ([positive], lambda x: x**1.7),
    "sum": ([big], torch.sum),
    "sum_last": ([long_row], lambda x: x.sum(-1)),
    "sum_first": ([tall], lambda x: x.sum(0)),
    "sum_middle_keep": ([big], lambda x: x.sum(1, keepdim=True)),
    "sum_two": ([big], lambda x: x.sum((0, 2))),
    "mean": ([big], lambda x: x.mean(-1)),
    "mean_all": ([long_row], torch.mean),
    "amax": ([big], lambda x: x.amax(1)),
    "amin_all": ([tall], lambda x: x.amin()),
    "argmax": ([big], lambda x: x.argmax(2).double()),
    "logsumexp": ([big], lambda x: torch.logsumexp(x, 2)),
    "logsumexp_first": ([tall], lambda x: torch.logsumexp(x, 0)),
    "reshape": ([big], lambda x: x.reshape(6, -1) * 2),
    "permute": ([big], lambda x: x.permute(2, 0, 1) * 2),
    "transpose_reshape": ([big], lambda x: x.transpose(1, 2).reshape(34, 3) * 2),
    "expand": ([column], lambda x: x.expand(2, 3, 4) * 2),
    "slice": ([big], lambda x: x[:, :, 3:11] * 2),
    "select": ([big], lambda x: x[:, -1] * 2),
    "concat": ([a, ((3, 2),)], lambda x, y: torch.cat([x, y, x], 1)),
    "stack": ([a, a], lambda x, y: torch.stack([x, y], 1)),
    "pad": ([a], lambda x: F.pad(x, (0, 2, 1, 0), value=0.5)),
    "gather": ([big, ids((2, 3, 4), 17)], lambda x, i: torch.gather(x, 2, i)),
    "gather_first": ([tall, ids((4, 9), 150)], lambda x, i: torch.gather(x, 0, i)),
    "index_select": ([tall, ids((6,), 150)], lambda x, i: torch.index_select(x, 0, i)),
    "scatter_add": ([a, ids((3, 4), 5), ((3, 4),)], lambda x, i, y: x.scatter_add(1, i, y)),
    "embedding": ([ids((2, 4), 11), ((11, 6),)], lambda i, w: F.embedding(i, w)),
    "matmul": ([((7, 33),), ((33, 5),)], torch.matmul),
    "matmul_batch": ([((2, 3, 4, 6),), ((3, 6, 5),)], torch.matmul),
    "matmul_transposed": ([((5, 7),), ((3, 7),)], lambda x, y: x @ y.T),
    "matmul_vector": ([((4, 6),), ((6,),)], torch.matmul),
    "linear": ([((2, 3, 8),), ((5, 8),), ((5,),)], F.linear),
    "conv1d_linear": ([((2, 3, 8),), ((8, 5),), ((5,),)], lambda x, w, b: x @ w + b),
    "relu": ([a], F.relu),
    "gelu": ([wide], F.gelu),
    "gelu_tanh": ([wide], lambda x: F.gelu(x, approximate="tanh")),
    "silu": ([wide], F.silu),
    "sigmoid": ([wide], torch.sigmoid),
    "softmax": ([big], lambda x: F.softmax(x, -1)),
    "softmax_long": ([long_row], lambda x: F.softmax(x * 3, -1)),
    "softmax_axis": ([big], lambda x: F.softmax(x, 1)),
    "log_softmax": ([big], lambda x: F.log_softmax(x, -1)),
    "layer_norm": ([((4, 33),), ((33,),), ((33,),)], lambda x, w, b: F.layer_norm(x, (33,), w, b, 1e-5)),
    "layer_norm_no_bias": ([((2, 3, 8),), ((8,),)], lambda x, w: F.layer_norm(x, (8,), w, None, 1e-5)),
    "rotary": ([((2, 3, 4, 10),), ((2, 1, 4, 5),), ((2, 1, 4, 5),)], lambda x, c, s: torch.cat(
        [x[..., :5] * c - x[..., 5:] * s, x[..., 5:] * c + x[..., :5] * s], -1)),
    "rms_norm": ([((4, 33),), ((33,),)], lambda x, w: F.rms_norm(x, (33,), w, 1e-6)),
    "cross_entropy": ([((6, 11),), ids((6,), 11)], F.cross_entropy),
    "cross_entropy_smooth": ([((6, 11),), ids((6,), 11)],
                             lambda x, t: F.cross_entropy(x, t, reduction="sum", label_smoothing=0.1)),
    "cross_entropy_ignore": ([((6, 11),), ids((6,), 4)], lambda x, t: F.cross_entropy(x, t, ignore_index=2)),
    "attention": ([((2, 3, 7, 8),)] * 3, F.scaled_dot_product_attention),
    "attention_causal": ([((2, 7, 8),)] * 3, lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True)),
    "attention_mask": ([((2, 7, 8),), ((2, 9, 8),), ((2, 9, 8),), ((7, 9),)],
                       lambda q, k, v, m: F.scaled_dot_product_attention(q, k, v, m)),
    "attention_causal_long": ([((2, 7, 8),), ((2, 70, 8),), ((2, 70, 8),)],
                              lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True)),
    "attention_bool_mask": ([((2, 3, 7, 8),), ((2, 1, 9, 8),), ((2, 1, 9, 8),), ids((1, 7, 9), 3)], bool_mask),
    "attention_projected": ([((2, 70, 72),)], projected),
    "conv2d": ([((2, 3, 7, 6),), ((5, 3, 3, 2),), ((5,),)], F.conv2d),
    "conv2d_strided": ([((2, 4, 9, 11),), ((6, 4, 3, 3),)], lambda x, w: F.conv2d(x, w, None, (2, 3), (1, 2))),
    "conv2d_dilated": ([((1, 2, 11, 9),), ((3, 2, 3, 3),), ((3,),)], lambda x, w, b: F.conv2d(x, w, b, 2, 2, (2, 1))),
    "conv2d_groups": ([((2, 6, 5, 8),), ((4, 3, 3, 3),), ((4,),)], lambda x, w, b: F.conv2d(x, w, b, 1, 1, 1, 2)),
    "conv2d_depthwise": ([((2, 5, 6, 6),), ((5, 1, 3, 3),)], lambda x, w: F.conv2d(x, w, None, 1, 1, 1, 5)),
    "conv2d_pointwise": ([((3, 6, 4, 5),), ((7, 6, 1, 1),), ((7,),)], F.conv2d),
    "conv2d_pointwise_strided": ([((2, 6, 7, 5),), ((4, 6, 1, 1),)], lambda x, w: F.conv2d(x, w, None, 2)),
    "conv2d_patches": ([((2, 3, 8, 12),), ((10, 3, 4, 4),), ((10,),)], lambda x, w, b: F.conv2d(x, w, b, 4)),
    "conv2d_wide_padding": ([((1, 2, 3, 2),), ((2, 2, 3, 3),)], lambda x, w: F.conv2d(x, w, None, 1, 4)),
    "conv2d_many_pixels": ([((1, 2, 40, 37),), ((3, 2, 3, 3),), ((3,),)], lambda x, w, b: F.conv2d(x, w, b, 1, 1)),
    "conv2d_one_image": ([((3, 7, 6),), ((5, 3, 3, 2),)], F.conv2d),
    "conv1d": ([((2, 4, 13),), ((6, 2, 3),), ((6,),)], lambda x, w, b: F.conv1d(x, w, b, 2, 1, 2, 2)),
    "max_pool2d": ([((2, 3, 8, 7),)], lambda x: F.max_pool2d(x, 2)),
    "max_pool2d_padded": ([((2, 3, 9, 7),)], lambda x: F.max_pool2d(x, 3, 2, 1)),
    "max_pool2d_ceil": ([((1, 2, 10, 9),)], lambda x: F.max_pool2d(x, (3, 2), (3, 2), (1, 0), (1, 2), ceil_mode=True)),
    "avg_pool2d": ([((2, 3, 8, 7),)], lambda x: F.avg_pool2d(x, 2)),
    "avg_pool2d_padded": ([((2, 3, 9, 7),)], lambda x: F.avg_pool2d(x, 3, 2, 1)),
    "avg_pool2d_inside": ([((2, 3, 9, 8),)], lambda x: F.avg_pool2d(x, (3, 4), (2, 3), (1, 2), True, False)),
    "avg_pool2d_ceil": ([((2, 3, 8, 8),)], lambda x: F.avg_pool2d(x, 3, 2, 1, True)),
    "avg_pool2d_divisor": ([((1, 2, 6, 6),)], lambda x: F.avg_pool2d(x, 3, padding=1, divisor_override=5)),
    "adaptive_avg_pool2d": ([((2, 3, 7, 10),)], lambda x: F.adaptive_avg_pool2d(x, (3, 4))),
    "adaptive_avg_pool2d_even": ([((2, 3, 6, 8),)], lambda x: F.adaptive_avg_pool2d(x, (3, 2))),
    "adaptive_avg_pool2d_larger": ([((1, 2, 3, 4),)], lambda x: F.adaptive_avg_pool2d(x, (5, 6))),
    "adaptive_avg_pool2d_one": ([((2, 3, 7, 5),)], lambda x: F.adaptive_avg_pool2d(x, 1)),
    "batch_norm": ([((4, 3, 5, 6),), ((3,),), ((3,),)], lambda x, w, b: F.batch_norm(x, None, None, w, b, True)),
    "batch_norm_vector": ([((9, 4),), ((4,),), ((4,),)], lambda x, w, b: F.batch_norm(x, None, None, w, b, True, eps=0.1)),
    "batch_norm_plain": ([((4, 3, 7),)], lambda x: F.batch_norm(x, None, None, None, None, True)),
    "batch_norm_inference": ([((4, 3, 5, 6),), ((3,),), ((3,), 0.25, 3.0), ((3,),), ((3,),)],
                             lambda x, *channels: by_statistics(x, *(c[:, None, None] for c in channels))),
}

golden = {}
for name, (specs, f) in CASES.items():
    xs = [operand(i, *spec) for i, spec in enumerate(specs)]
    for x in xs:
        if x.is_floating_point():
            x.requires_grad_()
    y = f(*xs)
    golden[name] = y.detach().contiguous().clone()
    if y.requires_grad:
        w = torch.cos(torch.arange(y.numel(), dtype=torch.float64)).reshape(y.shape)
        (y * w).sum().backward()
        for i, x in enumerate(xs):
            if x.is_floating_point():
                golden[f"{name}.grad.{i}"] = (torch.zeros_like(x) if x.grad is None else x.grad).contiguous().clone()
save_file({k: v.float() for k, v in golden.items()}, os.path.join(os.path.dirname(__file__), "golden.safetensors"),
          metadata={"torch": torch.__version__})
print(len(CASES), "samples,", len(golden), "tensors")
