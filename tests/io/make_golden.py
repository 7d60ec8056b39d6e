"""Writes golden.safetensors with the safetensors Python library (made with version 0.8.0). The library
orders the metadata at random; everything else is the same in every run.

    python tests/io/make_golden.py

Every element of tensor number i (in the order below) has the bytes (7 * i + 3 * k) % 251, k = 0, 1, ...
"""
import ctypes
import pathlib

from safetensors import TensorSpec, serialize

TENSORS = [  # name, dtype of the library, its shape argument, bytes
    ("wte.weight", "float32", [3, 5], 60),
    ("h.0.attn.bias", "bool", [2, 3], 6),
    ("h.10.w", "bfloat16", [4, 4], 32),
    ("h.2.w", "bfloat16", [7], 14),
    ("half", "float16", [1, 2, 3], 12),
    ("double", "float64", [2], 16),
    ("long", "int64", [3], 24),
    ("unsigned long", "uint64", [1], 8),
    ("int", "int32", [2, 2], 16),
    ("uint", "uint32", [1], 4),
    ("short", "int16", [3], 6),
    ("ushort", "uint16", [1], 2),
    ("byte", "uint8", [5], 5),
    ("signed byte", "int8", [3], 3),
    ("fp8 a", "float8_e4m3fn", [2], 2),
    ("fp8 b", "float8_e5m2", [1], 1),
    ("fp8 c", "float8_e8m0fnu", [1], 1),
    ("fp8 d", "float8_e4m3fnuz", [1], 1),
    ("fp8 e", "float8_e5m2fnuz", [1], 1),
    ("fp4", "float4_e2m1fn_x2", [2, 3], 6),
    ("complex", "complex64", [1], 8),
    ("scalar", "float32", [], 4),
    ("empty", "float32", [0, 4], 0),
    ('quote " back \\ tab \t \x01 \x7f \u2028 é 😀 /', "float32", [1], 4),
    ("", "int32", [1], 4),
]

specs, keep = {}, []
for i, (name, dtype, shape, size) in enumerate(TENSORS):
    data = bytes((7 * i + 3 * k) % 251 for k in range(size))
    buffer = ctypes.create_string_buffer(data, max(size, 1))
    keep.append(buffer)
    specs[name] = TensorSpec(
        dtype=dtype, shape=shape, data_ptr=ctypes.addressof(buffer), data_len=size
    )

folder = pathlib.Path(__file__).parent
folder.joinpath("golden.safetensors").write_bytes(serialize(specs, {"format": "pt", "né\n": 'a"b'}))
folder.joinpath("golden_empty.safetensors").write_bytes(serialize({}))
