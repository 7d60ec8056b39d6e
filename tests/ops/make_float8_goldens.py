#!/usr/bin/env python3
"""float8_goldens.safetensors: what PyTorch makes of 8-bit floats.

  cast.x, cast.f8_e4m3, cast.f8_e5m2     conversions by Tensor.to
  x, w, bias, g                          operands of a linear layer and its result's gradient, of different magnitudes
  y, dx, dw, db                          float8_linear(x, w, bias) and its gradients in float32, by torchao's recipe with
                                         tensorwise scales: torch._scaled_mm of e4m3 operands, e5m2 for gradients
  bf16.y, bf16.dx, bf16.dw               the same of x and g in bfloat16, w and dw in float32

Run with the pinned versions of scripts/peers/requirements.txt:  make_float8_goldens.py
"""
import os

import torch
from safetensors.torch import save_file

E4M3, E5M2 = torch.float8_e4m3fn, torch.float8_e5m2


def scaled(x, dtype):
    most = torch.finfo(dtype).max
    scale = most / torch.clamp(x.float().abs().max(), min=1e-12)
    return (x.float() * scale).clamp(-most, most).to(dtype), scale.reciprocal()


def product(a, b, dtype):
    """a b, both {values, scale}; the right one column-major, as the hardware wants it."""
    return torch._scaled_mm(a[0].contiguous(), b[0].t().contiguous().t(), a[1], b[1], out_dtype=dtype)


def linear(x, w, bias, g):
    x8, w8, g8 = scaled(x, E4M3), scaled(w, E4M3), scaled(g, E5M2)
    y = product(x8, (w8[0].t(), w8[1]), torch.float32) + bias
    dx = product(g8, w8, x.dtype)
    dw = product((g8[0].t(), g8[1]), x8, torch.float32)
    return y.to(x.dtype), dx, dw, g.float().sum(0)


torch.manual_seed(3)
bits = torch.randint(0, 1 << 32, (1500,), dtype=torch.int64).to(torch.uint32).view(torch.float32)
grid = torch.cat([t.view(torch.uint8).new_tensor(range(256)).view(t.dtype).float() for t in (torch.empty(1, dtype=E4M3), torch.empty(1, dtype=E5M2))])
middles = (grid[:-1] + grid[1:]) / 2
x = torch.cat([bits, grid, middles, torch.randn(500) * 100, torch.randn(500) * 1e-3, torch.tensor([448.0, 464, 464.5, 480, 1e6, 57344, 61439.9, 61440, 0.0, -0.0])])
x = x[~x.isnan()].contiguous()
out = {"cast.x": x, "cast.f8_e4m3": x.to(E4M3), "cast.f8_e5m2": x.to(E5M2)}

x, w, bias, g = torch.randn(32, 48) * 3, torch.randn(64, 48) * 0.02, torch.randn(64), torch.randn(32, 64) * 1e-4
names = dict(x=x, w=w, bias=bias, g=g)
names.update(zip(("y", "dx", "dw", "db"), linear(x, w, bias, g)))
y, dx, dw, _ = linear(x.bfloat16(), w, bias, g.bfloat16())
names.update({"bf16.y": y, "bf16.dx": dx, "bf16.dw": dw})
out.update({k: v.contiguous() for k, v in names.items()})
save_file(out, os.path.join(os.path.dirname(os.path.abspath(__file__)), "float8_goldens.safetensors"))
