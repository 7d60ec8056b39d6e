"""Makes generation/: what transformers does with scores, and what it generates, for the settings in cases.json.

Run with the packages of scripts/peers/requirements.txt:  python tests/models/make_generation_goldens.py
"""

import json
import pathlib

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, GenerationConfig

HERE = pathlib.Path(__file__).parent
OUT = HERE / "generation"
OUT.mkdir(exist_ok=True)

V, PROMPT, LENGTH, MAX_LENGTH = 83, 5, 13, 14
EOS = [2, 40]

SCORES = {
    "temperature": dict(do_sample=True, temperature=0.7, top_k=0),
    "top_k": dict(do_sample=True, top_k=7),
    "top_k_beyond": dict(do_sample=True, top_k=500),
    "top_p": dict(do_sample=True, top_k=0, top_p=0.8),
    "top_p_small": dict(do_sample=True, top_k=0, top_p=0.05),
    "min_p": dict(do_sample=True, top_k=0, min_p=0.1),
    "typical": dict(do_sample=True, top_k=0, typical_p=0.6),
    "typical_wide": dict(do_sample=True, top_k=0, typical_p=0.95),
    "epsilon": dict(do_sample=True, top_k=0, epsilon_cutoff=0.01),
    "eta": dict(do_sample=True, top_k=0, eta_cutoff=0.05),
    "all_warpers": dict(do_sample=True, temperature=1.4, top_k=40, top_p=0.9, min_p=0.02, typical_p=0.9,
                        epsilon_cutoff=0.003, eta_cutoff=0.003),
    "renormalized": dict(do_sample=True, temperature=0.9, top_k=20, top_p=0.95, renormalize_logits=True),
    "repetition": dict(repetition_penalty=1.3),
    "repetition_below_1": dict(repetition_penalty=0.8),
    "ngram_1": dict(no_repeat_ngram_size=1),
    "ngram_2": dict(no_repeat_ngram_size=2),
    "ngram_3": dict(no_repeat_ngram_size=3),
    "bad_words": dict(bad_words_ids=[[7], [40], [9, 11], [3, 4, 5], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14]]),
    "bias": dict(sequence_bias=[[[7], 2.5], [[9, 11], -3.0], [[4], -1.0]]),
    "min_length": dict(min_length=14),
    "min_length_reached": dict(min_length=13),
    "min_new_tokens": dict(min_new_tokens=9),
    "forced_eos": dict(forced_eos_token_id=[3, 5]),
    "decay": dict(exponential_decay_length_penalty=[4, 1.2]),
    "suppress": dict(suppress_tokens=[1, 80]),
    "begin_suppress": dict(begin_suppress_tokens=[1, 80]),
    "everything": dict(do_sample=True, temperature=0.8, top_k=30, top_p=0.9, repetition_penalty=1.2,
                       no_repeat_ngram_size=2, bad_words_ids=[[7], [9, 11]], min_new_tokens=9,
                       suppress_tokens=[6], renormalize_logits=True),
}

# Folder of this directory, prompts, settings.
TEXTS = {
    "greedy": ("gpt2_tied", 1, dict(max_new_tokens=16)),
    "greedy_repetition": ("gpt2_tied", 1, dict(max_new_tokens=20, repetition_penalty=1.5)),
    "greedy_ngrams": ("gpt2_odd", 2, dict(max_new_tokens=12, no_repeat_ngram_size=2)),
    "greedy_several_eos": ("gpt2_tied", 3, dict(max_new_tokens=20, eos_token_id=[2, 6, 16, 42])),
    "greedy_min_new": ("gpt2_tied", 3, dict(max_new_tokens=20, eos_token_id=[2, 6, 16, 42], min_new_tokens=6)),
    "greedy_forced": ("gpt2_odd", 1, dict(max_new_tokens=6, forced_eos_token_id=9)),
    "greedy_padded": ("gpt2_tied", 4, dict(max_new_tokens=14)),
    "beams": ("gpt2_tied", 1, dict(max_new_tokens=12, num_beams=4)),
    "beams_all": ("gpt2_tied", 2, dict(max_new_tokens=10, num_beams=3, num_return_sequences=3)),
    "beams_eos": ("gpt2_tied", 3, dict(max_new_tokens=14, num_beams=3, num_return_sequences=2,
                                       eos_token_id=[6, 52])),
    "beams_eos_yes": ("gpt2_tied", 3, dict(max_new_tokens=14, num_beams=3, num_return_sequences=3,
                                           eos_token_id=[6, 52], early_stopping=True)),
    "beams_eos_never": ("gpt2_tied", 3, dict(max_new_tokens=14, num_beams=3, num_return_sequences=3,
                                             eos_token_id=[6, 52], early_stopping="never")),
    "beams_long": ("gpt2_odd", 2, dict(max_new_tokens=10, num_beams=5, length_penalty=2.0, num_return_sequences=5,
                                       eos_token_id=[1, 8])),
    "beams_short": ("gpt2_odd", 2, dict(max_new_tokens=10, num_beams=5, length_penalty=-1.5, num_return_sequences=5,
                                        eos_token_id=[1, 8])),
    "beams_long_never": ("gpt2_odd", 2, dict(max_new_tokens=10, num_beams=4, length_penalty=1.7,
                                             eos_token_id=[1, 8], early_stopping="never")),
    "beams_penalised": ("gpt2_untied", 2, dict(max_new_tokens=9, num_beams=4, repetition_penalty=1.4,
                                               no_repeat_ngram_size=2, num_return_sequences=2)),
    "beams_padded": ("gpt2_tied", 4, dict(max_new_tokens=12, num_beams=3, num_return_sequences=2,
                                          eos_token_id=[42, 5])),
}


def scores():
    generator = torch.Generator().manual_seed(5)
    logits = torch.randn(4, V, generator=generator) * torch.tensor([[0.3], [1.0], [3.0], [6.0]])
    ids = torch.randint(0, V, (4, LENGTH), generator=generator)
    ids[:, 3:8] = torch.tensor([3, 9, 11, 3, 9])  # n-grams that begin again
    ids[1, -3:] = torch.tensor([5, 3, 9])
    ids[2, -2:] = torch.tensor([3, 4])
    ids[3, -1] = 9
    model = AutoModelForCausalLM.from_pretrained(HERE / "gpt2_tied")
    out = {"logits": logits, "ids": ids}
    for name, settings in SCORES.items():
        config = GenerationConfig(**settings, max_length=MAX_LENGTH, eos_token_id=EOS)
        config.update(**config._get_default_generation_params(), defaults_only=True)
        config._eos_token_tensor = torch.tensor(EOS)
        processors = model._get_logits_processor(config, input_ids_seq_length=PROMPT)
        out[name] = processors(ids, logits.clone())
    save_file({k: v.contiguous() for k, v in out.items()}, OUT / "scores.safetensors")


def texts():
    out = []
    for name, (folder, kind, settings) in TEXTS.items():
        model = AutoModelForCausalLM.from_pretrained(HERE / folder, attn_implementation="eager")
        generator = torch.Generator().manual_seed(kind)
        vocab = model.config.vocab_size
        # 4: prompts of different lengths
        lengths = {1: [4], 2: [3, 3], 3: [5, 5, 5], 4: [6, 3, 5]}[kind]
        prompts = [torch.randint(3, vocab, (n,), generator=generator).tolist() for n in lengths]
        longest = max(lengths)
        settings = {"eos_token_id": None, **settings}
        sequences = model.generate(
            torch.tensor([[0] * (longest - len(p)) + p for p in prompts]),
            attention_mask=torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts]),
            generation_config=GenerationConfig(**settings, do_sample=False, pad_token_id=0, output_scores=True,
                                               return_dict_in_generate=True))
        ends = settings["eos_token_id"] or []
        ids = []
        for row in sequences.sequences[:, longest:].tolist():
            for at, token in enumerate(row):
                if token in ends:
                    row = row[:at]  # padding follows
                    break
            ids.append(row)
        case = {"name": name, "folder": folder, "prompts": prompts, "config": settings, "ids": ids}
        if settings.get("num_beams", 1) > 1:
            case["scores"] = sequences.sequences_scores.tolist()
        out.append(case)
    return out


scores()
(OUT / "scores.safetensors").chmod(0o644)
cases = {"eos_token_id": EOS, "prompt_tokens": PROMPT, "max_length": MAX_LENGTH, "scores": SCORES, "texts": texts()}
(OUT / "cases.json").write_text(json.dumps(cases, indent=1) + "\n")
