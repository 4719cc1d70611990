"""What the demo model must compute, and what it writes when left to itself.

    python tools/demo_expected.py www/models/demo             write expected.json
    python tools/demo_expected.py www/models/demo --check     compute it again and compare
    python tools/demo_expected.py www/models/demo --samples   print the samples of the model card

The model is loaded from the exported files (float16) and computed in float32 by Hugging Face
transformers; forward hooks on every h[i].attn and h[i].mlp record what they add to the residual stream.
Per sequence of T tokens, in a model of L layers and H heads:

    text            where the sequence has one; tokenizer.json turns it into exactly `ids`
    ids             T token ids
    embed_norm      T: L2 norm of token + position embedding
    attn_norm, mlp_norm                                 L x T: contribution norms
    head_norm       L x H x T: each head's part of the attention contribution, without the bias
    resid_pre_norm, resid_mid_norm, resid_post_norm     L x T: norms of the stream around a block's parts
    attn_cos, mlp_cos                                   L x T: cosine of a contribution with the stream it joins
    lens_top1       (L+1) x T: the logit lens's first choice, on the embedding and after each block
    next_top5       five (id, probability) pairs after the last token
    token_logprob   T-1: log-probability of each next token
    final_logits_last   null (the vocabulary is too long to list)
"""

import argparse
import json
import math
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch.nn.functional import cosine_similarity
from transformers import GPT2LMHeadModel

DIGITS = 6  # significant digits kept: rounding moves a value by at most 5e-6 of itself
TOLERANCE = 2e-5  # for --check, relative: float32 sums in another order, plus the rounding

SENTENCES = [
    "The old man looked at the sea, and the sea looked back at him.",
    "She was not at all surprised to find that her sister had gone to London without a word.",
    '"I do not believe it," said the captain; but he did not laugh.',
]
SINGLE = "The"
LONG = """\
It was a bright, cold morning in the early spring, and the whole village had come down to the harbour to \
see the ship go out. The children ran along the wall and shouted; the women stood together by the door of \
the inn, and said very little; and the old men, who had seen a great many ships go out, and not so many \
come home again, smoked their pipes and looked at the sky. "There will be wind before night," said one of \
them. Nobody answered him.

Anne had promised herself that she would not cry. She had said good-bye to her brother in the kitchen, \
where no one could see them, and had given him the little book which had been their mother's, and he had \
put it into his coat without a word. Now she could only see his hat, among all the other hats, as the boat \
was pushed away from the stones. He did not turn round. "He is quite right," she thought; "if he turned \
round I should certainly begin to cry, and then what would become of us?" So she looked at the white bird \
upon the top of the mast, and counted slowly, first to ten, and then to a hundred, until the sails were \
nothing but a small bright cloud at the edge of the water, and the people had begun to go home to their \
breakfasts. It was then, when there was nobody left to be brave for, that she sat down upon the wall.
"""
PROMPTS = ["It was a dark night, and", "The captain said that", "There was once a little"]
TEMPERATURE, TOP_K, SAMPLE_TOKENS, SAMPLE_SEED = 0.8, 40, 80, 1


def load(folder: Path) -> tuple[GPT2LMHeadModel, Tokenizer]:
    model = GPT2LMHeadModel.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    return model.eval(), Tokenizer.from_file(str(folder / "tokenizer.json"))


def trace(model: GPT2LMHeadModel, ids: list[int]) -> dict:
    """Run one sequence; the fields are described at the top of this file."""
    attention, mlp, head_values, hooks = [], [], [], []
    for block in model.transformer.h:
        hooks += [
            block.attn.register_forward_hook(lambda _m, _i, out: attention.append(out[0].squeeze(0))),
            block.mlp.register_forward_hook(lambda _m, _i, out: mlp.append(out.squeeze(0))),
            # the heads' values side by side, before the output projection mixes them: (T, D)
            block.attn.c_proj.register_forward_pre_hook(lambda _m, args: head_values.append(args[0].squeeze(0))),
        ]
    out = model(torch.tensor([ids]), output_hidden_states=True, use_cache=False)
    for hook in hooks:
        hook.remove()

    heads = model.config.n_head
    width = model.config.n_embd // heads
    head_norm = []
    for block, values in zip(model.transformer.h, head_values):
        projection = block.attn.c_proj.weight  # (D, D), stored [in, out]
        rows = [slice(head * width, (head + 1) * width) for head in range(heads)]
        head_norm.append([norms(values[:, r] @ projection[r]) for r in rows])

    stream = out.hidden_states[0].squeeze(0)  # (T, D)
    streams, pre, mid, post, attn_cos, mlp_cos = [stream], [], [], [], [], []
    for attn_out, mlp_out in zip(attention, mlp):
        pre.append(norms(stream))
        attn_cos.append(cosine_similarity(attn_out, stream, dim=-1).tolist())
        stream = stream + attn_out
        mid.append(norms(stream))
        mlp_cos.append(cosine_similarity(mlp_out, stream, dim=-1).tolist())
        stream = stream + mlp_out
        post.append(norms(stream))
        streams.append(stream)

    logits = out.logits.squeeze(0)  # (T, V)
    log_probabilities = torch.log_softmax(logits, -1)
    top = torch.softmax(logits[-1], -1).topk(5)
    return {
        "ids": ids,
        "embed_norm": norms(streams[0]),
        "attn_norm": [norms(t) for t in attention],
        "mlp_norm": [norms(t) for t in mlp],
        "head_norm": head_norm,
        "resid_pre_norm": pre,
        "resid_mid_norm": mid,
        "resid_post_norm": post,
        "attn_cos": attn_cos,
        "mlp_cos": mlp_cos,
        "lens_top1": [model.lm_head(model.transformer.ln_f(s)).argmax(-1).tolist() for s in streams],
        "final_logits_last": None,
        "next_top5": [[i, p] for i, p in zip(top.indices.tolist(), top.values.tolist())],
        "token_logprob": [float(log_probabilities[i, ids[i + 1]]) for i in range(len(ids) - 1)],
    }


def norms(values: torch.Tensor) -> list[float]:
    return values.norm(dim=-1).tolist()


def rounded(value):
    """The same structure with every float cut to DIGITS significant digits."""
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, list):
        return [rounded(v) for v in value]
    if isinstance(value, dict):
        return {k: rounded(v) for k, v in value.items()}
    return value


def sequences(model: GPT2LMHeadModel, tokenizer: Tokenizer) -> list[dict]:
    """Sentences, a single token, and a sequence that fills the context."""
    found = [{"text": text, **trace(model, tokenizer.encode(text).ids)} for text in [*SENTENCES, SINGLE]]
    if len(found[-1]["ids"]) != 1:
        raise SystemExit(f"{SINGLE!r} is not a single token of this tokenizer")
    full = tokenizer.encode(LONG).ids[: model.config.n_positions]
    if len(full) != model.config.n_positions:
        raise SystemExit(f"the long text has {len(full)} tokens, fewer than the context")
    text = tokenizer.decode(full, skip_special_tokens=False)
    if tokenizer.encode(text).ids == full:
        found.append({"text": text, **trace(model, full)})
    else:  # cut inside a word, which encodes otherwise by itself
        found.append(trace(model, full))
    return found


def differences(found, expected, where: str = "") -> list[str]:
    """Where two structures differ by more than TOLERANCE."""
    if isinstance(expected, dict):
        keys = sorted(found.keys() | expected.keys())
        return [d for k in keys for d in differences(found.get(k), expected.get(k), f"{where}.{k}")]
    if isinstance(expected, list) and isinstance(found, list) and len(found) == len(expected):
        return [d for i, (f, e) in enumerate(zip(found, expected)) for d in differences(f, e, f"{where}[{i}]")]
    if isinstance(expected, float) and isinstance(found, float):
        # cosines pass through zero: there the absolute tolerance decides
        same = math.isclose(found, expected, rel_tol=TOLERANCE, abs_tol=1e-6)
    else:
        same = found == expected
    return [] if same else [f"{where}: {found} for {expected}"]


def sample(model: GPT2LMHeadModel, tokenizer: Tokenizer, prompt: str, generator: torch.Generator) -> str:
    ids = tokenizer.encode(prompt).ids
    for _ in range(SAMPLE_TOKENS):
        logits = model(torch.tensor([ids]), use_cache=False).logits[0, -1] / TEMPERATURE
        values, choices = logits.topk(TOP_K)
        ids.append(int(choices[torch.multinomial(values.softmax(-1), 1, generator=generator)]))
    return tokenizer.decode(ids)


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--samples", action="store_true")
    args = parser.parse_args()
    model, tokenizer = load(args.folder)
    path = args.folder / "expected.json"

    if args.samples:
        generator = torch.Generator().manual_seed(SAMPLE_SEED)
        for prompt in PROMPTS:
            print(sample(model, tokenizer, prompt, generator), end="\n\n---\n\n")
        return
    found = sequences(model, tokenizer)
    if args.check:
        wrong = differences(found, json.loads(path.read_text())["sequences"])
        print("\n".join(wrong[:20]) or f"{path}: all {len(found)} sequences agree")
        raise SystemExit(1 if wrong else 0)
    source = "transformers GPT2LMHeadModel, float16 weights in float32, forward hooks on h[i].attn and h[i].mlp"
    text = json.dumps({"source": source, "sequences": rounded(found)}, separators=(",", ":"))
    path.write_text(text.replace(',{"text"', ',\n{"text"') + "\n")
    print(f"{path}: {len(found)} sequences, {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
