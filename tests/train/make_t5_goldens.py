"""Makes tests/train/t5: a tiny T5 with its tokenizer, pairs of texts, and the losses of its first training steps.

Run with the packages of scripts/peers/requirements.txt:  python tests/train/make_t5_goldens.py
"""

import json
import pathlib
import random
import shutil

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoModelForSeq2SeqLM, DataCollatorForSeq2Seq, PreTrainedTokenizerFast, T5Config

HERE = pathlib.Path(__file__).resolve().parent / "t5"
WORDS = {"one": "1", "two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7"}
SEQ, TARGET_SEQ = 12, 7  # too short for some of the pairs
STEPS, VALIDATION = 6, 4


def make_pairs(count, seed=3):
    """Numbers as words and as digits, the last first."""
    rng = random.Random(seed)
    rows = [[rng.choice(list(WORDS)) for _ in range(rng.randint(1, 6))] for _ in range(count)]
    return [(" ".join(row), " ".join(WORDS[word] for word in reversed(row))) for row in rows]


def make_tokenizer(pairs):
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.train_from_iterator([text for pair in pairs for text in pair], trainers.UnigramTrainer(
        vocab_size=48, special_tokens=["<pad>", "</s>", "<unk>"], unk_token="<unk>", show_progress=False))
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")


def make_model(vocab_size):
    torch.manual_seed(5)
    config = T5Config(vocab_size=vocab_size, d_model=16, d_kv=6, d_ff=20, num_layers=2, num_decoder_layers=1, num_heads=2,
                      relative_attention_num_buckets=8, relative_attention_max_distance=12, dropout_rate=0.0,
                      feed_forward_proj="gated-gelu", pad_token_id=0, eos_token_id=1, decoder_start_token_id=0)
    model = AutoModelForSeq2SeqLM.from_config(config).float()
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "layer_norm" not in name:
                p.normal_(0, 0.3)
    return model


def batch_of(tokenizer, model, pairs):
    rows = [dict(tokenizer(source, truncation=True, max_length=SEQ),
                 labels=tokenizer(text_target=target, truncation=True, max_length=TARGET_SEQ)["input_ids"])
            for source, target in pairs]
    for row in rows:
        row.pop("token_type_ids", None)
    return DataCollatorForSeq2Seq(tokenizer, model=model)(rows)


def train(model, batch, validation):
    """Corten's defaults: AdamW that decays matrices alone, clipping at 1; a constant learning rate."""
    decayed = [p for p in model.parameters() if p.dim() >= 2]
    others = [p for p in model.parameters() if p.dim() < 2]
    optimizer = torch.optim.AdamW([{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}],
                                  lr=1e-2, betas=(0.9, 0.95), eps=1e-8)
    model.train()
    losses = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = model(**batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    model.eval()
    with torch.no_grad():
        return losses, model(**validation).loss.item()


def main():
    shutil.rmtree(HERE, ignore_errors=True)
    pairs = make_pairs(20)
    tokenizer, held = make_tokenizer(pairs), pairs[-VALIDATION:]
    pairs = pairs[:-VALIDATION]
    model = make_model(len(tokenizer))
    model.save_pretrained(HERE)
    tokenizer.backend_tokenizer.save(str(HERE / "tokenizer.json"))
    (HERE / "train.tsv").write_text("".join(f"{source}\t{target}\n" for source, target in pairs))
    (HERE / "val.jsonl").write_text("".join(json.dumps({"text": source, "target": target}) + "\n" for source, target in held))
    batch = batch_of(tokenizer, model, pairs)
    losses, val_loss = train(model, batch, batch_of(tokenizer, model, held))
    golden = {"seq": SEQ, "target_seq": TARGET_SEQ, "batch": len(pairs), "losses": losses, "val_loss": val_loss,
              "tokens": int(batch["attention_mask"].sum() + (batch["labels"] != -100).sum())}
    (HERE / "golden.json").write_text(json.dumps(golden, indent=1) + "\n")
    for path in HERE.iterdir():
        path.chmod(0o644)


if __name__ == "__main__":
    main()
