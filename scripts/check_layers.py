#!/usr/bin/env python3
"""Checks the structure of the sources: includes go downwards only, every third-party library is
included by one file, public headers leak nothing, ops know of no device. Prints one line per fault; exit code 1 if any.
Files over 800 lines are warnings."""

import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
MAX_LINES = 800

# From the bottom up; folders on one line do not include each other.
LAYERS = [
    ["base"],
    ["comm"],
    ["ir"],
    ["ops"],
    ["grad", "passes"],
    ["kernel"],
    ["codegen", "gemm", "attention"],
    ["convolution", "quant", "cuda"],
    ["runtime"],
    ["nn", "data", "text", "io"],
    ["optim"],
    ["models"],
    ["train"],
    ["diagnose"],
    ["cli"],
]
LEVEL = {folder: level for level, folders in enumerate(LAYERS) for folder in folders}

# The layer that implements each public header. It may include the public headers of its own level.
PUBLIC = {
    "error.h": "base",
    "dtype.h": "base",
    "device.h": "runtime",
    "tensor.h": "runtime",
    "ops.h": "runtime",
    "conv.h": "runtime",
    "random.h": "runtime",
    "checkpoint.h": "runtime",
    "compile.h": "runtime",
    "custom_op.h": "runtime",
    "corten.h": "train",
    "memory.h": "runtime",
    "quantize.h": "runtime",
    "float8.h": "runtime",
    "nn.h": "nn",
    "nn_conv.h": "nn",
    "init.h": "nn",
    "optim.h": "optim",
    "amp.h": "optim",
    "data.h": "data",
    "tokenizer.h": "text",
    "safetensors.h": "io",
    "models.h": "models",
    "load_report.h": "models",
    "generate.h": "models",
    "auto.h": "models",
    "check_folder.h": "models",
    "encoders.h": "models",
    "seq2seq.h": "models",
    "lora.h": "models",
    "vision.h": "models",
}

# What belongs to a third-party library, which one file includes; LLVM has a folder of its own.
THIRD_PARTY = {
    "fmt": r"fmt/",
    "nlohmann_json": r"nlohmann/",
    "toml++": r"toml\+\+|tomlplusplus",
    "CLI11": r"CLI/|CLI11",
    "PCRE2": r"pcre2",
    "xxHash": r"xxhash|xxh3",
    "LLVM": r"llvm",
    "NVRTC": r"nvrtc",
    "cuBLASLt": r"cublas",
    "cuDNN": r"cudnn",
    "CUDA driver": r"cuda\.h",
    "CUPTI": r"cupti",
    "NCCL": r"nccl",
}

INCLUDE = re.compile(r'^\s*#\s*include\s+([<"])([^>"]+)[>"]')


def sources(folder, suffixes=(".h", ".cpp")):
    for path, folders, names in os.walk(os.path.join(ROOT, folder)):
        folders.sort()
        for name in sorted(names):
            if name.endswith(suffixes):
                yield os.path.relpath(os.path.join(path, name), ROOT)


def includes(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as text:
        for number, line in enumerate(text, 1):
            match = INCLUDE.match(line)
            if match:
                yield number, match.group(1) == "<", match.group(2)


def mentions_of_a_device(path):
    """Ops are written once for all devices: their files know nothing of one."""
    with open(os.path.join(ROOT, path), encoding="utf-8") as text:
        for number, line in enumerate(text, 1):
            if match := re.search(r"cuda|gpu", line, re.IGNORECASE):
                yield f"{path}:{number}: an op's file mentions a device ({match.group()})"


def layer_of_include(target):
    """The layer that an include belongs to, or None for the standard library and others."""
    first = target.split("/")[0]
    if first == "corten":
        name = target.split("/", 1)[1]
        if name not in PUBLIC:
            raise ValueError(f"{target} has no layer; name it in scripts/check_layers.py")
        return PUBLIC[name]
    return first if first in LEVEL and "/" in target else None


def check(faults):
    users = {library: {} for library in THIRD_PARTY}
    for path in [*sources("src"), *sources("include")]:
        parts = path.split(os.sep)
        public = parts[0] == "include"
        layer = PUBLIC.get(parts[-1]) if public else parts[1]
        if layer not in LEVEL:
            faults.append(f"{path}: no layer of this name; see scripts/check_layers.py")
            continue
        for number, angled, target in includes(path):
            where = f"{path}:{number}"
            for library, pattern in THIRD_PARTY.items():
                if re.match(pattern, target) and angled:
                    owner = os.path.dirname(path) if library in ("LLVM", "CUDA driver") else path
                    users[library].setdefault(owner, where)
            try:
                below = layer_of_include(target)
            except ValueError as fault:
                faults.append(f"{where}: {fault}")
                continue
            if public and not angled and not target.startswith("corten/"):
                faults.append(f"{where}: a public header includes the internal {target}")
            if public and angled and "/" in target:
                faults.append(f"{where}: a public header includes <{target}>")
            if below is None or below == layer:
                continue
            if LEVEL[below] > LEVEL[layer]:
                faults.append(f"{where}: {layer} includes {target} of {below}, a layer above")
            elif LEVEL[below] == LEVEL[layer] and not target.startswith("corten/"):
                faults.append(f"{where}: {layer} includes {target} of {below}, a layer beside it")
        if layer == "ops":
            faults.extend(mentions_of_a_device(path))
    for library, paths in users.items():
        if len(paths) > 1:
            faults.append(f"{library} is included in several places: {', '.join(paths.values())}")


def main():
    faults = []
    check(faults)
    for fault in faults:
        print(f"error: {fault}")
    for folder in ("src", "include", "tests", "examples", "bench"):
        for path in sources(folder, (".h", ".cpp", ".py")):
            with open(os.path.join(ROOT, path), encoding="utf-8") as text:
                lines = sum(1 for _ in text)
            if lines > MAX_LINES:
                print(f"warning: {path} has {lines} lines (over {MAX_LINES})")
    print(f"{len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
