"""Compares Corten's T5 with transformers' on random configs: logits, losses and gradients of every parameter of folders that
transformers writes, the tokens that both generate, and what transformers computes with the folders that Corten writes. Prints one
JSON document; exit code 1 if anything differs by more than the tolerance (of the largest number).

    ninja -C build/release seq2seq_peer corten
    python scripts/peers/compare_t5.py build/release/corten build/release/seq2seq_peer --count 20 --seed 1
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
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSeq2SeqLM, GenerationConfig

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent / "tests" / "models"))
from make_t5_goldens import random_model, save  # noqa: E402

TOLERANCE = {"logits": 1e-4, "loss": 1e-4, "line_logits": 1e-4, "line_loss": 1e-4, "gradients": 1e-3, "tokens": 0, "back": 1e-5,
             "back_weights": 0, "bytes": 0, "shards": 0}


def random_fields(choose):
    heads, buckets = choose.choice([1, 2, 3, 5]), choose.choice([4, 7, 8, 12, 32])
    fields = dict(vocab_size=choose.choice([19, 97]), d_model=choose.choice([8, 15, 24]), d_kv=choose.choice([1, 3, 8]),
                  d_ff=choose.choice([7, 32]), num_heads=heads, num_layers=choose.choice([1, 2, 3]),
                  num_decoder_layers=choose.choice([None, 1, 2, 4]), relative_attention_num_buckets=buckets,
                  relative_attention_max_distance=choose.choice([buckets // 2 + 1, 20, 128]),
                  layer_norm_epsilon=choose.choice([1e-6, 1e-3]), pad_token_id=0, eos_token_id=1,
                  decoder_start_token_id=choose.choice([0, 2]),
                  feed_forward_proj=choose.choice(["relu", "gated-gelu", "gated-silu", "gelu", "gated-relu"]))
    if choose.random() < 0.5:
        fields["tie_word_embeddings"] = False
    return fields, "tie_word_embeddings" in fields and choose.random() < 0.7


def random_inputs(choose, fields):
    rows, tokens, targets = choose.choice([1, 2, 3]), choose.choice([1, 4, 40]), choose.choice([1, 7, 30])
    ids = torch.randint(2, fields["vocab_size"], (rows, tokens))
    mask = torch.ones_like(ids)
    for row in range(rows):
        hidden = choose.choice([0, tokens // 3])
        mask[row, tokens - hidden:] = 0
        ids[row, tokens - hidden:] = 0
    labels = torch.randint(2, fields["vocab_size"], (rows, targets))
    labels[torch.rand(labels.shape) < 0.2] = -100
    labels[0, 0] = 3
    inputs = dict(input_ids=ids, attention_mask=mask, labels=labels)
    if choose.random() < 0.4:
        inputs["decoder_input_ids"] = torch.randint(2, fields["vocab_size"], labels.shape)
    return inputs


def distance(got, expected, floor=0.0):
    return (got - expected).abs().max().item() / max(expected.abs().max().item(), floor)


def random_settings(choose):
    settings = dict(max_new_tokens=choose.choice([1, 8, 20]), num_beams=choose.choice([1, 1, 2, 4]), do_sample=False,
                    eos_token_id=choose.choice([1, [1, 5, 9]]), pad_token_id=0)
    if choose.random() < 0.4:
        settings |= dict(repetition_penalty=1.4, no_repeat_ngram_size=choose.choice([0, 2]))
    if choose.random() < 0.3:
        settings["min_new_tokens"] = min(4, settings["max_new_tokens"])
    if choose.random() < 0.2:
        settings["forced_eos_token_id"] = 1
    if choose.random() < 0.2:
        settings["forced_bos_token_id"] = 6
    if settings["num_beams"] > 1:
        settings |= dict(num_return_sequences=choose.choice([1, 2]), length_penalty=choose.choice([1.0, 2.0, -1.0]),
                         early_stopping=choose.choice([False, True, "never"]))
    return settings


def compare_texts(choose, peer, model, inputs, temp):
    """How many texts differ, of several settings."""
    wrong = 0
    prompts = [row[mask == 1].tolist() for row, mask in zip(inputs["input_ids"], inputs["attention_mask"])]
    (temp / "prompts").write_text("".join(join(torch.tensor(p)).replace(",", " ") + "\n" for p in prompts))
    for _ in range(3):
        settings = random_settings(choose)
        # The cache of transformers 5.23 has no room for more layers than the encoder has.
        config = GenerationConfig(**settings, use_cache=False, decoder_start_token_id=model.config.decoder_start_token_id)
        rows = model.generate(inputs["input_ids"], attention_mask=inputs["attention_mask"],
                              generation_config=config)[:, 1:].tolist()
        ends = settings["eos_token_id"] if isinstance(settings["eos_token_id"], list) else [settings["eos_token_id"]]
        expected = [row[:min([row.index(end) for end in ends if end in row], default=len(row))] for row in rows]
        (temp / "settings").write_text(json.dumps(settings))
        out = subprocess.run([peer, "generate", temp / "theirs", temp / "settings", temp / "prompts"], check=True,
                             capture_output=True, text=True).stdout
        wrong += [[int(x) for x in line.split()] for line in out.splitlines()] != expected
    return wrong


def compare(binary, peer, choose, fields, own_head, seed, temp):
    model = random_model("lm", fields, seed, own_head)
    save(model, temp / "theirs", own_head)
    inputs = random_inputs(choose, fields)
    out = model(**inputs)
    out.loss.backward()
    save_file(inputs, temp / "inputs.safetensors")
    subprocess.run([peer, "gradients", temp / "theirs", temp / "inputs.safetensors", temp / "out.safetensors"], check=True)
    got = load_file(temp / "out.safetensors")
    result = {"logits": distance(got["logits"], out.logits), "loss": distance(got["loss"], out.loss)}
    gradients = {key: p.grad for key, p in model.named_parameters() if p.grad is not None}
    if set("grad." + key for key in gradients) != {key for key in got if key.startswith("grad.")}:
        raise SystemExit("other parameters have gradients")
    # Of a softmax over one key nothing moves the scores: the gradient is rounding of the others' size.
    floor = 1e-3 * max(g.abs().max().item() for g in gradients.values())
    result["gradients"] = max(distance(got["grad." + key], g, floor) for key, g in gradients.items())

    line = {key: value[:1] for key, value in inputs.items()}
    with torch.no_grad():
        expected = model(**line)
    arguments = ["eval-logits", str(temp / "theirs"), "--input-ids", join(line["input_ids"]), "--attention-mask",
                 join(line["attention_mask"]), "--labels=" + join(line["labels"])]
    if "decoder_input_ids" in line:
        arguments += ["--decoder-input-ids", join(line["decoder_input_ids"])]
    got = corten(binary, *arguments)
    result["line_logits"] = distance(torch.tensor(got["logits"]).reshape(got["shape"]), expected.logits)
    result["line_loss"] = abs(got["loss"] - expected.loss.item()) / expected.loss.item()
    result["tokens"] = compare_texts(choose, peer, model, inputs, temp)

    subprocess.run([peer, "save", "lm", temp / "theirs", temp / "ours"], check=True)
    result["bytes"] = int((temp / "theirs/model.safetensors").read_bytes() != (temp / "ours/model.safetensors").read_bytes())
    again, info = AutoModelForSeq2SeqLM.from_pretrained(temp / "ours", output_loading_info=True)
    with torch.no_grad():
        result["back"] = distance(again(**inputs).logits, model(**inputs).logits)
    # In shards: the same index and files.
    again.save_pretrained(temp / "shards", max_shard_size=3000)
    subprocess.run([peer, "save", "lm", temp / "shards", temp / "ours_sharded", "3000"], check=True)
    result["shards"] = sum(not (temp / "ours_sharded" / path.name).exists()
                           or (temp / "ours_sharded" / path.name).read_bytes() != path.read_bytes()
                           for path in (temp / "shards").glob("model*"))
    sharded = AutoModelForSeq2SeqLM.from_pretrained(temp / "ours_sharded")
    result["shards"] += sum(not torch.equal(value, sharded.state_dict()[key]) for key, value in again.state_dict().items())
    theirs, ours = model.state_dict(), again.state_dict()
    result["back_weights"] = sum(not torch.equal(theirs[key], ours[key]) for key in theirs) + sum(
        len(info[key]) for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    return result


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary")
    parser.add_argument("peer")
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    worst, failed = {}, []
    for index in range(arguments.count):
        choose = random.Random(arguments.seed * 100003 + index)
        fields, own_head = random_fields(choose)
        with tempfile.TemporaryDirectory() as temp:
            result = compare(arguments.binary, arguments.peer, choose, fields, own_head, index, pathlib.Path(temp))
        for key, value in result.items():
            worst[key] = max(worst.get(key, 0.0), value)
        if any(not value <= TOLERANCE[key] for key, value in result.items()):
            failed.append({"index": index, "fields": fields, "own_head": own_head, "result": result})
    print(json.dumps({"count": arguments.count, "worst": worst, "failed": failed}, indent=2))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
