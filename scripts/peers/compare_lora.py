"""Compares Corten's LoRA adapters with PEFT's, both ways: adapters that PEFT writes are evaluated by `corten eval-logits --adapter`,
and what `corten train` with [lora] writes is read by PEFT, which has to compute the same. Prints one JSON document; exit code 1 if
anything differs by more than the tolerance (of the largest number).

    python scripts/peers/compare_lora.py build/release/corten --count 12 --seed 1
"""

import argparse
import json
import pathlib
import random
import subprocess
import sys
import tempfile

import torch
from compare_gpt2 import corten, join
from peft import LoraConfig, PeftModel, get_peft_model
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoModelForSequenceClassification, BertConfig, GPT2Config,
                          LlamaConfig, T5Config)

TOLERANCE = 1e-4
VOCAB = 61
ENDS = dict(bos_token_id=1, eos_token_id=2)
BASES = {
    "gpt2": (AutoModelForCausalLM, GPT2Config(vocab_size=VOCAB, n_embd=12, n_layer=2, n_head=3, n_positions=32, **ENDS)),
    "llama": (AutoModelForCausalLM, LlamaConfig(vocab_size=VOCAB, hidden_size=16, intermediate_size=20, num_hidden_layers=3,
                                                num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=32,
                                                attention_bias=True, **ENDS)),
    "t5": (AutoModelForSeq2SeqLM, T5Config(vocab_size=VOCAB, d_model=12, d_kv=5, d_ff=10, num_layers=2, num_heads=3,
                                           decoder_start_token_id=0)),
    "classes": (AutoModelForSequenceClassification, LlamaConfig(vocab_size=VOCAB, hidden_size=16, intermediate_size=20, num_labels=3,
                                                                num_hidden_layers=2, num_attention_heads=4, pad_token_id=0,
                                                                max_position_embeddings=32, **ENDS)),
    "bert": (AutoModelForSequenceClassification, BertConfig(vocab_size=VOCAB, hidden_size=12, intermediate_size=10, num_labels=3,
                                                            num_hidden_layers=2, num_attention_heads=3,
                                                            max_position_embeddings=32)),
}
TARGETS = {
    "gpt2": [["c_attn"], ["c_attn", "c_proj", "c_fc"], r".*\.(attn\.c_proj|mlp\.c_fc)", "all-linear"],
    "llama": [["q_proj", "v_proj"], ["down_proj", "o_proj", "k_proj"], r"model\.layers\.[02]\.mlp\..*_proj", "all-linear",
              ["q_proj", "lm_head"], ["embed_tokens", "lm_head", "v_proj"], r"model\.embed_tokens|.*\.o_proj"],
    "classes": [["q_proj", "v_proj"], ["embed_tokens", "down_proj"]],
    "t5": [["q", "v"], ["wi", "wo", "o"], r"decoder\..*\.(k|v)", "all-linear"],
    "bert": [["query", "value"], ["dense"], r".*\.attention\.self\.(query|key)"],
}
SAVED = {"gpt2": ["ln_f"], "llama": ["lm_head"], "t5": ["final_layer_norm"], "bert": ["classifier"],
         "classes": ["score"]}
CLASSIFIERS = ("bert", "classes")


def random_base(name, seed):
    torch.manual_seed(seed)
    auto, config = BASES[name]
    model = auto.from_config(config).float().eval()
    with torch.no_grad():
        for key, p in model.named_parameters():
            p.normal_(1 if "norm" in key.lower() and key.endswith("weight") else 0, 0.3)
    return model


def random_config(choose, name):
    config = dict(r=choose.choice([1, 3, 8]), lora_alpha=choose.choice([1, 8, 2.5]), target_modules=choose.choice(TARGETS[name]),
                  lora_dropout=choose.choice([0.0, 0.2]), use_rslora=choose.random() < 0.3,
                  bias=choose.choice(["none", "none", "all", "lora_only"]), fan_in_fan_out=name == "gpt2",
                  task_type={"bert": "SEQ_CLS", "classes": "SEQ_CLS", "t5": "SEQ_2_SEQ_LM"}.get(name, "CAUSAL_LM"))
    if choose.random() < 0.4 and "lm_head" not in config["target_modules"]:
        config["modules_to_save"] = SAVED[name]
    if isinstance(config["target_modules"], list):
        if choose.random() < 0.3:
            config |= dict(layers_to_transform=choose.choice([1, [0]]))
        last = config["target_modules"][-1]
        if choose.random() < 0.3:
            config |= dict(rank_pattern={last: 2}, alpha_pattern={rf".*1.*\.{last}": 5})
        if choose.random() < 0.2 and name == "gpt2":
            config |= dict(exclude_modules=["mlp.c_proj"])
    return config


def evaluate(binary, model, name, arguments):
    """Largest difference of the logits, relative to the largest."""
    ids = torch.randint(3, VOCAB, (1, 9))
    inputs = dict(input_ids=ids)
    if name == "t5":
        inputs["decoder_input_ids"] = torch.randint(3, VOCAB, (1, 5))
        arguments = [*arguments, "--decoder-input-ids", join(inputs["decoder_input_ids"])]
    with torch.no_grad():
        expected = model.eval()(**inputs).logits
    got = corten(binary, "eval-logits", *arguments, "--input-ids", join(ids), "--dtype", "f32")
    return (torch.tensor(got["logits"]).reshape(got["shape"]) - expected).abs().max().item() / expected.abs().max().item()


def from_peft(binary, choose, name, seed, temp):
    base = random_base(name, seed)
    base.save_pretrained(temp / "base")
    config = random_config(choose, name)
    model = get_peft_model(BASES[name][0].from_pretrained(temp / "base"), LoraConfig(**config))
    with torch.no_grad():
        for key, p in model.named_parameters():
            if p.requires_grad:
                p.normal_(0, 0.3)
    model.save_pretrained(temp / "adapter")
    changed = evaluate(binary, base, name, [str(temp / "base")])
    return config, {"base": changed,
                    "adapter": evaluate(binary, model, name, [str(temp / "base"), "--adapter", str(temp / "adapter")])}


def to_peft(binary, choose, name, seed, temp):
    """A run of a few steps: the adapter, and that nothing else was trained."""
    random_base(name, seed).save_pretrained(temp / "base")
    words = [f"w{i}" for i in range(VOCAB - 3)]
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(["<unk>", "<s>", "</s>", *words])}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    tokenizer.save(str(temp / "base" / "tokenizer.json"))
    draw = random.Random(seed)
    if name in CLASSIFIERS:
        text = temp / "text.jsonl"
        text.write_text("".join(json.dumps({"text": " ".join(draw.choices(words, k=6)), "label": draw.choice("abc")}) + "\n"
                                for _ in range(60)))
    else:
        text = temp / "text.txt"
        text.write_text(" ".join(draw.choices(words, k=3000)))
    config = dict(r=choose.choice([2, 4]), alpha=choose.choice([4.0, 16.0]), dropout=choose.choice([0.0, 0.1]))
    targets = choose.choice([[], TARGETS[name][1], ["all-linear"]] + ([["lm_head", "embed_tokens"]] if name == "llama" else []))
    if name in CLASSIFIERS and targets == ["all-linear"]:
        targets = []
    lines = [f"[model]\npath = \"{temp / 'base'}\"", "task = \"sequence-classification\"" if name in CLASSIFIERS else "",
             f"[data]\ntext = [\"{text}\"]\nseq = 16", "[train]\nsteps = 6\nbatch = 4\nlog_every = 1",
             f"out = \"{temp / 'run'}\"", "[optim]\nlr = 0.02\nwarmup_steps = 1",
             "[lora]\n" + "\n".join(f"{key} = {value}" for key, value in config.items())]
    if targets:
        lines.append(f"target_modules = {json.dumps(targets)}")
    (temp / "run.toml").write_text("\n".join(lines) + "\n")
    result = corten(binary, "train", str(temp / "run.toml"))
    base = BASES[name][0].from_pretrained(temp / "base")
    model = PeftModel.from_pretrained(base, result["model_dir"])
    run = evaluate(binary, model, name, [str(temp / "run")])
    place = evaluate(binary, model, name, [str(temp / "base"), "--adapter", result["model_dir"]])
    merged = evaluate(binary, model.merge_and_unload(), name, [str(temp / "run")])
    untrained = random_base(name, seed)
    moved = evaluate(binary, untrained, name, [str(temp / "run")])
    return config | {"targets": targets}, {"run": run, "run_adapter": place, "merged": merged, "untrained": -moved}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary")
    parser.add_argument("--count", type=int, default=12)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    worst, failed = {}, []
    for index in range(arguments.count):
        choose = random.Random(arguments.seed * 100003 + index)
        name = list(BASES)[index % len(BASES)]
        directions = [from_peft] if name == "t5" else [from_peft, to_peft]
        for direction in directions:
            with tempfile.TemporaryDirectory() as temp:
                try:
                    config, result = direction(arguments.binary, choose, name, index, pathlib.Path(temp))
                except (RuntimeError, subprocess.CalledProcessError) as error:
                    failed.append({"base": name, "error": str(error)})
                    continue
            for key, value in result.items():
                worst[key] = max(worst.get(key, -1e9), value)
            # "untrained": training moved the logits, by so much at least.
            if any(not value <= (TOLERANCE if key != "untrained" else -1e-3) for key, value in result.items()):
                failed.append({"base": name, "config": config, "result": result})
    print(json.dumps({"count": arguments.count, "worst": worst, "failed": failed}, indent=2))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
