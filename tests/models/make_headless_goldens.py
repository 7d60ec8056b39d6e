"""Makes the tiny folders of tests/models/headless, decoders without the head that continues text, and what PyTorch and
transformers compute with them.

Run with the packages of scripts/peers/requirements.txt:  python tests/models/make_headless_goldens.py
"""

import pathlib
import shutil

import torch
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForSequenceClassification

HERE = pathlib.Path(__file__).resolve().parent / "headless"
TASKS = {"base": AutoModel, "lm": AutoModelForCausalLM, "classes": AutoModelForSequenceClassification}
# Shared by all; each folder says what is different.
SMALL = dict(vocab_size=13, hidden_size=12, intermediate_size=10, num_hidden_layers=2, num_attention_heads=3,
             num_key_value_heads=1, head_dim=4, max_position_embeddings=16, bos_token_id=1, eos_token_id=2, pad_token_id=0)
GPT2 = dict(model_type="gpt2", vocab_size=13, n_embd=12, n_layer=2, n_head=3, n_inner=10, n_positions=16, bos_token_id=1,
            eos_token_id=2)
CONFIGS = {
    "gpt2": ("base", GPT2),
    "gpt2_regression": ("classes", GPT2 | dict(num_labels=1, pad_token_id=5)),
    "gpt2_unpadded": ("classes", GPT2 | dict(num_labels=3, n_layer=1)),
    "llama": ("base", SMALL | dict(model_type="llama", attention_bias=True)),
    "llama_classes": ("classes", SMALL | dict(model_type="llama", num_labels=4)),
    "mistral_lm": ("lm", SMALL | dict(model_type="mistral", sliding_window=4)),
    "mistral_multi": ("classes", SMALL | dict(model_type="mistral", sliding_window=3, num_labels=3, num_hidden_layers=1,
                                              problem_type="multi_label_classification")),
    "qwen2": ("base", SMALL | dict(model_type="qwen2", num_hidden_layers=1, use_sliding_window=False)),
    "qwen2_classes": ("classes", SMALL | dict(model_type="qwen2", num_hidden_layers=1, num_labels=2, pad_token_id=7)),
    "qwen3": ("base", SMALL | dict(model_type="qwen3", num_hidden_layers=1, hidden_act="quick_gelu")),
    "qwen3_regression": ("classes", SMALL | dict(model_type="qwen3", num_hidden_layers=1, num_labels=2,
                                                 problem_type="regression")),
    "gemma2": ("base", SMALL | dict(model_type="gemma2", sliding_window=4, query_pre_attn_scalar=10,
                                    attn_logit_softcapping=2.0)),
    "gemma2_classes": ("classes", SMALL | dict(model_type="gemma2", num_hidden_layers=1, sliding_window=4, num_labels=3)),
}


def random_model(task, fields, seed=7):
    """A model in which every parameter matters, with results of order 1."""
    fields = dict(fields)
    torch.manual_seed(seed)
    config = AutoConfig.for_model(fields.pop("model_type"), **fields)
    model = TASKS[task].from_config(config, attn_implementation="eager").float()
    one = 0 if config.model_type == "gemma2" else 1
    with torch.no_grad():
        for key, p in model.named_parameters():
            norm = "norm" in key or ".ln_" in key or key.startswith("ln_f")
            p.normal_(one if norm and key.endswith("weight") else 0, 0.3)
    return model.eval()


def random_input(config, rows, tokens=9):
    """Ids of which the first row ends with padding and the second one begins with it, and one padding id amid the first."""
    padding = config.pad_token_id
    ids = torch.randint(0, config.vocab_size, (rows, tokens))
    mask = torch.ones(rows, tokens, dtype=torch.int64)
    if padding is not None:
        ids[ids == padding] = (padding + 1) % config.vocab_size
        ids[0, 2] = padding
    if rows > 1:
        for row, part in ((0, slice(tokens - 3, tokens)), (1, slice(0, 2))):
            ids[row, part] = 0 if padding is None else padding
            mask[row, part] = 0
    return dict(input_ids=ids, attention_mask=mask)


def random_labels(config, rows):
    if config.problem_type == "multi_label_classification":
        return torch.randint(0, 2, (rows, config.num_labels)).float()
    if config.num_labels == 1 or config.problem_type == "regression":
        return torch.randn(rows, config.num_labels)
    return torch.randint(0, config.num_labels, (rows,))


def make(name, task, fields):
    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    model = random_model(task, fields)
    model.save_pretrained(folder)
    body = getattr(model, "transformer", getattr(model, "model", model))
    rows = 1 if task == "classes" and model.config.pad_token_id is None else 3
    inputs = random_input(model.config, rows)
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    golden = dict(inputs)
    if task == "classes":
        golden["labels"] = random_labels(model.config, rows)
        out = model(**inputs, labels=golden["labels"])
        loss = out.loss
        golden["logits"] = out.logits
        golden["plain"] = model(ids).logits
    else:
        out = body(**inputs, output_hidden_states=True)
        golden["hidden_states"] = torch.stack(out.hidden_states)
        golden["plain"] = body(ids).last_hidden_state
        golden["position_ids"] = torch.arange(12, 12 - ids.shape[1], -1)[None]
        golden["placed"] = body(ids, position_ids=golden["position_ids"]).last_hidden_state
        # What padding computes means nothing.
        golden["weights"] = torch.randn_like(out.last_hidden_state) * mask[..., None]
        loss = (out.last_hidden_state * golden["weights"]).sum()
    if task == "lm":
        # What stands before the first token means nothing, so that nothing predicts that one.
        golden["labels"] = ids.masked_fill((mask == 0) | (mask.cumsum(1) == 1), -100)
        golden["lm_loss"] = model(**inputs, labels=golden["labels"]).loss
    loss.backward()
    golden["loss"] = loss
    for key, p in (model if task == "classes" else body).named_parameters():
        if p.grad is not None:
            golden["grad." + key] = p.grad
    save_file({k: v.detach().contiguous() for k, v in golden.items()}, folder / "golden.safetensors")


if __name__ == "__main__":
    for name, (task, fields) in CONFIGS.items():
        make(name, task, fields)
