"""Compares Corten's encoders with transformers' on random configs, both ways: folders that transformers writes are evaluated by
`corten eval-logits`, and what Corten's save_pretrained() writes is read by transformers, which has to compute the same. Prints one
JSON document; exit code 1 if anything differs by more than the tolerance (of the largest number).

    ninja -C build/release encoder_peer corten
    python scripts/peers/compare_encoders.py build/release/corten build/release/encoder_peer --count 30 --seed 1
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

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent / "tests" / "models"))
from make_encoder_goldens import TASKS, random_input, random_labels, random_model  # noqa: E402

TOLERANCE = 1e-4
ACTIVATIONS = ["gelu", "gelu_new", "gelu_fast", "gelu_pytorch_tanh", "relu", "silu", "tanh", "sigmoid", "linear"]


def random_fields(choose):
    model_type, task = choose.choice(["bert", "roberta", "distilbert"]), choose.choice(list(TASKS))
    heads = choose.choice([1, 2, 3, 5])
    width, inner, layers = heads * choose.choice([2, 5, 8]), choose.choice([7, 32]), choose.choice([1, 2, 4])
    fields = dict(model_type=model_type, vocab_size=choose.choice([11, 97]), max_position_embeddings=choose.choice([20, 33]),
                  pad_token_id=choose.choice([0, 1, 6]), tie_word_embeddings=choose.random() < 0.6)
    if model_type == "distilbert":
        fields |= dict(dim=width, n_heads=heads, n_layers=layers, hidden_dim=inner, activation=choose.choice(ACTIVATIONS),
                       sinusoidal_pos_embds=choose.random() < 0.5)
    else:
        fields |= dict(hidden_size=width, num_attention_heads=heads, num_hidden_layers=layers, intermediate_size=inner,
                       hidden_act=choose.choice(ACTIVATIONS), type_vocab_size=choose.choice([1, 2, 5]),
                       layer_norm_eps=choose.choice([1e-12, 1e-5]))
        if model_type == "bert" and choose.random() < 0.2:
            fields["pad_token_id"] = None
    if task == "classes":
        fields |= dict(num_labels=choose.choice([1, 2, 7]),
                       problem_type=choose.choice(["regression", "single_label_classification", None]))
        if fields["num_labels"] == 1:
            fields["problem_type"] = "regression"
    return task, fields


def compare(binary, peer, task, fields, seed, temp):
    model = random_model(task, fields, seed)
    model.save_pretrained(temp / "theirs")
    inputs = random_input(model.config, rows=1)
    inputs.pop("token_type_ids", None)
    labels = {} if task == "base" else {"labels": random_labels(task, model.config, inputs["input_ids"])}
    if "labels" in labels and labels["labels"].is_floating_point():
        labels["labels"] = labels["labels"].round()
    with torch.no_grad():
        out = model(**inputs, **labels)
    expected = out[0] if task == "base" else out.logits
    arguments = ["eval-logits", str(temp / "theirs"), "--input-ids", join(inputs["input_ids"]), "--attention-mask",
                 join(inputs["attention_mask"]), "--dtype", "f32"]
    if labels:
        arguments.append("--labels=" + join(labels["labels"].long()))
    got = corten(binary, *arguments)
    values = torch.tensor(got["last_hidden_state" if task == "base" else "logits"]).reshape(got["shape"])
    scale = expected.abs().max().item()
    result = {"values": (values - expected).abs().max().item() / scale}
    if labels:
        result["loss"] = abs(got["loss"] - out.loss.item()) / (1 + abs(out.loss.item()))

    subprocess.run([peer, "save", task, temp / "theirs", temp / "ours"], check=True)
    again, info = TASKS[task].from_pretrained(temp / "ours", output_loading_info=True, attn_implementation="eager")
    with torch.no_grad():
        back = again(**inputs)
    result["back"] = ((back[0] if task == "base" else back.logits) - expected).abs().max().item() / scale
    theirs, ours = model.state_dict(), again.state_dict()
    result["back_weights"] = float(sum(not torch.equal(theirs[key], ours[key]) for key in theirs) + sum(
        len(info[key]) for key in ("missing_keys", "unexpected_keys", "mismatched_keys")))
    return result


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary")
    parser.add_argument("peer")
    parser.add_argument("--count", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    worst, failed = {}, []
    for index in range(arguments.count):
        choose = random.Random(arguments.seed * 100003 + index)
        task, fields = random_fields(choose)
        with tempfile.TemporaryDirectory() as temp:
            result = compare(arguments.binary, arguments.peer, task, fields, index, pathlib.Path(temp))
        for key, value in result.items():
            worst[key] = max(worst.get(key, 0.0), value)
        if max(result.values()) > TOLERANCE:
            failed.append({"task": task, "fields": fields, "result": result})
    print(json.dumps({"count": arguments.count, "worst": worst, "failed": failed}, indent=2))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
