#!/usr/bin/env python3
"""Write the GPT-2 of a folder (config.json, model.safetensors in F32) as an ONNX file, for the benchmark's peer.

The graph is the same function as ours: token and position embedding, every block, and as outputs the L2 norms of what
attention and MLP add, [L, T] each. No PyTorch: needs numpy and onnx only (tools/requirements.txt).

    python3 tools/make_onnx.py FOLDER OUT.onnx
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def tensors(path: Path) -> dict[str, np.ndarray]:
    """The F32 tensors of a safetensors file, without the prefix that some checkpoints carry."""
    length = int.from_bytes(path.open("rb").read(8), "little")
    data = np.memmap(path, dtype=np.uint8, mode="r")
    header = json.loads(bytes(data[8 : 8 + length]))
    found = {}
    for name, info in header.items():
        if name != "__metadata__" and info["dtype"] == "F32":
            begin, end = (8 + length + offset for offset in info["data_offsets"])
            found[name.removeprefix("transformer.")] = data[begin:end].view(np.float32).reshape(info["shape"])
    return found


class Graph:
    """Collects nodes and constants; every method returns the name of what it adds."""

    def __init__(self, weights: dict[str, np.ndarray]):
        self.weights, self.nodes, self.constants, self.count = weights, [], {}, 0

    def weight(self, name: str) -> str:
        if name not in self.constants:
            self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(self.weights[name]), name)
        return name

    def constant(self, value, dtype) -> str:
        array = np.array(value, dtype=dtype)
        name = f"const_{dtype.__name__}_{array.tolist()}".replace(" ", "")
        self.constants.setdefault(name, numpy_helper.from_array(array, name))
        return name

    def op(self, kind: str, *inputs: str, outputs: int = 1, **attributes):
        self.count += 1
        names = [f"{kind}_{self.count}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), names, **attributes))
        return names[0] if outputs == 1 else names

    def linear(self, x: str, name: str) -> str:
        product = self.op("MatMul", x, self.weight(f"{name}.weight"))
        return self.op("Add", product, self.weight(f"{name}.bias"))

    def norm(self, x: str, name: str, epsilon: float) -> str:
        weight, bias = self.weight(f"{name}.weight"), self.weight(f"{name}.bias")
        return self.op("LayerNormalization", x, weight, bias, axis=-1, epsilon=epsilon)

    def length(self, x: str) -> str:
        """L2 norms over the width: [T, D] to [1, T]."""
        norms = self.op("ReduceL2", x, self.constant([1], np.int64), keepdims=0)
        return self.op("Unsqueeze", norms, self.constant([0], np.int64))


def gpt2(config: dict, weights: dict[str, np.ndarray]) -> onnx.ModelProto:
    graph = Graph(weights)
    heads, width, epsilon = config["n_head"], config["n_embd"], config["layer_norm_epsilon"]
    axis0 = graph.constant([0], np.int64)
    count = graph.op("Shape", "ids")  # [T]
    positions = graph.op("Slice", graph.weight("wpe.weight"), axis0, count, axis0)  # [T, D]
    x = graph.op("Add", graph.op("Gather", graph.weight("wte.weight"), "ids"), positions)  # [T, D]
    # The causal mask, from positions: 0 where a key may be seen, else as good as minus infinity.
    scalar = graph.op("Squeeze", count, axis0)
    order = graph.op("Range", graph.constant(0, np.int64), scalar, graph.constant(1, np.int64))
    later = graph.op("Greater", graph.op("Unsqueeze", order, axis0), graph.op("Unsqueeze", order, graph.constant([1], np.int64)))
    mask = graph.op("Where", later, graph.constant(-1e9, np.float32), graph.constant(0.0, np.float32))  # [T, T]
    split = graph.constant([-1, heads, width // heads], np.int64)
    attn_norms, mlp_norms = [], []
    for layer in range(config["n_layer"]):
        normed = graph.norm(x, f"h.{layer}.ln_1", epsilon)
        qkv = graph.op("Split", graph.linear(normed, f"h.{layer}.attn.c_attn"), outputs=3, axis=-1, num_outputs=3)
        q, k, v = (graph.op("Reshape", part, split) for part in qkv)  # [T, H, D/H]
        q, v = graph.op("Transpose", q, perm=[1, 0, 2]), graph.op("Transpose", v, perm=[1, 0, 2])  # [H, T, D/H]
        scores = graph.op("MatMul", q, graph.op("Transpose", k, perm=[1, 2, 0]))  # [H, T, T]
        scores = graph.op("Mul", scores, graph.constant((width // heads) ** -0.5, np.float32))
        pattern = graph.op("Softmax", graph.op("Add", scores, mask), axis=-1)
        z = graph.op("Transpose", graph.op("MatMul", pattern, v), perm=[1, 0, 2])  # [T, H, D/H]
        z = graph.op("Reshape", z, graph.constant([-1, width], np.int64))  # [T, D]
        attn_out = graph.linear(z, f"h.{layer}.attn.c_proj")
        attn_norms.append(graph.length(attn_out))
        x = graph.op("Add", x, attn_out)
        hidden = graph.linear(graph.norm(x, f"h.{layer}.ln_2", epsilon), f"h.{layer}.mlp.c_fc")
        mlp_out = graph.linear(graph.op("Gelu", hidden, approximate="tanh"), f"h.{layer}.mlp.c_proj")
        mlp_norms.append(graph.length(mlp_out))
        x = graph.op("Add", x, mlp_out)
    for name, parts in (("attn_norm", attn_norms), ("mlp_norm", mlp_norms)):
        graph.nodes.append(helper.make_node("Concat", parts, [name], axis=0))
    layers = config["n_layer"]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [layers, "T"]) for name in ("attn_norm", "mlp_norm")]
    inputs = [helper.make_tensor_value_info("ids", TensorProto.INT64, ["T"])]
    body = helper.make_graph(graph.nodes, "gpt2", inputs, outputs, list(graph.constants.values()))
    return helper.make_model(body, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


def main() -> None:
    folder, out = map(Path, sys.argv[1:3])
    config = json.loads((folder / "config.json").read_text())
    model = gpt2(config, tensors(folder / "model.safetensors"))
    out.write_bytes(model.SerializeToString())
    print(f"{out}: {out.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
