"""Guardrails: what is refused, set aside or taken out around an answer."""
