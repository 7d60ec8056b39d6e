"""Makes the tiny folders of tests/models/decoders and what PyTorch and transformers compute with them.

Run with the packages of scripts/peers/requirements.txt:  python tests/models/make_decoder_goldens.py
"""

import json
import pathlib
import shutil
import sys

import torch
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM

HERE = pathlib.Path(__file__).resolve().parent / "decoders"
sys.path.insert(0, str(HERE.parent.parent.parent / "scripts" / "peers"))
from training_loop import train_losses  # noqa: E402

# Shared by all; each folder says what is different. "v4" has its config spelt as transformers 4 did, "shards" is the
# size of its weight files.
SMALL = dict(vocab_size=19, hidden_size=12, intermediate_size=14, num_hidden_layers=2, num_attention_heads=2,
             num_key_value_heads=1, max_position_embeddings=32, bos_token_id=1, eos_token_id=2, pad_token_id=0)
LLAMA3 = dict(rope_type="llama3", rope_theta=500.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=16)
CONFIGS = {
    "llama": dict(model_type="llama", num_attention_heads=3, num_key_value_heads=3),
    "llama3": dict(model_type="llama", v4=True, num_attention_heads=6, num_key_value_heads=2, head_dim=4, attention_bias=True,
                   mlp_bias=True, tie_word_embeddings=True, rms_norm_eps=1e-5, rope_parameters=LLAMA3,
                   eos_token_id=[2, 3]),
    "llama_linear": dict(model_type="llama", v4=True, num_hidden_layers=1, hidden_act="gelu",
                         rope_parameters=dict(rope_type="linear", rope_theta=100.0, factor=2.5)),
    "llama_dynamic": dict(model_type="llama", num_hidden_layers=1, max_position_embeddings=8,
                          rope_parameters=dict(rope_type="dynamic", rope_theta=100.0, factor=2.0)),
    "llama_yarn": dict(model_type="llama", num_hidden_layers=1, head_dim=16,
                       rope_parameters=dict(rope_type="yarn", rope_theta=100.0, factor=4.0, beta_fast=4.0, beta_slow=0.5,
                                            original_max_position_embeddings=8)),
    "mistral": dict(model_type="mistral", num_attention_heads=4, num_key_value_heads=2, head_dim=6, sliding_window=4),
    "mistral_full": dict(model_type="mistral", v4=True, num_hidden_layers=1, num_attention_heads=5, head_dim=4,
                         sliding_window=None, tie_word_embeddings=True),
    "qwen2": dict(model_type="qwen2", num_hidden_layers=3, num_attention_heads=3, use_sliding_window=True, sliding_window=3,
                  max_window_layers=1),
    "qwen2_tied": dict(model_type="qwen2", v4=True, num_hidden_layers=1, tie_word_embeddings=True,
                       use_sliding_window=False),
    "qwen3": dict(model_type="qwen3", shards="6KB", head_dim=8),
    "qwen3_bias": dict(model_type="qwen3", num_hidden_layers=2, num_attention_heads=3, num_key_value_heads=3, head_dim=4,
                       attention_bias=True, tie_word_embeddings=True, use_sliding_window=True, sliding_window=5,
                       layer_types=["sliding_attention", "full_attention"]),
    "gemma2": dict(model_type="gemma2", num_attention_heads=4, num_key_value_heads=2, head_dim=6, query_pre_attn_scalar=10,
                   sliding_window=4, attn_logit_softcapping=2.0, final_logit_softcapping=3.0, tie_word_embeddings=True),
    "gemma2_uncapped": dict(model_type="gemma2", v4=True, num_hidden_layers=1, num_attention_heads=3,
                            num_key_value_heads=3, head_dim=4, sliding_window=3, attn_logit_softcapping=None,
                            final_logit_softcapping=None, tie_word_embeddings=False, attention_bias=True),
}


def random_model(fields, seed=7):
    """A model in which every parameter matters, with logits of order 1."""
    fields = dict(fields)
    torch.manual_seed(seed)
    config = AutoConfig.for_model(fields.pop("model_type"), **fields)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").float()
    one = 0 if config.model_type == "gemma2" else 1
    with torch.no_grad():
        for key, p in model.named_parameters():
            p.normal_(one if "norm" in key else 0, 0.3)
    return model.eval()


def spell_as_v4(folder):
    """What transformers 4 would have written."""
    path = folder / "config.json"
    config = json.loads(path.read_text())
    rope = config.pop("rope_parameters")
    config["rope_theta"] = rope.pop("rope_theta")
    config["rope_scaling"] = None if rope["rope_type"] == "default" else rope
    if rope["rope_type"] == "linear":
        rope["type"] = rope.pop("rope_type")
    config["torch_dtype"] = config.pop("dtype")
    for key in ("layer_types",):
        config.pop(key, None)
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def make(name, fields):
    fields = SMALL | fields
    v4, shards = fields.pop("v4", False), fields.pop("shards", None)
    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    model = random_model(fields)
    model.save_pretrained(folder, **({"max_shard_size": shards} if shards else {}))
    if v4:
        spell_as_v4(folder)

    B, T, V = 2, 11, fields["vocab_size"]
    ids = torch.randint(0, V, (B, T))
    labels = ids.clone()
    labels[1, 5:7] = -100
    out = model(ids, labels=labels)
    out.loss.backward()
    mask = torch.ones(B, T, dtype=torch.int64)
    mask[1, :3] = 0
    positions = (mask.cumsum(-1) - 1).masked_fill(mask == 0, 0)
    masked = model(ids, attention_mask=mask, position_ids=positions)
    golden = {"ids": ids, "labels": labels, "logits": out.logits, "loss": out.loss, "mask": mask,
              "masked_logits": masked.logits}
    for key, p in model.named_parameters():
        golden["grad." + key] = p.grad
    # Two prompts, the second one of three tokens after two of padding.
    prompt = ids[:, :5].clone()
    prompt[1, :2] = 0
    prompt_mask = torch.ones_like(prompt)
    prompt_mask[1, :2] = 0
    new = min(12, model.config.max_position_embeddings - 5)
    golden["greedy"] = model.generate(prompt, attention_mask=prompt_mask, max_new_tokens=new, do_sample=False,
                                      eos_token_id=None)
    if name in ("llama3", "gemma2"):
        golden["train_losses"] = torch.tensor(train_losses(folder))
    save_file({k: v.detach().contiguous() for k, v in golden.items()}, folder / "golden.safetensors")


if __name__ == "__main__":
    for name, fields in CONFIGS.items():
        make(name, fields)
