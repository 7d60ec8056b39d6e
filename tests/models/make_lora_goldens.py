"""Makes the adapters of tests/models/lora for folders of tests/models, and the logits that PEFT computes with them.

Run with the packages of scripts/peers/requirements.txt:  python tests/models/make_lora_goldens.py
"""

import pathlib
import shutil

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoModelForSequenceClassification

HERE = pathlib.Path(__file__).resolve().parent
CASES = {
    "gpt2": ("gpt2_tied", AutoModelForCausalLM, dict(
        r=3, lora_alpha=4, target_modules=["c_attn", "mlp.c_proj"], fan_in_fan_out=True, bias="all", task_type="CAUSAL_LM")),
    "llama": ("decoders/llama", AutoModelForCausalLM, dict(
        r=2, lora_alpha=3.5, target_modules=r"model\.layers\.\d+\.(self_attn\.[qv]_proj|mlp\..*_proj)", use_rslora=True,
        lora_dropout=0.1, rank_pattern={"mlp.up_proj": 4}, alpha_pattern={r"1\..*q_proj": 9}, task_type="CAUSAL_LM")),
    "head": ("decoders/mistral", AutoModelForCausalLM, dict(
        r=2, lora_alpha=3, target_modules=["q_proj", "lm_head", "embed_tokens"], task_type="CAUSAL_LM")),
    "tied": ("decoders/gemma2", AutoModelForCausalLM, dict(
        r=2, lora_alpha=3, target_modules=["k_proj", "embed_tokens"], task_type="CAUSAL_LM")),
    "classes": ("headless/llama_classes", AutoModelForSequenceClassification, dict(
        r=2, target_modules=["q_proj", "v_proj"], task_type="SEQ_CLS")),
    "t5": ("t5/relu", AutoModelForSeq2SeqLM, dict(
        r=2, target_modules=["q", "v", "wo"], layers_to_transform=[0], modules_to_save=["final_layer_norm"],
        task_type="SEQ_2_SEQ_LM")),
    "bert": ("encoders/bert_single", AutoModelForSequenceClassification, dict(
        r=4, target_modules=["query", "value"], bias="lora_only", task_type="SEQ_CLS")),
}


def make(name, base, auto, fields):
    torch.manual_seed(11)
    folder = HERE / "lora" / name
    shutil.rmtree(folder, ignore_errors=True)
    model = get_peft_model(auto.from_pretrained(HERE / base, attn_implementation="eager"), LoraConfig(**fields)).eval()
    with torch.no_grad():
        for p in model.parameters():
            if p.requires_grad:
                p.normal_(0, 0.3)
    model.peft_config["default"].base_model_name_or_path = base
    model.save_pretrained(folder)
    (folder / "README.md").unlink()
    inputs = {"input_ids": torch.randint(2, model.config.vocab_size, (2, 6))}
    if name == "t5":
        inputs["decoder_input_ids"] = torch.randint(2, model.config.vocab_size, (2, 4))
    logits = model(**inputs).logits
    (logits * torch.linspace(-1, 1, logits.numel()).reshape(logits.shape)).sum().backward()
    golden = inputs | {"logits": logits} | {
        "grad." + key.removeprefix("base_model.model.").replace(".default", "").replace(".modules_to_save", "").replace(
            ".base_layer", ""): p.grad for key, p in model.named_parameters() if p.grad is not None}
    save_file({k: v.detach().contiguous() for k, v in golden.items()}, folder / "golden.safetensors")
    for path in folder.iterdir():
        path.chmod(0o644)


if __name__ == "__main__":
    for name, case in CASES.items():
        make(name, *case)
