"""Compares Corten's image models with transformers' on random configs, both ways: folders that transformers writes are evaluated by
`corten eval-logits` and differentiated by vision_peer, in evaluation and (batch norm) in training mode, and what Corten's
save_pretrained() writes is read by transformers, which has to compute the same. Where timm can be imported, its models, too.
transformers computes in float64, Corten in float32. Prints one JSON document; exit code 1 if values or losses differ by more than 1e-4
of the largest number, or gradients by more than 1e-3 and by more than twice what transformers in float32 differs: where the input of a
ReLU is within rounding of zero, or the statistics of a batch norm cancel.

    ninja -C build/release vision_peer corten
    python scripts/peers/compare_vision.py build/release/corten build/release/vision_peer --count 30 --seed 1
"""

import argparse
import copy
import json
import math
import pathlib
import random
import subprocess
import sys
import tempfile

import torch
from compare_gpt2 import corten, join
from safetensors.torch import load_file, save_file

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent / "tests" / "models"))
from make_vision_goldens import TASKS, file_name, random_labels, random_model  # noqa: E402

TOLERANCE, GRADIENT_TOLERANCE = 1e-4, 1e-3
ACTIVATIONS = ["gelu", "gelu_new", "gelu_fast", "relu", "silu", "tanh", "sigmoid", "linear"]


def random_fields(choose):
    task = choose.choice(list(TASKS))
    fields = dict(model_type=choose.choice(["vit", "resnet"]), num_channels=choose.choice([1, 2, 3, 4]))
    if fields["model_type"] == "vit":
        heads = choose.choice([1, 2, 3, 5])  # at width 2 a layer norm gives +-1, and its gradient is rounding
        patch = [choose.choice([2, 3, 4, 8]), choose.choice([2, 3, 4, 8])]
        image = [patch[0] * choose.randint(1, 5) + choose.choice([0, 0, 1]), patch[1] * choose.randint(1, 5) + choose.choice([0, 0, 1])]
        if choose.random() < 0.3:
            patch, image = patch[0], patch[0] * choose.randint(1, 5)
        fields |= dict(hidden_size=heads * choose.choice([4, 5, 8]), num_attention_heads=heads, patch_size=patch, image_size=image,
                       num_hidden_layers=choose.choice([1, 2, 4]), intermediate_size=choose.choice([7, 32]),
                       hidden_act=choose.choice(ACTIVATIONS), qkv_bias=choose.random() < 0.6,
                       layer_norm_eps=choose.choice([1e-12, 1e-6]), pooler_act=choose.choice(["tanh", "relu"]),
                       pooler_output_size=choose.choice([None, 9]))
    else:
        stages = choose.randint(1, 4)
        fields |= dict(embedding_size=choose.randint(3, 9), hidden_sizes=[choose.choice([4, 8, 10, 16, 20]) for _ in range(stages)],
                       depths=[choose.randint(1, 3) for _ in range(stages)], layer_type=choose.choice(["basic", "bottleneck"]),
                       hidden_act=choose.choice(["relu", "silu", "gelu"]), downsample_in_first_stage=choose.random() < 0.4,
                       downsample_in_bottleneck=choose.random() < 0.4)
    if task == "classes":
        fields |= dict(num_labels=choose.choice([1, 2, 7]),
                       problem_type=choose.choice(["regression", "single_label_classification", "multi_label_classification", None]))
        if fields["num_labels"] == 1:
            fields["problem_type"] = "regression"
    return task, fields


def pixels_for(choose, config):
    size = getattr(config, "image_size", None)
    if size is None:
        size = [choose.randint(33, 80), choose.randint(33, 80)]
    rows, columns = (size, size) if isinstance(size, int) else size
    return torch.randn(5, config.num_channels, rows, columns)


def step(model, task, inputs):
    """Values, loss, gradients and buffers."""
    model.zero_grad()
    out = model(**inputs)
    if task == "base":
        values = out.last_hidden_state
        loss = (values * torch.cos(torch.arange(values.numel(), dtype=values.dtype)).reshape(values.shape)).sum() + out.pooler_output.sum()
    else:
        values, loss = out.logits, out.loss
    loss.backward()
    kind = model.config.model_type
    gradients = {file_name(key, kind): p.grad for key, p in model.named_parameters() if p.grad is not None}
    return values.detach(), loss.item(), gradients, dict(model.named_buffers())


def difference(got, want):
    return (got.double() - want).abs().max().item() / max(want.abs().max().item(), 1e-30)


def compare(binary, peer, choose, task, fields, seed, temp):
    model = random_model(task, fields, seed)
    theirs, ours = temp / "theirs", temp / "ours"
    model.save_pretrained(theirs)
    inputs = dict(pixel_values=pixels_for(choose, model.config))
    if task == "classes":
        inputs["labels"] = random_labels(model.config, 5)
        if inputs["labels"].is_floating_point():
            inputs["labels"] = inputs["labels"].abs().round()  # as the command line takes them
    save_file(inputs, temp / "data.safetensors")
    single, model = copy.deepcopy(model), model.double()
    doubled = {key: x.double() if x.is_floating_point() else x for key, x in inputs.items()}

    arguments = ["eval-logits", str(theirs), "--pixel-values", str(temp / "data.safetensors"), "--dtype", "f32"]
    if task == "classes":
        arguments.append("--labels=" + join(inputs["labels"].long()))
    values, loss, gradients, _ = step(model, task, doubled)
    got = corten(binary, *arguments)
    result = {"values": difference(torch.tensor(got["last_hidden_state" if task == "base" else "logits"]).reshape(got["shape"]), values)}
    if task == "classes":
        result["loss"] = abs(got["loss"] - loss) / (1 + abs(loss))

    modes = ["eval", "train"] if fields["model_type"] == "resnet" else ["eval"]
    for mode in modes:
        model.train(mode == "train")
        single.train(mode == "train")
        rounded = step(single, task, inputs)[2]
        values_here, loss, gradients, buffers = step(model, task, doubled)
        subprocess.run([peer, "step", task, mode, theirs, temp / "data.safetensors", temp / "out.safetensors"], check=True)
        out = load_file(temp / "out.safetensors")
        result[mode + "_values"] = difference(out["values"], values_here)
        result[mode + "_loss"] = abs(out["loss"].item() - loss) / (1 + abs(loss))
        # A bias of all keys moves no softmax, and a convolution's scale no batch norm: gradients that are zero but for rounding.
        scale = max(g.abs().max().item() for g in gradients.values())
        worst = 0.0
        for key, want in gradients.items():
            size = want.abs().max().item() + 1e-3 * scale
            error, usual = ((g.double() - want).abs().max().item() / size for g in (out.pop("grad." + key), rounded[key]))
            worst = max(worst, error / max(GRADIENT_TOLERANCE, 2 * usual))
        result[mode + "_gradients"] = worst * TOLERANCE
        result[mode + "_missing"] = float(sum(key.startswith("grad.") for key in out))
        for key, want in buffers.items():
            if want.is_floating_point():
                result[mode + "_buffers"] = max(result.get(mode + "_buffers", 0.0), difference(out["buffer." + key], want))
            else:
                result[mode + "_count"] = max(result.get(mode + "_count", 0.0), float(out["buffer." + key] != want))

    subprocess.run([peer, "save", task, theirs, ours], check=True)
    result["bytes"] = float((theirs / "model.safetensors").read_bytes() != (ours / "model.safetensors").read_bytes())
    again, info = TASKS[task].from_pretrained(ours, output_loading_info=True)
    with torch.no_grad():
        back = again.double()(**doubled)
    result["back"] = difference(back[0] if task == "base" else back.logits, values)
    result["back_weights"] = float(sum(len(info[key]) for key in ("missing_keys", "unexpected_keys", "mismatched_keys")))
    return result


def compare_timm(binary, temp):
    """Models of timm: by their architecture, and one of another size by transformers' config."""
    import timm
    from timm.models.vision_transformer import VisionTransformer

    results = {}
    torch.manual_seed(1)
    small = VisionTransformer(img_size=(20, 30), patch_size=(5, 6), in_chans=2, embed_dim=24, depth=3, num_heads=3, mlp_ratio=2,
                              num_classes=5)
    models = {"vit": (small, dict(model_type="vit", hidden_size=24, num_hidden_layers=3, num_attention_heads=3, intermediate_size=48,
                                  image_size=[20, 30], patch_size=[5, 6], num_channels=2, layer_norm_eps=1e-6,
                                  id2label={str(i): str(i) for i in range(5)}), (2, 2, 20, 30))}
    for name, shape in [("resnet18", (2, 3, 64, 48)), ("resnet50", (2, 3, 64, 64)), ("vit_tiny_patch16_224", (1, 3, 224, 224))]:
        models[name] = (timm.create_model(name, num_classes=11), dict(architecture=name, num_classes=11), shape)
    for name, (model, config, shape) in models.items():
        model.eval()
        with torch.no_grad():
            for key, p in model.named_parameters():
                if p.dim() < 2 or key in ("cls_token", "pos_embed"):
                    p.add_(torch.randn_like(p) * 0.2)
            for key, b in model.named_buffers():
                if key.endswith("running_mean"):
                    b.normal_(0, 0.2)
        folder = temp / name
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(config))
        save_file({key: x.contiguous() for key, x in model.state_dict().items()}, folder / "model.safetensors")
        pixels = torch.randn(shape)
        save_file({"pixel_values": pixels}, temp / "pixels.safetensors")
        with torch.no_grad():
            want = model.double()(pixels.double())
        got = corten(binary, "eval-logits", str(folder), "--pixel-values", str(temp / "pixels.safetensors"))
        results["timm_" + name] = difference(torch.tensor(got["logits"]).reshape(got["shape"]), want)
    return results


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary")
    parser.add_argument("peer")
    parser.add_argument("--count", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    worst, failed, seen = {}, [], {}

    def judge(result, what):
        for key, value in result.items():
            worst[key] = max(worst.get(key, 0.0), value if math.isfinite(value) else math.inf)
        if not all(value <= TOLERANCE for value in result.values()):
            failed.append(what | {"result": result})

    for index in range(arguments.count):
        choose = random.Random(arguments.seed * 100003 + index)
        task, fields = random_fields(choose)
        kind = f"{fields['model_type']} {task}"
        seen[kind] = seen.get(kind, 0) + 1
        with tempfile.TemporaryDirectory() as temp:
            result = compare(arguments.binary, arguments.peer, choose, task, fields, index, pathlib.Path(temp))
        judge(result, {"task": task, "fields": fields})
    try:
        with tempfile.TemporaryDirectory() as temp:
            judge(compare_timm(arguments.binary, pathlib.Path(temp)), {"task": "timm"})
    except ImportError:
        worst["timm"] = None
    print(json.dumps({"count": arguments.count, "seen": seen, "worst": worst, "failed": failed}, indent=2))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
