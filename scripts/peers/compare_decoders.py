"""Compares Corten's decoders with transformers' on random configs, both ways: folders that transformers writes are read by
Corten, and what Corten trains is read by transformers. Prints one JSON document; exit code 1 if anything differs by more than the
tolerance (of the largest logit).

    python scripts/peers/compare_decoders.py build/release/corten --count 40 --seed 1
"""

import argparse
import json
import pathlib
import random
import sys
import tempfile

import torch
from compare_gpt2 import corten, join
from transformers import AutoModelForCausalLM

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent / "tests" / "models"))
from make_decoder_goldens import random_model, spell_as_v4  # noqa: E402

TOLERANCE = 1e-4
TYPES = ["llama", "mistral", "qwen2", "qwen3", "gemma2"]


def random_rope(choose, model_type, positions):
    theta = choose.choice([50.0, 10000.0, 500000.0])
    kind = choose.choice(["default", "default", "linear", "dynamic", "yarn", "llama3"])
    rope = dict(rope_type=kind, rope_theta=theta)
    if kind != "default":
        rope["factor"] = choose.choice([1.0, 1.5, 4.0, 8.0])
    if kind in ("yarn", "llama3"):
        rope["original_max_position_embeddings"] = choose.choice([4, positions // 2, positions])
    if kind == "llama3":
        rope |= dict(low_freq_factor=choose.choice([0.5, 1.0]), high_freq_factor=choose.choice([2.0, 4.0]))
    if kind == "yarn":
        if choose.random() < 0.5:
            rope |= dict(beta_fast=choose.choice([8.0, 32.0]), beta_slow=choose.choice([0.25, 1.0]))
        if choose.random() < 0.3:
            rope["attention_factor"] = 0.8
        if choose.random() < 0.3:
            rope |= dict(mscale=0.7, mscale_all_dim=1.3)
        if choose.random() < 0.3:
            rope["truncate"] = False
    return rope


def random_fields(choose):
    model_type = choose.choice(TYPES)
    kv, group = choose.choice([1, 2, 3]), choose.choice([1, 2, 3, 5])
    heads, positions = kv * group, choose.choice([16, 40])
    fields = dict(model_type=model_type, vocab_size=choose.choice([17, 97]), num_key_value_heads=kv, num_attention_heads=heads,
                  hidden_size=heads * choose.choice([2, 4, 6]) if model_type in ("llama", "qwen2", "gemma2")
                  else choose.choice([10, 33]),
                  intermediate_size=choose.choice([9, 32]), num_hidden_layers=choose.choice([1, 2, 5]),
                  max_position_embeddings=positions, rms_norm_eps=choose.choice([1e-6, 1e-5, 1e-2]), bos_token_id=1, eos_token_id=2,
                  pad_token_id=choose.choice([None, 0]), tie_word_embeddings=choose.random() < 0.5,
                  rope_parameters=random_rope(choose, model_type, positions))
    if model_type in ("mistral", "qwen3", "gemma2") or choose.random() < 0.3:
        fields["head_dim"] = choose.choice([4, 8, 20])
    if fields["rope_parameters"]["rope_type"] == "dynamic" and "head_dim" not in fields:
        fields["hidden_size"] = 4 * heads  # transformers divides by the head size less two
    if model_type in ("llama", "qwen3", "gemma2"):
        fields["attention_bias"] = choose.random() < 0.5
    if model_type == "llama":
        fields["mlp_bias"] = choose.random() < 0.5
    if model_type != "gemma2":
        fields["hidden_act"] = choose.choice(["silu", "gelu", "gelu_pytorch_tanh", "relu"])
    if model_type == "mistral":
        fields["sliding_window"] = choose.choice([None, 1, 3, 7, 100])
    if model_type.startswith("qwen"):
        fields |= dict(use_sliding_window=choose.random() < 0.7, sliding_window=choose.choice([2, 5]),
                       max_window_layers=choose.choice([0, 1, 3]))
    if model_type == "gemma2":
        fields |= dict(sliding_window=choose.choice([2, 6]), query_pre_attn_scalar=choose.choice([3, 16]),
                       attn_logit_softcapping=choose.choice([None, 1.5, 50.0]),
                       final_logit_softcapping=choose.choice([None, 2.0, 30.0]))
    return fields


def compare(binary, folder, model, ids, mask=None):
    """Largest difference of the logits, relative to the largest logit, and that of the loss."""
    with torch.no_grad():
        expected = model(ids, attention_mask=mask, labels=ids)
    arguments = ["eval-logits", str(folder), "--input-ids", join(ids), "--labels", join(ids), "--dtype", "f32"]
    if mask is not None:
        arguments += ["--attention-mask", join(mask)]
    got = corten(binary, *arguments)
    logits = torch.tensor(got["logits"]).reshape(got["shape"])
    visible = torch.ones_like(ids, dtype=torch.bool) if mask is None else mask.bool()
    scale = expected.logits.abs().max().clamp(min=1).item()
    return {"logits": (logits - expected.logits)[visible].abs().max().item() / scale,
            "loss": abs(got["loss"] - expected.loss.item()) / scale if mask is None else 0.0}


def train(binary, temp, model_type):
    """A model trained from a TOML file, as transformers reads it."""
    text = temp / "text.txt"
    text.write_text("".join(f"{i} and {i * i % 91}; " for i in range(4000)))
    run, config = temp / f"run_{model_type}", temp / f"{model_type}.toml"
    extra = {"mistral": "sliding_window = 8\n", "qwen2": "use_sliding_window = true\nsliding_window = 8\nmax_window_layers = 1\n",
             "qwen3": "head_dim = 16\n", "gemma2": "head_dim = 16\nsliding_window = 8\nquery_pre_attn_scalar = 16\n",
             "llama": "attention_bias = true\nrope_theta = 500.0\ntie_word_embeddings = true\n"}[model_type]
    config.write_text(f'[model]\nmodel_type = "{model_type}"\nhidden_size = 48\nintermediate_size = 64\nnum_hidden_layers = 2\n'
                      f'num_attention_heads = 4\nnum_key_value_heads = 2\nmax_position_embeddings = 64\n{extra}'
                      f'[tokenizer]\nvocab_size = 300\n[data]\ntext = ["{text}"]\nseq = 32\n'
                      f'[train]\nsteps = 3\nbatch = 2\nout = "{run}"\n')
    folder = pathlib.Path(corten(binary, "train", str(config))["model_dir"])
    model, loading = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", output_loading_info=True)
    assert not any(loading.values()), loading
    ids = torch.randint(0, model.config.vocab_size, (1, 33))
    return compare(binary, folder, model.eval(), ids)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary")
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    choose = random.Random(arguments.seed)
    results, fields_of = {}, {}
    with tempfile.TemporaryDirectory() as temp:
        temp = pathlib.Path(temp)
        for number in range(arguments.count):
            fields = random_fields(choose)
            name = f"{number} {fields['model_type']}"
            fields_of[name] = fields
            model = random_model(fields, seed=number)
            folder = temp / str(number)
            model.save_pretrained(folder)
            if choose.random() < 0.5:
                spell_as_v4(folder)
            positions = fields["max_position_embeddings"]
            ids = torch.randint(0, fields["vocab_size"], (1, positions))
            mask = torch.ones_like(ids)
            mask[0, :4] = 0
            results[name] = compare(arguments.binary, folder, model, ids)
            results[name + ", padded"] = compare(arguments.binary, folder, model, ids, mask)
        for model_type in TYPES:
            results[f"{model_type} trained by corten"] = train(arguments.binary, temp, model_type)
    worst = max(max(r.values()) for r in results.values())
    bad = {name: {"difference": r, "fields": fields_of.get(name.removesuffix(", padded"))}
           for name, r in results.items() if max(r.values()) > TOLERANCE}
    print(json.dumps({"compared": len(results), "worst": worst, "tolerance": TOLERANCE, "ok": not bad, "bad": bad}, indent=2))
    return 0 if not bad else 1


if __name__ == "__main__":
    sys.exit(main())
