"""A language model's weights in eight bits, as vLLM's `compressed-tensors` reads them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

WEIGHTS = "model.safetensors"
LARGEST = 127
SCHEME = {
    "quant_method": "compressed-tensors",
    "format": "int-quantized",
    "quantization_status": "compressed",
    "ignore": ["lm_head"],
    "config_groups": {
        "linear": {
            "targets": ["Linear"],
            "weights": {
                "num_bits": 8, "type": "int", "symmetric": True, "strategy": "channel", "dynamic": False,
            },
            "input_activations": {
                "num_bits": 8, "type": "int", "symmetric": True, "strategy": "token", "dynamic": True,
            },
        }
    },
}  # fmt: skip
"""Weights by output channel, rounded to the nearest; activations by token as they come."""


def write_int8(model: Path, folder: Path) -> None:
    """A copy of a model in the hub's layout, its linear layers but the last in eight bits."""
    shutil.copytree(model, folder, ignore=shutil.ignore_patterns(WEIGHTS))
    config = json.loads((model / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "quantization_config": SCHEME}))
    tensors: dict[str, torch.Tensor] = {}
    for name, tensor in load_file(model / WEIGHTS).items():
        if not name.endswith("_proj.weight"):
            tensors[name] = tensor
            continue
        exact = tensor.float()
        scale = exact.abs().amax(dim=1, keepdim=True).clamp(min=1e-8) / LARGEST
        tensors[name] = (exact / scale).round().to(torch.int8)
        tensors[f"{name}_scale"] = scale
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
