"""Train the demo model that ships with the site: a 12-layer GPT-2 of 2.9 million parameters.

    python tools/train_demo.py --corpus CORPUS --out www/models/demo --minutes 75 --seed 1

CORPUS is a folder of plain-text files (*.txt). The shipped model was trained on twelve books in the
public domain, as the NLTK project carries them from Project Gutenberg (5.9 MB):

    python -c "import nltk; nltk.download('gutenberg', download_dir='nltk_data')"

and from nltk_data/corpora/gutenberg the files austen-emma, austen-persuasion, austen-sense,
blake-poems, bryant-stories, burgess-busterbrown, carroll-alice, chesterton-ball, chesterton-brown,
chesterton-thursday, edgeworth-parents and melville-moby_dick. Any English prose will do.

What it writes into --out: config.json, model.safetensors (float16), tokenizer.json, training.json
(what was done and how well it went). `demo_expected.py` adds expected.json from the exported files.

How it trains, in one paragraph. The last 5 % of every file are held out. A byte-level BPE tokenizer
with GPT-2's rules is trained on the rest. Every file is seen in two forms: with the line breaks of the
printed page, and with each paragraph on one line, as readers of the demo type. The matrices inside the
blocks are trained with Muon, everything else with Adam; the learning rates follow the *elapsed share of
--minutes*, so that the schedule completes on a slow or busy machine too.

On a machine that is busy with other things, OMP_WAIT_POLICY=passive in the environment keeps PyTorch's
threads from spinning while they wait for each other. The shipped model took 72 minutes on two busy cores.

The run is seeded, but since the schedule follows the clock two runs are alike, not identical.
"""

import argparse
import json
import math
import random
import re
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch import nn
from torch.nn import functional as F
from transformers import GPT2Config, GPT2LMHeadModel

END_OF_TEXT = "<|endoftext|>"
HELD_OUT = 0.05  # share of every file kept for validation: its end
CONTEXT = 256  # n_positions
BATCH_WINDOWS = 8  # of CONTEXT tokens, per step

MUON_RATE, MUON_MOMENTUM, MUON_DECAY = 0.02, 0.95, 0.05
ADAM_RATE, ADAM_BETAS, ADAM_DECAY = 3e-3, (0.9, 0.98), 0.02
WARM_UP, COOL_DOWN_FROM = 0.01, 0.30  # shares of the time; in between the rates are constant


# --------------------------------------------------------------------------------------------- text


def decode(raw: bytes) -> str:
    """UTF-8, or else Latin-1: some of Gutenberg's older files are in it."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def clean(text: str) -> str:
    """Line feeds only, without the bracketed title line and the licence text some files end with."""
    text = text.replace("\r\n", "\n")
    text = re.sub(r"\A\[[^\]\n]*\][ ]*\n", "", text)
    text = re.split(r"^End of (?:The )?Project Gutenberg", text, flags=re.MULTILINE)[0]
    return text.strip("\n") + "\n"


def unwrap(text: str) -> str:
    """Put each paragraph of prose on one line; verse and headings (short or indented lines) stay."""
    blocks = []
    for block in re.split(r"\n\s*\n", text):
        lines = block.split("\n")
        is_prose = len(lines) > 1 and all(len(l) >= 45 and not l.startswith("   ") for l in lines[:-1])
        blocks.append(re.sub(r" +", " ", " ".join(lines)).strip() if is_prose else block.strip("\n"))
    return "\n\n".join(b for b in blocks if b) + "\n"


@dataclass
class Corpus:
    """Texts per file; `train` and `valid` are lists of the same length."""

    names: list[str]
    train: list[str]
    valid: list[str]

    @staticmethod
    def read(folder: Path) -> "Corpus":
        corpus = Corpus([], [], [])
        for path in sorted(folder.glob("*.txt")):
            text = clean(decode(path.read_bytes()))
            cut = int(len(text) * (1 - HELD_OUT))
            corpus.names.append(path.stem)
            corpus.train.append(text[:cut])
            corpus.valid.append(text[cut:])
        if not corpus.names:
            raise SystemExit(f"no .txt files in {folder}")
        return corpus


def train_tokenizer(texts: list[str], vocab_size: int) -> Tokenizer:
    """Byte-level BPE with exactly GPT-2's pre-tokenization (no prefix space, its regular expression)."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=False)
    tokenizer.post_processor = processors.ByteLevel(add_prefix_space=False, trim_offsets=False)
    tokenizer.decoder = decoders.ByteLevel(add_prefix_space=False, trim_offsets=False)
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def encode(tokenizer: Tokenizer, texts: list[str]) -> torch.Tensor:
    """One stream of ids, each text after an end-of-text token."""
    end = tokenizer.token_to_id(END_OF_TEXT)
    ids = []
    for text in texts:
        ids += [end, *tokenizer.encode(text).ids]
    return torch.tensor(ids)


class Windows:
    """Endless shuffled windows over a stream; every pass cuts it at a new random offset."""

    def __init__(self, stream: torch.Tensor, seed: int):
        self.stream = stream
        self.random = random.Random(seed)
        self.starts: list[int] = []

    def batch(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Inputs and targets, (BATCH_WINDOWS, CONTEXT) each."""
        if len(self.starts) < BATCH_WINDOWS:
            self.starts = list(range(self.random.randrange(CONTEXT), len(self.stream) - CONTEXT, CONTEXT))
            self.random.shuffle(self.starts)
        chosen = [self.starts.pop() for _ in range(BATCH_WINDOWS)]
        rows = torch.stack([self.stream[start : start + CONTEXT + 1] for start in chosen])
        return rows[:, :-1].contiguous(), rows[:, 1:].contiguous()


# ---------------------------------------------------------------------------------------- optimizer


class Muon:
    """Momentum, orthogonalized: https://kellerjordan.github.io/posts/muon/

    Takes 2-D weights stored [in, out]; matrices of one shape are updated together, as one batch.
    The fused query-key-value weight counts as three matrices.
    """

    def __init__(self, weights: list[nn.Parameter]):
        self.groups: dict[tuple[int, int], list[tuple[nn.Parameter, slice]]] = {}
        for weight in weights:
            rows, columns = weight.shape
            parts = 3 if columns == 3 * rows else 1
            width = columns // parts
            for part in range(parts):
                place = (weight, slice(part * width, (part + 1) * width))
                self.groups.setdefault((rows, width), []).append(place)
        self.momentum = {shape: torch.zeros(len(g), *shape) for shape, g in self.groups.items()}

    @torch.no_grad()
    def step(self, rate: float, momentum: float) -> None:
        for (rows, columns), group in self.groups.items():
            gradient = torch.stack([weight.grad[:, part] for weight, part in group])
            average = self.momentum[rows, columns].lerp_(gradient, 1 - momentum)
            update = orthogonalize(gradient.lerp_(average, momentum))
            scale = rate * max(1.0, columns / rows) ** 0.5
            for (weight, part), change in zip(group, update):
                weight[:, part].mul_(1 - rate * MUON_DECAY).sub_(change, alpha=scale)


def orthogonalize(matrices: torch.Tensor) -> torch.Tensor:
    """Five Newton-Schulz steps that bring every singular value near 1. (N, A, B) -> (N, A, B)"""
    x = matrices / (matrices.norm(dim=(1, 2), keepdim=True) + 1e-12)
    tall = x.shape[1] > x.shape[2]
    x = x.mT if tall else x
    for _ in range(5):
        gram = x @ x.mT
        x = torch.baddbmm(x, -4.7750 * gram + 2.0315 * gram @ gram, x, beta=3.4445)
    return x.mT if tall else x


def rate_factor(elapsed: float) -> float:
    """Warm up, stay, fall linearly to zero. `elapsed` is the share of the time that has passed."""
    return max(0.0, min(1.0, elapsed / WARM_UP, (1 - elapsed) / (1 - COOL_DOWN_FROM)))


# ------------------------------------------------------------------------------------------ measure


@torch.no_grad()
def measure(model: nn.Module, stream: torch.Tensor, end: int, stride: int) -> tuple[float, int]:
    """Total nats and number of tokens scored, over the whole stream but its end-of-text tokens.

    Windows of CONTEXT tokens start every `stride` tokens and score the tokens no earlier one scored:
    stride = CONTEXT is non-overlapping, a smaller one gives every token at least CONTEXT - stride before it.
    """
    model.eval()
    inputs, targets = stream[:-1], stream[1:]
    starts, scored_from, done = [], [], 0
    for start in range(0, len(inputs), stride):
        last = start + CONTEXT >= len(inputs)
        start = max(0, len(inputs) - CONTEXT) if last else start
        starts.append(start)
        scored_from.append(done - start)
        done = min(start + CONTEXT, len(inputs))
        if last:
            break
    nats, count = 0.0, 0
    for i in range(0, len(starts), 16):
        some = starts[i : i + 16]
        x = torch.stack([inputs[s : s + CONTEXT] for s in some])
        y = torch.stack([targets[s : s + CONTEXT] for s in some])
        for row, begin in enumerate(scored_from[i : i + 16]):
            y[row, :begin] = end  # already scored by an earlier window
        loss = F.cross_entropy(
            model(input_ids=x, use_cache=False).logits.flatten(0, 1), y.flatten(), ignore_index=end, reduction="sum"
        )
        nats += float(loss)
        count += int((y != end).sum())
    return nats, count


def scores(model: nn.Module, tokenizer: Tokenizer, texts: list[str], stride: int) -> dict[str, float]:
    """Loss in nats per token and in bits per byte of UTF-8 text."""
    stream = encode(tokenizer, texts)
    nats, tokens = measure(model, stream, tokenizer.token_to_id(END_OF_TEXT), stride)
    size = sum(len(text.encode()) for text in texts)
    return {
        "stride": stride,
        "bytes": size,
        "tokens": tokens,
        "nats_per_token": round(nats / tokens, 4),
        "bits_per_byte": round(nats / math.log(2) / size, 4),
    }


def five_gram_nats(train: torch.Tensor, valid: torch.Tensor, vocab_size: int, end: int, order: int = 5) -> float:
    """Total nats of an interpolated Kneser-Ney model, one discount per order.

    Chen and Goodman 1999, https://doi.org/10.1006/csla.1999.0128, equations 21 to 24. An n-gram is one
    integer, its tokens being the digits to base `vocab_size`: five of 4096 fit in 60 bits.
    """
    train, valid = train.numpy(), valid.numpy()
    probability = np.full(len(valid), 1 / vocab_size)
    for n in range(1, order + 1):
        if n == order:
            grams, counts = np.unique(ngrams(train, n, vocab_size), return_counts=True)
        else:  # in how many contexts, not how often
            longer = np.unique(ngrams(train, n + 1, vocab_size))
            grams, counts = np.unique(longer % vocab_size**n, return_counts=True)
        once, twice = (counts == 1).sum(), (counts == 2).sum()
        discount = once / (once + 2 * twice) if once else 0.5
        contexts, first, kinds = np.unique(grams // vocab_size, return_index=True, return_counts=True)
        totals = np.add.reduceat(counts, first)

        asked = ngrams(valid, n, vocab_size)
        at, found = lookup(grams, asked)
        count = np.where(found, counts[at], 0)
        at, found = lookup(contexts, asked // vocab_size)
        shorter = probability[n - 1 :].copy()
        mixed = (np.maximum(count - discount, 0) + discount * kinds[at] * shorter) / totals[at]
        probability[n - 1 :] = np.where(found, mixed, shorter)
    return float(-np.log(probability[valid != end]).sum())


def ngrams(ids: np.ndarray, n: int, vocab_size: int) -> np.ndarray:
    """One integer per position that has n - 1 tokens before it."""
    keys = np.zeros(len(ids) - n + 1, np.int64)
    for i in range(n):
        keys = keys * vocab_size + ids[i : len(keys) + i]
    return keys


def lookup(keys: np.ndarray, asked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where in sorted `keys` each one asked for is, and whether it is there at all."""
    at = np.searchsorted(keys, asked).clip(max=len(keys) - 1)
    return at, keys[at] == asked


def baseline(args: argparse.Namespace) -> None:
    """Print the 5-gram's scores on the same split, for each form of the text by itself."""
    corpus = Corpus.read(args.corpus)
    tokenizer = Tokenizer.from_file(str(args.out / "tokenizer.json"))
    end, size = tokenizer.token_to_id(END_OF_TEXT), tokenizer.get_vocab_size()
    for name, form in (("as printed", str), ("unwrapped", unwrap)):
        train_texts, valid_texts = ([form(text) for text in texts] for texts in (corpus.train, corpus.valid))
        valid = encode(tokenizer, valid_texts)
        nats = five_gram_nats(encode(tokenizer, train_texts), valid, size, end)
        tokens, written = int((valid != end).sum()), sum(len(text.encode()) for text in valid_texts)
        print(f"5-gram, {name}: {nats / tokens:.4f} nats per token, {nats / math.log(2) / written:.4f} bits per byte")


# -------------------------------------------------------------------------------------------- train


def new_model(vocab_size: int, end: int, dropout: float) -> GPT2LMHeadModel:
    config = GPT2Config(
        vocab_size=vocab_size,
        n_positions=CONTEXT,
        n_embd=128,
        n_layer=12,
        n_head=4,
        resid_pdrop=dropout,
        embd_pdrop=dropout,
        attn_pdrop=0.0,
        bos_token_id=end,
        eos_token_id=end,
        # the same function as GPT-2's gelu_new, in one kernel instead of eight; exported as gelu_new
        activation_function="gelu_pytorch_tanh",
        attn_implementation="sdpa",
    )
    return GPT2LMHeadModel(config)


def in_model_order(path):
    """Rewrite a safetensors file so that its tensors stand in the order in which the model needs them: embeddings,
    block after block, the final layer norm. Read front to back, it can then be computed as it arrives."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    metadata = header.pop("__metadata__", None)

    def place(name):
        plain = name.removeprefix("transformer.")
        layer = int(plain.split(".")[1]) if plain.startswith("h.") else -1
        return (("wte", "wpe", "h", "ln_f").index(plain.split(".")[0]), layer, header[name]["data_offsets"][0])

    ordered, body = {"__metadata__": metadata} if metadata else {}, b""
    for name in sorted(header, key=place):
        begin, end = header[name]["data_offsets"]
        tensor = data[8 + length + begin : 8 + length + end]
        ordered[name] = {**header[name], "data_offsets": [len(body), len(body) + len(tensor)]}
        body += tensor
    text = json.dumps(ordered, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + body)


def export(model: GPT2LMHeadModel, tokenizer: Tokenizer, out: Path) -> GPT2LMHeadModel:
    """Write config.json, model.safetensors (float16) and tokenizer.json; return the rounded model in float32."""
    out.mkdir(parents=True, exist_ok=True)
    config = GPT2Config.from_dict(model.config.to_dict())
    config.activation_function = "gelu_new"
    rounded = GPT2LMHeadModel(config)
    rounded.load_state_dict(model.state_dict())
    rounded.half().save_pretrained(out)
    (out / "generation_config.json").unlink(missing_ok=True)
    in_model_order(out / "model.safetensors")
    (out / "model.safetensors").chmod(0o644)  # written readable by its owner alone, yet a web server serves it
    tokenizer.save(str(out / "tokenizer.json"))
    return rounded.float().eval()


def train(args: argparse.Namespace) -> None:
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    torch.set_flush_denormal(True)
    corpus = Corpus.read(args.corpus)
    both_forms = corpus.train + [unwrap(text) for text in corpus.train]
    tokenizer = train_tokenizer(both_forms, args.vocab)
    end = tokenizer.token_to_id(END_OF_TEXT)
    windows = Windows(encode(tokenizer, both_forms), args.seed)
    unique_tokens = len(encode(tokenizer, corpus.train))

    model = new_model(tokenizer.get_vocab_size(), end, args.dropout)
    in_blocks = [p for n, p in model.named_parameters() if ".h." in n and p.dim() == 2]
    tables = [p for n, p in model.named_parameters() if ".h." not in n and p.dim() == 2]
    vectors = [p for p in model.parameters() if p.dim() == 1]
    muon = Muon(in_blocks)
    adam = torch.optim.AdamW(
        [{"params": tables, "weight_decay": ADAM_DECAY}, {"params": vectors, "weight_decay": 0.0}],
        lr=ADAM_RATE, betas=ADAM_BETAS, fused=True,
    )
    parameters = sum(p.numel() for p in model.parameters())
    print(f"{parameters:,} parameters; {unique_tokens:,} training tokens, each text in two forms", flush=True)

    budget, elapsed, step, seen = args.minutes * 60, 0.0, 0, 0
    checkpoint = args.checkpoint / "checkpoint.pt" if args.checkpoint else None
    if checkpoint and args.resume:
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        adam.load_state_dict(state["adam"])
        muon.momentum = state["muon"]
        elapsed, step, seen = state["elapsed"], state["step"], state["seen"]
        windows.random.seed(args.seed + step)

    began = time.monotonic() - elapsed
    printed_at, saved_at, measured_at = elapsed, elapsed, elapsed
    recent: list[float] = []
    recent_from = seen
    while (elapsed := time.monotonic() - began) < budget and step != args.max_steps:
        factor = rate_factor(elapsed / budget)
        model.train()
        inputs, targets = windows.batch()
        logits = model(input_ids=inputs, use_cache=False).logits
        loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten())
        loss.backward()
        muon.step(MUON_RATE * factor, MUON_MOMENTUM)
        for group in adam.param_groups:
            group["lr"] = ADAM_RATE * factor
        adam.step()
        model.zero_grad(set_to_none=True)
        step, seen = step + 1, seen + inputs.numel()
        recent.append(loss.item())

        now = time.monotonic() - began
        if now - printed_at > 15:
            speed = (seen - recent_from) / (now - printed_at)
            print(f"{now / 60:6.2f} min  step {step:5}  loss {sum(recent) / len(recent):.4f}  "
                  f"rate x{factor:.3f}  {speed:,.0f} tokens/s", flush=True)
            printed_at, recent, recent_from = now, [], seen
        if checkpoint and now - saved_at > 240:
            state = {"model": model.state_dict(), "adam": adam.state_dict(), "muon": muon.momentum,
                     "elapsed": now, "step": step, "seen": seen}
            torch.save(state, checkpoint.with_suffix(".new"))
            checkpoint.with_suffix(".new").rename(checkpoint)
            tokenizer.save(str(checkpoint.with_name("tokenizer.json")))
            saved_at = now
        if now - measured_at > args.measure_every * 60:
            print("  valid", scores(model, tokenizer, corpus.valid, CONTEXT), flush=True)
            measured_at = time.monotonic() - began

    rounded = export(model, tokenizer, args.out)
    report = {
        "parameters": parameters,
        "minutes": round((time.monotonic() - began) / 60, 1),
        "steps": step,
        "tokens_seen": seen,
        "tokens_unique": unique_tokens,
        "dropout": args.dropout,
        "seed": args.seed,
        "files": corpus.names,
        "valid": scores(rounded, tokenizer, corpus.valid, 64),
        "valid_non_overlapping": scores(rounded, tokenizer, corpus.valid, CONTEXT),
        "valid_unwrapped": scores(rounded, tokenizer, [unwrap(text) for text in corpus.valid], 64),
    }
    (args.out / "training.json").write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report, indent=1), flush=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True, help="folder of .txt files")
    parser.add_argument("--out", type=Path, required=True, help="folder to write the model into")
    parser.add_argument("--minutes", type=float, default=75, help="training time (default 75)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--vocab", type=int, default=4096)
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--measure-every", type=float, default=6, help="minutes between validation scores")
    parser.add_argument("--checkpoint", type=Path, help="folder for a checkpoint every four minutes")
    parser.add_argument("--resume", action="store_true", help="go on from that checkpoint")
    parser.add_argument("--max-steps", type=int, default=-1, help="stop early, for trying things out")
    parser.add_argument("--baseline", action="store_true", help="only score a 5-gram model on --out's tokenizer")
    return parser.parse_args()


if __name__ == "__main__":
    given = arguments()
    baseline(given) if given.baseline else train(given)
