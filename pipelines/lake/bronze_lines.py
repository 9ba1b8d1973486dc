"""Bronze lines as records of their contract; those that break it with the reason.

The contract is that of `iotops.records`, whose codes begin each reason. It is checked again because not
everything in Kafka came through a gateway.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, TypeVar

import msgspec

from iotops.records import (
    NUL,
    UNREADABLE,
    Contract,
    Event,
    Reading,
    epoch_ms,
    read_record,
    record_error,
)
from iotops.tenancy import Tenant

LATEST_MS = 253_402_300_799_999  # the last millisecond of the year 9999
NO_ENVELOPE = "invalid_envelope: the line is not a record as the bronze sink writes it"
NUL_TEXT = NUL.decode()
CHUNK = 256
"""Texts that are decoded together: a bad one makes the others of its chunk be decoded one by one."""

Record = TypeVar("Record", bound=Reading | Event)


class Envelope(msgspec.Struct, gc=False):
    """A bronze line: a record's Kafka position, its arrival (epoch ms) and its text."""

    topic: str
    partition: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
    offset: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
    timestamp: Annotated[int, msgspec.Meta(ge=0, le=LATEST_MS)]
    value: str


ENVELOPES = msgspec.json.Decoder(Envelope)


def read_lines(content: bytes) -> list[tuple[int, Envelope | str]]:
    """The lines of an object by their number from 1; one that is no envelope as its text."""
    try:
        envelopes = ENVELOPES.decode_lines(content)
    except UNREADABLE:
        envelopes = []
    if len(envelopes) == content.count(b"\n") and content.endswith(b"\n"):
        return list(enumerate(envelopes, start=1))
    return [
        (number, _envelope(line)) for number, line in enumerate(content.split(b"\n"), start=1) if line.strip()
    ]


def _envelope(line: bytes) -> Envelope | str:
    try:
        return ENVELOPES.decode(line)
    except UNREADABLE:
        return line.decode(errors="replace")


def read_records(values: Sequence[str], decoder: msgspec.json.Decoder[Record]) -> Sequence[Record | None]:
    """The records of the texts; None for a text that is none (see `refusal`)."""
    records: list[Record | None] = []
    for start in range(0, len(values), CHUNK):
        records += _chunk(values[start : start + CHUNK], decoder)
    return records


def _chunk(values: Sequence[str], decoder: msgspec.json.Decoder[Record]) -> Sequence[Record | None]:
    text = "\n".join(values)
    if NUL_TEXT not in text and all(value.strip() for value in values):
        try:
            records = decoder.decode_lines(text)
        except UNREADABLE:
            records = []
        # No text is blank, so as many records as texts means one of each.
        if len(records) == len(values):
            return records
    return [_record(value, decoder) for value in values]


def _record(value: str, decoder: msgspec.json.Decoder[Record]) -> Record | None:
    if NUL_TEXT in value:
        return None
    try:
        return decoder.decode(value)
    except UNREADABLE:
        return None


def refusal(value: str, contract: Contract, tenant: Tenant, latest_ms: int) -> str:
    """Why a text is no record of its contract: `code: reason`. Raises nothing."""
    try:
        _, record = read_record(value.encode(), contract, tenant.id)
        epoch_ms(record.ts, latest_ms)
    except Exception as error:  # whatever it is, the other lines of the object are not lost for it
        why = record_error(error)
        return f"{why.code}: {why}"
    return "invalid_json: not a document as the contract has it"  # the two JSON readers do not agree on it
