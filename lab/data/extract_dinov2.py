"""Take the DINOv2 ViT-S/14 backbone out of an ONNX file and write it under timm's names.

The exporter wrote linear layers as Add(bias, MatMul(x, W)) with anonymous W, so each W is found by its named bias.

    python extract_dinov2.py vit_s_focus.onnx dinov2_vits14.npz
"""

import re
import sys

import numpy as np
import onnx
from onnx import numpy_helper

PREFIX = "backbone.encoder.layer."
LINEAR = {
    "attention.output.dense": "attn.proj",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}


def linear_weights(graph: onnx.GraphProto, tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The transposed W of every Add(bias, MatMul(x, W)), by the bias's name."""
    producers = {output: node for node in graph.node for output in node.output}
    found = {}
    for node in graph.node:
        if node.op_type != "Add":
            continue
        for bias, other in (node.input, reversed(node.input)):
            product = producers.get(other)
            if bias in tensors and bias.endswith(".bias") and product is not None and product.op_type == "MatMul":
                found[bias] = tensors[product.input[1]].T
    return found


def convert(path: str) -> dict[str, np.ndarray]:
    """All tensors of timm's `vit_small_patch14_dinov2`, by name."""
    graph = onnx.load(path).graph
    tensors = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    weights = linear_weights(graph, tensors)
    out: dict[str, np.ndarray] = {}
    layers = sorted({int(m[1]) for name in tensors if (m := re.match(re.escape(PREFIX) + r"(\d+)\.", name))})
    for layer in layers:
        source, target = f"{PREFIX}{layer}.", f"blocks.{layer}."
        qkv = [f"{source}attention.attention.{part}.bias" for part in ("query", "key", "value")]
        out[target + "attn.qkv.weight"] = np.concatenate([weights[name] for name in qkv])
        out[target + "attn.qkv.bias"] = np.concatenate([tensors[name] for name in qkv])
        for old, new in LINEAR.items():
            out[f"{target}{new}.weight"] = weights[f"{source}{old}.bias"]
            out[f"{target}{new}.bias"] = tensors[f"{source}{old}.bias"]
        for old, new in (("norm1", "norm1"), ("norm2", "norm2")):
            for part in ("weight", "bias"):
                out[f"{target}{new}.{part}"] = tensors[f"{source}{old}.{part}"]
        for number in (1, 2):
            out[f"{target}ls{number}.gamma"] = tensors[f"{source}layer_scale{number}.lambda1"]
    rest = {name: value for name, value in tensors.items() if name.startswith("backbone.") and PREFIX not in name}
    positions = next(value for value in tensors.values() if value.shape == (1, 1369, 384))
    cls = next(value for name, value in rest.items() if name.endswith("cls_token"))
    single = [value for name, value in tensors.items() if value.shape == (1, 1, 384) and "cls_token" not in name]
    first = single[0] if single else np.zeros_like(cls)
    out["cls_token"] = cls
    out["pos_embed"] = np.concatenate([first, positions], axis=1)
    projection = next(name for name in rest if name.endswith("projection.weight"))
    out["patch_embed.proj.weight"] = rest[projection]
    out["patch_embed.proj.bias"] = rest[projection.replace("weight", "bias")]
    for part in ("weight", "bias"):
        out[f"norm.{part}"] = rest[f"backbone.layernorm.{part}"]
    return out


if __name__ == "__main__":
    np.savez(sys.argv[2], **convert(sys.argv[1]))
