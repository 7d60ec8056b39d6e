"""The 50 AdamW steps that tests/models/train_test.cpp repeats, with PyTorch and transformers."""

import math

import torch
from transformers import AutoModelForCausalLM

STEPS, BATCH, SEQ = 50, 4, 16
LR, MIN_LR, WARMUP = 3e-3, 3e-4, 5


def batch(step, vocab_size):
    """Token ids [BATCH, SEQ + 1]: each is three more than the one before."""
    rows = [[(17 * step + 5 * b * b + 3 * t) % vocab_size for t in range(SEQ + 1)] for b in range(BATCH)]
    return torch.tensor(rows)


def learning_rate(step):
    if step < WARMUP:
        return LR * (step + 1) / (WARMUP + 1)
    x = (step - WARMUP) / (STEPS - WARMUP)
    return MIN_LR + 0.5 * (1 + math.cos(math.pi * x)) * (LR - MIN_LR)


def train_losses(folder, dtype=torch.float32):
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").to(dtype)
    model.config.resid_pdrop = model.config.embd_pdrop = model.config.attn_pdrop = 0
    model.eval()  # no dropout
    params = list(model.parameters())
    groups = [{"params": [p for p in params if p.dim() >= 2], "weight_decay": 0.1},
              {"params": [p for p in params if p.dim() < 2], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=LR, betas=(0.9, 0.95), eps=1e-8)
    losses = []
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step)
        tokens = batch(step, model.config.vocab_size)
        logits = model(tokens[:, :-1]).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(params, 1.0)
        optimizer.step()
        losses.append(loss.item())
    return losses
