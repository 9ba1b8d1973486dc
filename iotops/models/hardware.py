"""What this machine computes models with."""

from __future__ import annotations

import torch


def preferred_device() -> str:
    """A GPU where there is one."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def preferred_dtype(device: str) -> torch.dtype:
    """Bfloat16 where the hardware multiplies it; elsewhere it is emulated, and slower than float32."""
    if device == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    features = torch.cpu.get_capabilities()
    multiplies = features.get("avx512_bf16") or features.get("amx_bf16")
    return torch.bfloat16 if multiplies else torch.float32
