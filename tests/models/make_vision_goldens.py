"""Makes the tiny folders of tests/models/vision and what PyTorch and transformers compute with them.

Run with the packages of scripts/peers/requirements.txt:  python tests/models/make_vision_goldens.py [NAME...]
"""

import pathlib
import re
import shutil
import sys

import torch
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModel, AutoModelForImageClassification

HERE = pathlib.Path(__file__).resolve().parent / "vision"
TASKS = {"base": AutoModel, "classes": AutoModelForImageClassification}
VIT = dict(model_type="vit", hidden_size=12, intermediate_size=10, num_hidden_layers=1, num_attention_heads=3, image_size=8,
           patch_size=4)
RESNET = dict(model_type="resnet", embedding_size=4, hidden_sizes=[8, 12], depths=[1, 2])
CONFIGS = {
    "vit_base": ("base", VIT | dict(num_hidden_layers=2, image_size=[8, 12], layer_norm_eps=1e-6)),
    "vit_single": ("classes", VIT | dict(patch_size=[2, 4], num_labels=3, hidden_act="gelu_new", num_channels=1)),
    "vit_multi": ("classes", VIT | dict(qkv_bias=False, num_labels=4, num_attention_heads=2,
                                        problem_type="multi_label_classification")),
    "vit_sizes": ("classes", VIT | dict(num_labels=3, patch_size=2)),
    "resnet_base": ("base", RESNET | dict(layer_type="basic", hidden_sizes=[4, 6])),
    "resnet_single": ("classes", RESNET | dict(num_labels=3)),
    "resnet_regression": ("classes", RESNET | dict(num_labels=1, depths=[1, 1], downsample_in_bottleneck=True,
                                                   downsample_in_first_stage=True, hidden_act="silu", num_channels=2)),
}
# Rows and columns of images for which positions are interpolated, some not whole patches.
SIZES = {"vit_sizes": [(8, 8), (12, 10), (4, 7), (16, 8), (5, 25)]}
# Names of transformers in memory, and in its files.
FILE_NAMES = [(r"^(vit\.)?layers\.(\d+)\.", r"\1encoder.layer.\2."), (r"attention\.q_proj\.", "attention.attention.query."),
              (r"attention\.k_proj\.", "attention.attention.key."), (r"attention\.v_proj\.", "attention.attention.value."),
              (r"attention\.o_proj\.", "attention.output.dense."), (r"mlp\.fc1\.", "intermediate.dense."),
              (r"mlp\.fc2\.", "output.dense.")]


def file_name(name, model_type):
    if model_type == "vit":
        for pattern, to in FILE_NAMES:
            name = re.sub(pattern, to, name)
    return name


def random_model(task, fields, seed=7):
    """A model in which every parameter and statistic matters, with results of order 1."""
    fields = dict(fields)
    torch.manual_seed(seed)
    config = AutoConfig.for_model(fields.pop("model_type"), **fields)
    model = TASKS[task].from_config(config).float()
    if config.model_type == "vit":
        model.set_attn_implementation("eager")
    with torch.no_grad():
        for key, p in model.named_parameters():
            deviation = 0.3 if p.dim() < 4 else (2 / p[0].numel()) ** 0.5
            p.normal_(1 if "norm" in key.lower() and key.endswith("weight") else 0, deviation)
        for key, b in model.named_buffers():
            if key.endswith("running_mean"):
                b.normal_(0, 0.3)
            elif key.endswith("running_var"):
                b.uniform_(0.5, 1.5)
            elif key.endswith("num_batches_tracked"):
                b.fill_(5)
    return model.eval()


def random_pixels(config, images=3):
    size = getattr(config, "image_size", (45, 38))
    rows, columns = (size, size) if isinstance(size, int) else size
    return torch.randn(images, config.num_channels, rows, columns)


def random_labels(config, images=3):
    if config.problem_type == "multi_label_classification":
        return torch.randint(0, 2, (images, config.num_labels)).float()
    if config.num_labels == 1 or config.problem_type == "regression":
        return torch.randn(images, config.num_labels)
    return torch.randint(0, config.num_labels, (images,))


def run(model, task, inputs, golden, prefix=""):
    """Values and gradients of one step."""
    model.zero_grad()
    out = model(**inputs, output_hidden_states=True)
    if task == "base":
        golden[prefix + "last_hidden_state"], golden[prefix + "pooler_output"] = out.last_hidden_state, out.pooler_output
        for i, state in enumerate(out.hidden_states):
            golden[f"{prefix}hidden_states.{i}"] = state
        weights = torch.cos(torch.arange(out.last_hidden_state.numel()).reshape(out.last_hidden_state.shape))
        loss = (out.last_hidden_state * weights).sum() + out.pooler_output.sum()
    else:
        golden[prefix + "logits"], loss = out.logits, out.loss
    loss.backward()
    golden[prefix + "loss"] = loss
    for key, p in model.named_parameters():
        if p.grad is not None:
            golden[f"{prefix}grad.{file_name(key, model.config.model_type)}"] = p.grad.clone()


def make(name, task, fields):
    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    model = random_model(task, fields)
    model.save_pretrained(folder)
    inputs = dict(pixel_values=random_pixels(model.config))
    if task != "base":
        inputs["labels"] = random_labels(model.config)
    golden = dict(inputs)
    run(model, task, inputs, golden)
    if model.config.model_type == "resnet":
        model.train()
        run(model, task, inputs, golden, "train.")
        for key, b in model.named_buffers():
            golden["train.buffer." + key] = b
    for rows, columns in SIZES.get(name, []):
        pixels = torch.randn(3, model.config.num_channels, rows, columns)
        sized = dict(pixel_values=pixels, labels=inputs["labels"], interpolate_pos_encoding=True)
        golden[f"{rows}x{columns}.pixel_values"] = pixels
        run(model, task, sized, golden, f"{rows}x{columns}.")
    save_file({k: v.detach().contiguous().clone() for k, v in golden.items()}, folder / "golden.safetensors")


if __name__ == "__main__":
    for name in sys.argv[1:] or CONFIGS:
        make(name, *CONFIGS[name])
