"""What torch.optim and torch.nn.utils.clip_grad_norm_ compute: writes golden.safetensors beside this file.

Run with the packages of scripts/peers/requirements.txt:  python tests/optim/make_goldens.py
"""

import pathlib

import torch
from safetensors.torch import save_file

STEPS = 20
torch.manual_seed(3)
start = {"w": torch.randn(5, 3), "b": torch.randn(4)}
grads = {"w": torch.randn(STEPS, 5, 3), "b": torch.randn(STEPS, 4)}
grads["w"][:, 0, 0] = 0  # a parameter that never gets a gradient still decays
golden = {"start.w": start["w"], "start.b": start["b"], "grads.w": grads["w"], "grads.b": grads["b"]}

OPTIMIZERS = {
    "adamw": lambda g: torch.optim.AdamW(g, lr=0.01, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1),
    "adamw_eps": lambda g: torch.optim.AdamW(g, lr=0.1, betas=(0.8, 0.999), eps=1e-2, weight_decay=0),
    "sgd": lambda g: torch.optim.SGD(g, lr=0.05, weight_decay=0.01),
    "momentum": lambda g: torch.optim.SGD(g, lr=0.05, momentum=0.9, dampening=0.2, weight_decay=0.01),
    "nesterov": lambda g: torch.optim.SGD(g, lr=0.05, momentum=0.8, nesterov=True),
}
for name, make in OPTIMIZERS.items():
    params = {k: torch.nn.Parameter(v.clone()) for k, v in start.items()}
    groups = [{"params": [params["w"]]}, {"params": [params["b"]], "weight_decay": 0.0}]
    optimizer = make(groups)
    for step in range(STEPS):
        if step == STEPS // 2:
            for group in optimizer.param_groups:
                group["lr"] *= 0.5
        for k, p in params.items():
            p.grad = grads[k][step].clone()
        optimizer.step()
        for k, p in params.items():
            golden[f"{name}.{step}.{k}"] = p.detach().clone()

for max_norm in (1.0, 100.0):
    params = {k: torch.nn.Parameter(v.clone()) for k, v in start.items()}
    for k, p in params.items():
        p.grad = grads[k][0].clone()
    golden[f"clip.{max_norm:g}.norm"] = torch.nn.utils.clip_grad_norm_(list(params.values()), max_norm)
    for k, p in params.items():
        golden[f"clip.{max_norm:g}.{k}"] = p.grad


def schedule(make):
    p = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([p], lr=0.3)
    scheduler = make(optimizer)
    out = []
    for _ in range(STEPS):
        out.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return torch.tensor(out, dtype=torch.float64)


golden["schedule.step"] = schedule(lambda o: torch.optim.lr_scheduler.StepLR(o, step_size=6, gamma=0.5))
golden["schedule.cosine"] = schedule(lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, T_max=STEPS, eta_min=0.03))
golden["schedule.linear"] = schedule(
    lambda o: torch.optim.lr_scheduler.LinearLR(o, start_factor=1.0, end_factor=0.1, total_iters=15))

save_file({k: v.contiguous() for k, v in golden.items()}, pathlib.Path(__file__).parent / "golden.safetensors")
