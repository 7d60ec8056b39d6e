"""Makes the tiny GPT-2 folders of this directory and what PyTorch and transformers compute with them.

Run with the packages of scripts/peers/requirements.txt:  python tests/models/make_goldens.py
"""

import pathlib
import sys

import torch
from safetensors.torch import save_file
from transformers import GPT2Config, GPT2LMHeadModel

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent.parent / "scripts" / "peers"))
from training_loop import train_losses  # noqa: E402

CONFIGS = {
    "gpt2_tied": dict(n_layer=2, n_embd=24, n_head=4, n_positions=32, vocab_size=61),
    "gpt2_untied": dict(n_layer=2, n_embd=24, n_head=2, n_positions=16, vocab_size=50, n_inner=40,
                        activation_function="gelu", tie_word_embeddings=False),
    "gpt2_odd": dict(n_layer=3, n_embd=21, n_head=3, n_positions=19, vocab_size=37, n_inner=33,
                     activation_function="relu", scale_attn_by_inverse_layer_idx=True,
                     layer_norm_epsilon=1e-3),
}


def make(name, fields):
    torch.manual_seed(7)
    model = GPT2LMHeadModel(GPT2Config(**fields, bos_token_id=1, eos_token_id=2, attn_implementation="eager"))
    with torch.no_grad():  # every parameter matters, logits of order 1
        for key, p in model.named_parameters():
            if p.dim() == 2:
                p.normal_(0, 0.2)
            else:
                p.normal_(1 if ".ln" in key and key.endswith("weight") else 0, 0.2)
    model.eval()
    model.save_pretrained(HERE / name)

    B, T, V = 2, min(11, fields["n_positions"]), fields["vocab_size"]
    ids = torch.randint(0, V, (B, T))
    labels = ids.clone()
    labels[1, 5:7] = -100
    out = model(ids, labels=labels)
    out.loss.backward()
    mask = torch.ones(B, T, dtype=torch.int64)
    mask[0, T - 3:] = 0  # padding at the end
    mask[1, :2] = 0      # and at the start
    masked = model(ids, attention_mask=mask)
    golden = {"ids": ids, "labels": labels, "logits": out.logits, "loss": out.loss, "mask": mask,
              "masked_logits": masked.logits}
    for key, p in model.named_parameters():
        golden["grad." + key] = p.grad
    if name == "gpt2_tied":
        golden["greedy"] = model.generate(ids[:1, :4], max_new_tokens=20, do_sample=False, eos_token_id=None,
                                          pad_token_id=0)
        golden["train_losses"] = torch.tensor(train_losses(HERE / name))
    save_file({k: v.detach().contiguous() for k, v in golden.items()}, HERE / name / "golden.safetensors")


for name, fields in CONFIGS.items():
    make(name, fields)
