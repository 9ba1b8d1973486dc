"""What this machine computes models with."""

from __future__ import annotations

import torch


def preferred_device() -> str:
    """A GPU where there is one."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def preferred_dtype(device: str) -> torch.dtype:
    """What an encoder computes with: bfloat16 where the hardware multiplies matrices of it, else float32."""
    if device == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    return torch.bfloat16 if torch.cpu.get_capabilities().get("amx_bf16") else torch.float32


def texts_at_once(device: str) -> int:
    """Texts of a batch, which are padded to the longest of it.

    An H100 embeds abstracts 1.5 times as fast by 128 as by 32, and no faster by 1024. Two CPU cores embed the
    sentences of a page, which differ most in length, 1.2 times as fast by 16 as by 32, and no faster by 8.
    """
    return 128 if device == "cuda" else 16


def decoding_dtype() -> torch.dtype:
    """What a language model computes with on this CPU: bfloat16 where its vectors are multiplied too.

    Writing token by token waits for memory, which halves the numbers' size; where bfloat16 is emulated that
    costs more than it saves.
    """
    features = torch.cpu.get_capabilities()
    multiplies = features.get("avx512_bf16") or features.get("amx_bf16")
    return torch.bfloat16 if multiplies else torch.float32
