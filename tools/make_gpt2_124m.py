"""Writes a GPT-2 with random weights in the hub's exact layout, without PyTorch or numpy.

    python3 tools/make_gpt2_124m.py OUT_DIR             148 tensors, 498 MB: GPT-2 small
    python3 tools/make_gpt2_124m.py OUT_DIR --masks     160 tensors, 548,105,171 bytes: with the mask
                                                        buffers `h.N.attn.bias`, as openai-community/gpt2 has them
    python3 tools/make_gpt2_124m.py OUT_DIR --layers 1 --embd 8 --heads 2 --positions 32

The numbers are bytes of a seeded generator read as floats in a narrow range, so that a trace neither
overflows nor vanishes; two runs write the same file. For loading, timing and memory: it knows no language.
"""

import argparse
import array
import json
import math
import pathlib
import random
import shutil
import struct

FIXTURES = pathlib.Path(__file__).resolve().parent.parent / "tests" / "fixtures" / "gpt2-tokenizer"
# The published file's size. The order of its tensors is not known here: with blocks in the order of their
# names as text (h.0, h.1, h.10, ...) and small tensors first in a block, the header fits with 14 spaces.
HUB_FILE_BYTES = 548_105_171
# Values are drawn from one pool of this many floats, at offsets that differ from tensor to tensor.
POOL = 1 << 20


def shapes(layers, embd, inner, positions, vocab, masks):
    """Every tensor's name and shape, block by block."""
    named = {"wte.weight": [vocab, embd], "wpe.weight": [positions, embd], "ln_f.weight": [embd], "ln_f.bias": [embd]}
    for i in range(layers):
        tensors = {
            "ln_1.weight": [embd], "ln_1.bias": [embd], "ln_2.weight": [embd], "ln_2.bias": [embd],
            "attn.c_attn.weight": [embd, 3 * embd], "attn.c_attn.bias": [3 * embd],
            "attn.c_proj.weight": [embd, embd], "attn.c_proj.bias": [embd],
            "mlp.c_fc.weight": [embd, inner], "mlp.c_fc.bias": [inner],
            "mlp.c_proj.weight": [inner, embd], "mlp.c_proj.bias": [embd],
        }
        if masks:
            tensors["attn.bias"] = [1, 1, positions, positions]
        named.update({f"h.{i}.{key}": shape for key, shape in tensors.items()})
    block = lambda name: name.split(".")[:2] if name.startswith("h.") else [name]
    return dict(sorted(named.items(), key=lambda item: (block(item[0]), math.prod(item[1]), item[0])))


def config(layers, heads, embd, positions, vocab):
    """The published config.json, with these sizes."""
    return {
        "activation_function": "gelu_new", "architectures": ["GPT2LMHeadModel"], "attn_pdrop": 0.1,
        "bos_token_id": vocab - 1, "embd_pdrop": 0.1, "eos_token_id": vocab - 1, "initializer_range": 0.02,
        "layer_norm_epsilon": 1e-05, "model_type": "gpt2", "n_ctx": positions, "n_embd": embd, "n_head": heads,
        "n_layer": layers, "n_positions": positions, "resid_pdrop": 0.1, "summary_activation": None,
        "summary_first_dropout": 0.1, "summary_proj_to_labels": True, "summary_type": "cls_index",
        "summary_use_proj": True, "vocab_size": vocab,
        "task_specific_params": {"text-generation": {"do_sample": True, "max_length": 50}},
    }


def pool(seed):
    """POOL floats in (-0.035, 0.035), mean 0 and standard deviation 0.02, twice over, as bytes."""
    bits = random.Random(seed).randbytes(2 * POOL)
    values = array.array("f", (((b / 65535) - 0.5) * 0.0692 for b in memoryview(bits).cast("H")))
    return values.tobytes() * 2


def write_tensor(out, name, shape, numbers, offset):
    count = math.prod(shape)
    if name.endswith(".attn.bias"):
        n = shape[-1]
        ones, zeros = struct.pack("<f", 1.0) * n, bytes(4 * n)
        for row in range(n):
            out.write(ones[: 4 * (row + 1)] + zeros[: 4 * (n - row - 1)])
    elif ".ln_" in name or name.startswith("ln_f"):
        out.write(struct.pack("<f", 1.0 if name.endswith("weight") else 0.0) * count)
    else:
        left, at = 4 * count, 4 * offset
        while left > 0:
            piece = min(left, 4 * POOL)
            out.write(memoryview(numbers)[at : at + piece])
            left -= piece


def write_weights(path, tensors, header_bytes, seed):
    header, end = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in tensors.items():
        size = 4 * math.prod(shape)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header, separators=(",", ":")).encode()
    padded = text.ljust(header_bytes if header_bytes else -(-len(text) // 8) * 8)
    if header_bytes and len(text) > header_bytes:
        raise SystemExit(f"the header takes {len(text)} bytes, more than the hub's {header_bytes}")
    numbers, places = pool(seed), random.Random(seed + 1)
    with open(path, "wb") as out:
        out.write(struct.pack("<Q", len(padded)) + padded)
        for name, shape in tensors.items():
            write_tensor(out, name, shape, numbers, places.randrange(POOL))
    return path.stat().st_size


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--masks", action="store_true", help="add the mask buffers, as the hub's file has them")
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--embd", type=int, default=768)
    parser.add_argument("--heads", type=int, default=12)
    parser.add_argument("--positions", type=int, default=1024)
    parser.add_argument("--vocab", type=int, default=50257)
    parser.add_argument("--seed", type=int, default=1)
    sizes = parser.parse_args()
    if sizes.embd % sizes.heads:
        parser.error("--embd must be a multiple of --heads")

    sizes.out.mkdir(parents=True, exist_ok=True)
    tensors = shapes(sizes.layers, sizes.embd, 4 * sizes.embd, sizes.positions, sizes.vocab, sizes.masks)
    floats = 4 * sum(math.prod(shape) for shape in tensors.values())
    small = (sizes.layers, sizes.embd, sizes.positions, sizes.vocab) == (12, 768, 1024, 50257)
    header_bytes = HUB_FILE_BYTES - 8 - floats if small and sizes.masks else None
    size = write_weights(sizes.out / "model.safetensors", tensors, header_bytes, sizes.seed)
    published = config(sizes.layers, sizes.heads, sizes.embd, sizes.positions, sizes.vocab)
    (sizes.out / "config.json").write_text(json.dumps(published, indent=2) + "\n")
    for name in ("vocab.json", "merges.txt"):
        shutil.copyfile(FIXTURES / name, sizes.out / name)
    print(f"{sizes.out}/model.safetensors: {len(tensors)} tensors, {size:,} bytes")


if __name__ == "__main__":
    main()
