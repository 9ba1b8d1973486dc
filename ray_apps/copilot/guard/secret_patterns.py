"""Secrets as they look in text: keys with a form of their own, and values that are named a secret."""

from __future__ import annotations

import re
from collections.abc import Iterator

_KEYS: dict[str, str] = {
    "private_key": r"-----BEGIN [A-Z ]*PRIVATE KEY-----"
    r"(?:.*?-----END [A-Z ]*PRIVATE KEY-----|[A-Za-z0-9+/=\s]*)",
    "json_web_token": r"(?<![\w-])eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*",
    "aws_key": r"\b(?:AKIA|ASIA|AROA|AIDA)[A-Z0-9]{16}\b",
    "github_token": r"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_\w{22,})",
    "gitlab_token": r"\bglpat-[\w-]{20,}",
    "slack_token": r"\bxox[abeprs]-[A-Za-z0-9-]{10,}|https://hooks\.slack\.com/services/\S+",
    "google_key": r"\bAIza[\w-]{35}",
    "stripe_key": r"\b[rs]k_(?:live|test)_[A-Za-z0-9]{16,}",
    "model_provider_key": r"\bsk-(?:[a-z]+-)*[A-Za-z0-9_-]{20,}|\bhf_[A-Za-z0-9]{30,}",
    "package_token": r"\bnpm_[A-Za-z0-9]{36}\b|\bpypi-[\w-]{50,}",
    "azure_key": r"\bAccountKey=[A-Za-z0-9+/=]{40,}",
    "password_in_url": r"\b[a-z][a-z0-9+.-]{0,20}://[^\s/:@<>{}]*:(?!\*+@|<)[^\s/@<>{}]+@",
    "bearer_token": r"\bBearer\s+(?=[\w.~+/-]*\d)[\w.~+/-]{20,}=*",
    "basic_credentials": r"\b(?i:Authorization[\"']?\s*[:=]\s*[\"']?Basic)\s+"
    r"(?=[a-z]*[A-Z0-9+/=])[A-Za-z0-9+/]{8,}=*",
}
_ASSIGNED = re.compile(
    r"(?i)(?<![\w-])(?:[\w-]*(?:password|passwd|passphrase|pwd|secret|token|api[_ -]?key|access[_ -]?key))"
    r"[\"']?"
    r"\s*(?:[:=]|\bis\b)\s*[\"'`]?(?P<value>[^\s\"'`,;<>{}$*]{8,})"
)
_PLACEHOLDER = re.compile(
    r"(?i)^(?:x{3,}|\.{3,}|your|example|change_?me|redacted|placeholder|removed|\[)|^[a-z-]+$"
)
_SECRET = re.compile("|".join(f"(?P<{name}>{pattern})" for name, pattern in _KEYS.items()), re.S)


def secrets_in(text: str) -> Iterator[tuple[int, int, str]]:
    """(start, end, kind) of each secret; a value after `password:` and the like is one if no plain word."""
    for match in _SECRET.finditer(text):
        yield match.start(), match.end(), str(match.lastgroup)
    for match in _ASSIGNED.finditer(text):
        value = match["value"].rstrip(".)]")
        if not _PLACEHOLDER.search(value) and any(map(str.isalpha, value)) and len(value) >= 8:
            yield match.start("value"), match.start("value") + len(value), "assigned_secret"
