#!/usr/bin/env python3
"""Speed of prefill and decoding beside llama.cpp's, at equal bytes per weight, in turns on one machine.

    python3 scripts/peers/compare_llama_cpp.py LLAMA_CPP LLAMA_BENCH FOLDER [--prompt-tokens 256] [--new-tokens 16] [--rounds 3]

LLAMA_CPP is a source tree (for gguf-py), LLAMA_BENCH its built llama-bench, FOLDER a Llama model in Hugging Face layout with
one model.safetensors of bf16, random weights included. Three GGUF files are written beside it: BF16, Q8_0 and Q4_0 (4.5 bits per
weight, as int4 in groups of 32), without a vocabulary and with query and key rows in their own order: the sums are other ones, the
work is the same. Each round runs both programs once per type; medians are compared.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TYPES = [("bf16", "BF16"), ("int8", "Q8_0"), ("int4", "Q4_0")]


def write_gguf(gguf, folder, kind, path):
    import torch
    from safetensors import safe_open

    with open(os.path.join(folder, "config.json"), encoding="utf-8") as text:
        config = json.load(text)
    quantization = getattr(gguf.GGMLQuantizationType, kind)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_rope_dimension_count(config["hidden_size"] // config["num_attention_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_tokenizer_model("none")
    names = {
        "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
    }
    whole = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight",
             "lm_head.weight": "output.weight"}
    with safe_open(os.path.join(folder, "model.safetensors"), framework="pt") as file:
        for name in file.keys():
            target = whole.get(name)
            if target is None:
                _, _, layer, part = name.removesuffix(".weight").split(".", 3)
                target = f"blk.{layer}.{names[part]}.weight"
            data = file.get_tensor(name).to(torch.float32).numpy()
            if data.ndim == 1:
                writer.add_tensor(target, data)
            else:
                writer.add_tensor(target, gguf.quants.quantize(data, quantization), raw_dtype=quantization)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def run_corten(folder, dtype, options):
    command = [os.path.join(ROOT, "build/release/corten"), "bench", "generate", "--model", folder, "--dtype", dtype, "--threads",
               str(options.threads), "--prompt-tokens", str(options.prompt_tokens), "--new-tokens", str(options.new_tokens), "--json"]
    result = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return result["prefill_tokens_per_s"], result["decode_tokens_per_s"], result["bandwidth_fraction"]


def run_llama(bench, path, options):
    command = [bench, "-m", path, "-t", str(options.threads), "-p", str(options.prompt_tokens), "-n", str(options.new_tokens), "-r", "2",
               "-o", "json"]
    rates = {}
    for entry in json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout):
        rates["prefill" if entry["n_prompt"] else "decode"] = entry["avg_ts"]
    return rates["prefill"], rates["decode"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("llama_cpp")
    parser.add_argument("llama_bench")
    parser.add_argument("folder")
    parser.add_argument("--prompt-tokens", type=int, default=256)
    parser.add_argument("--new-tokens", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    sys.path.insert(0, os.path.join(options.llama_cpp, "gguf-py"))
    import gguf

    paths = {}
    for _, kind in TYPES:
        paths[kind] = os.path.join(options.folder, f"{kind.lower()}.gguf")
        if not os.path.exists(paths[kind]):
            write_gguf(gguf, options.folder, kind, paths[kind])
    print(f"{'':10} {'prefill tok/s':>24} {'':8} {'decode tok/s':>24}")
    print(f"{'weights':10} {'corten':>12}{'llama.cpp':>12} {'ratio':>8} {'corten':>12}{'llama.cpp':>12} {'ratio':>8} {'of the bandwidth':>18}")
    for dtype, kind in TYPES:
        ours, theirs = [], []
        for _ in range(options.rounds):
            ours.append(run_corten(options.folder, dtype, options))
            theirs.append(run_llama(options.llama_bench, paths[kind], options))
        a = [statistics.median(column) for column in zip(*ours)]
        b = [statistics.median(column) for column in zip(*theirs)]
        print(f"{dtype:10} {a[0]:12.1f}{b[0]:12.1f} {a[0] / b[0]:8.2f} {a[1]:12.2f}{b[1]:12.2f} {a[1] / b[1]:8.2f} {a[2]:18.2f}")


if __name__ == "__main__":
    main()
