"""Compares Corten's decoders without the head that continues text (alone, or with a head for whole sequences) with transformers' on
random configs, both ways: folders that transformers writes are evaluated by `corten eval-logits`, and what Corten's
save_pretrained() writes is read by transformers, which has to compute the same. Prints one JSON document; exit code 1 if anything
differs by more than the tolerance (of the largest number).

    ninja -C build/release encoder_peer corten
    python scripts/peers/compare_headless.py build/release/corten build/release/encoder_peer --count 30 --seed 1
"""

import argparse
import json
import pathlib
import random
import subprocess
import sys
import tempfile

import torch
from compare_decoders import random_fields as decoder_fields
from compare_gpt2 import corten, join

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent / "tests" / "models"))
from make_headless_goldens import TASKS, random_labels, random_model  # noqa: E402

TOLERANCE = 1e-4


def random_fields(choose):
    task = choose.choice(["base", "lm", "classes"])
    if choose.random() < 0.2:
        heads = choose.choice([1, 3])
        fields = dict(model_type="gpt2", vocab_size=choose.choice([17, 97]), n_embd=heads * choose.choice([4, 7]), n_head=heads,
                      n_layer=choose.choice([1, 3]), n_positions=16, bos_token_id=1, eos_token_id=2,
                      pad_token_id=choose.choice([None, 5]), tie_word_embeddings=choose.random() < 0.5,
                      scale_attn_by_inverse_layer_idx=choose.random() < 0.3)
    else:
        fields = decoder_fields(choose)
    if task == "classes":
        fields |= dict(num_labels=choose.choice([1, 2, 7]),
                       problem_type=choose.choice(["regression", "single_label_classification", None]))
        if fields["num_labels"] == 1:
            fields["problem_type"] = "regression"
    return task, fields


def random_input(choose, config):
    """One row with padding on one side, or none, and padding ids amid it."""
    tokens, padding = 11, choose.choice([0, 0, 3])
    ids = torch.randint(0, config.vocab_size, (1, tokens))
    mask = torch.ones_like(ids)
    part = slice(tokens - padding, tokens) if choose.random() < 0.6 else slice(0, padding)
    mask[0, part] = 0
    if config.pad_token_id is not None:
        ids[0, part] = config.pad_token_id
    elif part.stop == tokens and padding:
        mask[:] = 1  # the last token is judged
    return ids, mask


def compare(binary, peer, task, fields, choose, seed, temp):
    model = random_model(task, fields, seed)
    model.save_pretrained(temp / "theirs")
    if task == "lm":  # read without its head
        config = json.loads((temp / "theirs" / "config.json").read_text())
        config["architectures"] = [config["architectures"][0].replace("ForCausalLM", "Model").replace("LMHeadModel", "Model")]
        (temp / "theirs" / "config.json").write_text(json.dumps(config))
        body = getattr(model, "transformer", getattr(model, "model", None))
    else:
        body = model
    ids, mask = random_input(choose, model.config)
    labels = {}
    if task == "classes":
        labels["labels"] = random_labels(model.config, 1)
        if labels["labels"].is_floating_point():
            labels["labels"] = labels["labels"].round()
    with torch.no_grad():
        out = body(ids, attention_mask=mask, **labels)
    expected = out.logits if task == "classes" else out.last_hidden_state
    visible = torch.ones(1, dtype=torch.bool) if task == "classes" else mask.bool()
    arguments = ["eval-logits", str(temp / "theirs"), "--input-ids", join(ids), "--attention-mask", join(mask), "--dtype", "f32"]
    if labels:
        arguments.append("--labels=" + join(labels["labels"].long()))
    got = corten(binary, *arguments)
    values = torch.tensor(got["logits" if task == "classes" else "last_hidden_state"]).reshape(got["shape"])
    scale = expected.abs().max().item()
    result = {"values": (values - expected)[visible].abs().max().item() / scale}
    if labels:
        result["loss"] = abs(got["loss"] - out.loss.item()) / (1 + abs(out.loss.item()))

    kind = "classes" if task == "classes" else "base"
    subprocess.run([peer, "save", kind, temp / "theirs", temp / "ours"], check=True)
    again, info = TASKS[kind].from_pretrained(temp / "ours", output_loading_info=True, attn_implementation="eager")
    with torch.no_grad():
        back = again(ids, attention_mask=mask)
    result["back"] = ((back.logits if task == "classes" else back.last_hidden_state) - expected)[visible].abs().max().item() / scale
    theirs, ours = body.state_dict(), again.state_dict()
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
            try:
                result = compare(arguments.binary, arguments.peer, task, fields, choose, index, pathlib.Path(temp))
            except (RuntimeError, subprocess.CalledProcessError) as error:
                failed.append({"task": task, "fields": fields, "error": str(error)})
                continue
        for key, value in result.items():
            worst[key] = max(worst.get(key, 0.0), value)
        if not max(result.values()) <= TOLERANCE:
            failed.append({"task": task, "fields": fields, "result": result})
    print(json.dumps({"count": arguments.count, "worst": worst, "failed": failed}, indent=2))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
