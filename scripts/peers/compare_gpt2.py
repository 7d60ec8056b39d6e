"""Compares Corten's GPT-2 with transformers', both ways: folders that transformers writes are read by Corten, and a folder that
Corten writes (by training a step) is read by transformers. Prints one JSON document; exit code 1 if anything differs by more than
the tolerance.

    python scripts/peers/compare_gpt2.py build/release/corten
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import torch
from transformers import GPT2Config, GPT2LMHeadModel

TOLERANCE = 1e-4
CONFIGS = {
    "tied": dict(n_layer=2, n_embd=48, n_head=4),
    "untied": dict(n_layer=2, n_embd=48, n_head=3, n_inner=100, tie_word_embeddings=False),
    "gelu": dict(n_layer=1, n_embd=64, n_head=2, activation_function="gelu"),
    "inverse_layer": dict(n_layer=3, n_embd=33, n_head=3, scale_attn_by_inverse_layer_idx=True),
    "unscaled": dict(n_layer=2, n_embd=32, n_head=2, scale_attn_weights=False),
    "bf16": dict(n_layer=2, n_embd=32, n_head=2),
}
VOCAB, POSITIONS = 97, 40


def corten(binary, *arguments):
    done = subprocess.run([binary, *arguments, "--json"], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(arguments)}: exit {done.returncode}: {done.stdout}{done.stderr}")
    return json.loads(done.stdout)


def join(tensor):
    return ",".join(str(x) for x in tensor.flatten().tolist())


def compare(binary, folder, model, ids, mask=None):
    """Largest differences of logits and loss between transformers' `model` and Corten's of `folder`."""
    with torch.no_grad():
        expected = model(ids, attention_mask=mask, labels=ids)
    arguments = ["eval-logits", str(folder), "--input-ids", join(ids), "--labels", join(ids), "--dtype", "f32"]
    if mask is not None:
        arguments += ["--attention-mask", join(mask)]
    got = corten(binary, *arguments)
    logits = torch.tensor(got["logits"]).reshape(got["shape"])
    visible = torch.ones_like(ids, dtype=torch.bool) if mask is None else mask.bool()
    return {"logits": (logits - expected.logits)[visible].abs().max().item(),
            "loss": abs(got["loss"] - expected.loss.item()) if mask is None else 0.0}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary")
    arguments = parser.parse_args()
    results = {}
    with tempfile.TemporaryDirectory() as temp:
        temp = pathlib.Path(temp)
        for name, fields in CONFIGS.items():
            torch.manual_seed(11)
            model = GPT2LMHeadModel(GPT2Config(vocab_size=VOCAB, n_positions=POSITIONS, bos_token_id=1, eos_token_id=2,
                                               initializer_range=0.2, attn_implementation="eager", **fields)).eval()
            if name == "bf16":
                model = model.to(torch.bfloat16)
            model.save_pretrained(temp / name)
            model = model.float()
            ids = torch.randint(0, VOCAB, (1, POSITIONS))
            mask = torch.ones_like(ids)
            mask[0, :4] = 0  # rows of padding see nothing but themselves
            mask[0, -5:] = 0
            results[name] = compare(arguments.binary, temp / name, model, ids)
            results[name + ", padded"] = compare(arguments.binary, temp / name, model, ids, mask)

        text = temp / "text.txt"
        text.write_text("".join(f"{i} and {i * i % 91}; " for i in range(4000)))
        run = temp / "run"
        config = temp / "config.toml"
        config.write_text(f'[model]\nmodel_type = "gpt2"\nn_layer = 2\nn_embd = 48\nn_head = 4\nn_positions = 64\n'
                          f'[tokenizer]\nvocab_size = 300\n[data]\ntext = ["{text}"]\nseq = 32\n'
                          f'[train]\nsteps = 2\nbatch = 2\nout = "{run}"\n')
        trained = corten(arguments.binary, "train", str(config))
        folder = pathlib.Path(trained["model_dir"])
        model, loading = GPT2LMHeadModel.from_pretrained(folder, attn_implementation="eager", output_loading_info=True)
        assert not any(loading.values()), loading
        ids = torch.randint(0, model.config.vocab_size, (1, 33))
        results["saved by corten"] = compare(arguments.binary, folder, model.eval(), ids)
    worst = max(max(r.values()) for r in results.values())
    print(json.dumps({"largest_differences": results, "worst": worst, "tolerance": TOLERANCE, "ok": worst <= TOLERANCE}, indent=2))
    return 0 if worst <= TOLERANCE else 1


if __name__ == "__main__":
    sys.exit(main())
