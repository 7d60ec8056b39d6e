#!/usr/bin/env python3
"""Speed of prefill and decoding beside llama.cpp's, at equal bytes per weight, in turns on one machine.

    python3 scripts/peers/compare_llama_cpp.py LLAMA_CPP LLAMA_BENCH FOLDER [--make llama-1.1b|gpt2]
        [--prompt-tokens 256] [--new-tokens 16] [--rounds 3]

LLAMA_CPP is a source tree (for gguf-py), LLAMA_BENCH its built llama-bench, FOLDER a Llama model or GPT-2 in Hugging Face layout
with one model.safetensors of bf16; --make writes one with random weights there. Three GGUF files are written beside it: BF16, Q8_0 and Q4_0 (4.5 bits per
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


LLAMA = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
    "model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output",
}
GPT2 = {
    "ln_1": "attn_norm", "attn.c_attn": "attn_qkv", "attn.c_proj": "attn_output",
    "ln_2": "ffn_norm", "mlp.c_fc": "ffn_up", "mlp.c_proj": "ffn_down",
    "transformer.wte": "token_embd", "transformer.wpe": "position_embd", "transformer.ln_f": "output_norm",
}


def make_folder(preset, folder):
    import torch
    import transformers

    if preset == "gpt2":
        model = transformers.GPT2LMHeadModel(transformers.GPT2Config())
    else:
        model = transformers.LlamaForCausalLM(transformers.LlamaConfig(
            hidden_size=2048, intermediate_size=5632, num_hidden_layers=22, num_attention_heads=32, num_key_value_heads=4,
            max_position_embeddings=2048, vocab_size=32000))
    model.to(torch.bfloat16).save_pretrained(folder, max_shard_size="100GB")


def write_gguf(gguf, folder, kind, path):
    import torch
    from safetensors import safe_open

    with open(os.path.join(folder, "config.json"), encoding="utf-8") as text:
        config = json.load(text)
    gpt2 = config["model_type"] == "gpt2"
    quantization = getattr(gguf.GGMLQuantizationType, kind)
    writer = gguf.GGUFWriter(path, "gpt2" if gpt2 else "llama")
    if gpt2:
        writer.add_context_length(config["n_positions"])
        writer.add_embedding_length(config["n_embd"])
        writer.add_block_count(config["n_layer"])
        writer.add_feed_forward_length(4 * config["n_embd"])
        writer.add_head_count(config["n_head"])
        writer.add_layer_norm_eps(config["layer_norm_epsilon"])
    else:
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
    names = GPT2 if gpt2 else LLAMA
    with safe_open(os.path.join(folder, "model.safetensors"), framework="pt") as file:
        for name in file.keys():
            if gpt2 and name == "lm_head.weight":
                continue  # tied
            stem, _, part = name.rpartition(".")
            if stem in names:
                target = f"{names[stem]}.{part}"
            else:
                layer, module = stem.split(".layers." if not gpt2 else ".h.")[1].split(".", 1)
                target = f"blk.{layer}.{names[module]}.{part}"
            data = file.get_tensor(name).to(torch.float32)
            if gpt2 and ".c_" in name and part == "weight":
                data = data.T.contiguous()
            data = data.numpy()
            if data.ndim == 1 or target.startswith("position_embd"):
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
    parser.add_argument("--make", choices=["llama-1.1b", "gpt2"])
    parser.add_argument("--prompt-tokens", type=int, default=256)
    parser.add_argument("--new-tokens", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    sys.path.insert(0, os.path.join(options.llama_cpp, "gguf-py"))
    import gguf

    if options.make and not os.path.exists(os.path.join(options.folder, "model.safetensors")):
        make_folder(options.make, options.folder)
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
