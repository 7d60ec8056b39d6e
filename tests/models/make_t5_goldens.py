"""Makes the tiny folders of tests/models/t5 and what PyTorch and transformers compute with them.

Run with the packages of scripts/peers/requirements.txt:  python tests/models/make_t5_goldens.py
"""

import json
import pathlib
import shutil

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoModelForSeq2SeqLM, GenerationConfig, T5Config, T5EncoderModel

HERE = pathlib.Path(__file__).resolve().parent / "t5"
SMALL = dict(vocab_size=17, d_model=12, d_kv=5, d_ff=10, num_layers=2, num_heads=3, relative_attention_num_buckets=8,
             relative_attention_max_distance=12, pad_token_id=0, eos_token_id=1, decoder_start_token_id=0)
CLASSES = {"lm": AutoModelForSeq2SeqLM, "base": AutoModel, "encoder": T5EncoderModel}
CONFIGS = {
    "relu": ("lm", SMALL | dict(num_decoder_layers=1)),
    # v1.1: no scale, a head of its own
    "gated": ("lm", SMALL | dict(feed_forward_proj="gated-gelu", tie_word_embeddings=False, num_layers=1,
                                 num_decoder_layers=2, relative_attention_num_buckets=7, decoder_start_token_id=3)),
    "base": ("base", SMALL | dict(feed_forward_proj="gated-silu", num_layers=1)),
    "encoder": ("encoder", SMALL | dict(num_layers=1, num_heads=1)),
}
# Generation settings by name; all but greedy with beams.
TEXTS = {
    "greedy": dict(max_new_tokens=12),
    "greedy_penalised": dict(max_new_tokens=12, repetition_penalty=1.3, no_repeat_ngram_size=2, min_new_tokens=3),
    "beams": dict(max_new_tokens=10, num_beams=3, num_return_sequences=2),
    "beams_long": dict(max_new_tokens=9, num_beams=4, length_penalty=1.6, early_stopping=True),
}


def random_model(task, fields, seed=7, own_head=False):
    """A model in which every parameter matters, with results of order 1."""
    torch.manual_seed(seed)
    model = CLASSES[task](T5Config(**fields)) if task == "encoder" else CLASSES[task].from_config(T5Config(**fields))
    model = model.float()
    with torch.no_grad():
        for key, p in model.named_parameters():
            p.normal_(1 if "layer_norm" in key else 0, 0.4)
        if own_head:
            model.lm_head.weight = torch.nn.Parameter(torch.randn(fields["vocab_size"], fields["d_model"]) * 0.4)
    return model.eval()


def save(model, folder, own_head=False):
    model.save_pretrained(folder)
    if own_head:  # transformers has no other way to write one
        path = folder / "model.safetensors"
        save_file(load_file(path) | {"lm_head.weight": model.lm_head.weight.detach().clone()}, path, {"format": "pt"})


def random_input(config, rows=2, tokens=9, targets=6):
    ids = torch.randint(2, config.vocab_size, (rows, tokens))
    mask = torch.ones(rows, tokens, dtype=torch.int64)
    mask[-1, tokens - 3:] = 0
    ids[-1, tokens - 3:] = 0
    labels = torch.randint(2, config.vocab_size, (rows, targets))
    labels[0, -2:] = -100
    return dict(input_ids=ids, attention_mask=mask), labels


def texts(model, inputs):
    """New tokens without end tokens, by setting. Without the cache, which fails where the decoder has more layers."""
    out = {}
    for name, settings in TEXTS.items():
        rows = model.generate(**inputs, generation_config=GenerationConfig(
            **settings, do_sample=False, use_cache=False, pad_token_id=0, eos_token_id=1,
            decoder_start_token_id=model.config.decoder_start_token_id))[:, 1:].tolist()
        out[name] = [row[:row.index(1)] if 1 in row else row for row in rows]
    return out


def make(name, task, fields):
    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    own_head = task == "lm" and fields.get("tie_word_embeddings") is False
    model = random_model(task, fields, own_head=own_head)
    save(model, folder, own_head)
    inputs, labels = random_input(model.config)
    golden = inputs | {"labels": labels}
    if task == "lm":
        out = model(**inputs, labels=labels)
        out.loss.backward()
        golden |= {"loss": out.loss, "logits": out.logits}
        golden |= {"grad." + key: p.grad for key, p in model.named_parameters() if p.grad is not None}
        decoder = {"decoder_input_ids": labels.clamp(min=0), "decoder_attention_mask": (labels != -100).long()}
        golden |= decoder | {"given": model(**inputs, **decoder).logits, "plain": model(
            input_ids=inputs["input_ids"], decoder_input_ids=decoder["decoder_input_ids"]).logits}
        (folder / "texts.json").write_text(json.dumps({"settings": TEXTS, "ids": texts(model, inputs)}, indent=1) + "\n")
    elif task == "base":
        golden["states"] = model(**inputs, decoder_input_ids=labels.clamp(min=0)).last_hidden_state
    else:
        golden["states"] = model(**inputs).last_hidden_state
    save_file({k: v.detach().contiguous() for k, v in golden.items()}, folder / "golden.safetensors")
    (folder / "golden.safetensors").chmod(0o644)
    (folder / "model.safetensors").chmod(0o644)


if __name__ == "__main__":
    for name, (task, fields) in CONFIGS.items():
        make(name, task, fields)
