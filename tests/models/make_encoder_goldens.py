"""Makes the tiny folders of tests/models/encoders and what PyTorch and transformers compute with them.

Run with the packages of scripts/peers/requirements.txt:  python tests/models/make_encoder_goldens.py
"""

import pathlib
import shutil

import torch
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM, AutoModelForSequenceClassification

HERE = pathlib.Path(__file__).resolve().parent / "encoders"
TASKS = {"base": AutoModel, "mlm": AutoModelForMaskedLM, "classes": AutoModelForSequenceClassification}
# Shared by all, as BERT and RoBERTa spell it; each folder says what is different.
SMALL = dict(vocab_size=13, hidden_size=12, intermediate_size=10, num_hidden_layers=1, num_attention_heads=3,
             max_position_embeddings=14)
DISTIL = dict(vocab_size=13, dim=12, hidden_dim=10, n_layers=1, n_heads=3, max_position_embeddings=14)
CONFIGS = {
    "bert_base": ("base", SMALL | dict(model_type="bert", num_hidden_layers=2)),
    "bert_mlm": ("mlm", SMALL | dict(model_type="bert", hidden_act="gelu_new", type_vocab_size=3, pad_token_id=4)),
    "bert_mlm_untied": ("mlm", SMALL | dict(model_type="bert", hidden_act="relu", num_attention_heads=1,
                                            layer_norm_eps=1e-5, tie_word_embeddings=False)),
    "bert_regression": ("classes", SMALL | dict(model_type="bert", num_labels=1, hidden_act="silu")),
    "bert_single": ("classes", SMALL | dict(model_type="bert", num_labels=3, pad_token_id=None)),
    "roberta_base": ("base", SMALL | dict(model_type="roberta", num_hidden_layers=2, type_vocab_size=1,
                                          num_attention_heads=2)),
    "roberta_mlm": ("mlm", SMALL | dict(model_type="roberta", hidden_act="tanh", layer_norm_eps=1e-5)),
    "roberta_mlm_untied": ("mlm", SMALL | dict(model_type="roberta", pad_token_id=3, tie_word_embeddings=False)),
    "roberta_multi": ("classes", SMALL | dict(model_type="roberta", num_labels=4,
                                              problem_type="multi_label_classification")),
    "distilbert_base": ("base", DISTIL | dict(model_type="distilbert", n_layers=2, sinusoidal_pos_embds=True)),
    "distilbert_mlm": ("mlm", DISTIL | dict(model_type="distilbert", n_heads=4)),
    "distilbert_mlm_untied": ("mlm", DISTIL | dict(model_type="distilbert", activation="relu",
                                                   tie_word_embeddings=False)),
    "distilbert_regression": ("classes", DISTIL | dict(model_type="distilbert", num_labels=2, problem_type="regression")),
}


def random_model(task, fields, seed=7):
    """A model in which every parameter matters, with results of order 1."""
    fields = dict(fields)
    torch.manual_seed(seed)
    config = AutoConfig.for_model(fields.pop("model_type"), **fields)
    model = TASKS[task].from_config(config, attn_implementation="eager").float()
    with torch.no_grad():
        for key, p in model.named_parameters():
            p.normal_(1 if "norm" in key.lower() and key.endswith("weight") else 0, 0.3)
    return model.eval()


def random_input(config, rows=2, tokens=9):
    """Ids with some padding at the end of the last row, and one padding id amid the first."""
    padding = 0 if config.pad_token_id is None else config.pad_token_id
    ids = torch.randint(0, config.vocab_size, (rows, tokens))
    ids[ids == padding] = (padding + 1) % config.vocab_size
    ids[0, 3] = padding
    ids[-1, tokens - 3:] = padding
    mask = torch.ones(rows, tokens, dtype=torch.int64)
    mask[-1, tokens - 3:] = 0
    inputs = dict(input_ids=ids, attention_mask=mask)
    if config.model_type != "distilbert":
        inputs["token_type_ids"] = torch.randint(0, config.type_vocab_size, (rows, tokens))
    return inputs


def random_labels(task, config, ids):
    if task == "mlm":
        labels = torch.randint(0, config.vocab_size, ids.shape)
        labels[torch.rand(ids.shape) < 0.5] = -100
        labels[:, 0] = 1
        return labels
    if config.problem_type == "multi_label_classification":
        return torch.randint(0, 2, (len(ids), config.num_labels)).float()
    if config.num_labels == 1 or config.problem_type == "regression":
        return torch.randn(len(ids), config.num_labels)
    return torch.randint(0, config.num_labels, (len(ids),))


def make(name, task, fields):
    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    model = random_model(task, fields)
    model.save_pretrained(folder)
    inputs = random_input(model.config)
    golden = dict(inputs)
    extra = {}
    if task != "base":
        extra["labels"] = golden["labels"] = random_labels(task, model.config, inputs["input_ids"])
    out = model(**inputs, **extra, output_hidden_states=True)
    golden["hidden_states"] = torch.stack(out.hidden_states)
    if task == "base":
        golden["weights"] = torch.randn_like(out.last_hidden_state)
        loss = (out.last_hidden_state * golden["weights"]).sum()
        if getattr(out, "pooler_output", None) is not None:
            golden["pooler_output"] = out.pooler_output
            loss = loss + (out.pooler_output * golden["weights"][:, 1]).sum()
        golden["plain"] = model(inputs["input_ids"]).last_hidden_state
    else:
        loss = out.loss
        golden["logits"] = out.logits
        golden["plain"] = model(inputs["input_ids"]).logits
    # Positions by hand, backwards.
    first = model.config.max_position_embeddings - 1
    positions = torch.arange(first, first - inputs["input_ids"].shape[1], -1)[None]
    placed = model(**inputs, position_ids=positions)
    golden["position_ids"], golden["placed"] = positions, placed[0] if task == "base" else placed.logits
    loss.backward()
    golden["loss"] = loss
    for key, p in model.named_parameters():
        if p.grad is not None:
            golden["grad." + key] = p.grad
    save_file({k: v.detach().contiguous() for k, v in golden.items()}, folder / "golden.safetensors")


if __name__ == "__main__":
    for name, (task, fields) in CONFIGS.items():
        make(name, task, fields)
