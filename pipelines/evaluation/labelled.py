"""Questions that a tenant has labelled itself, as files in the lake in BEIR's layout.

`<tenant>/evaluation/<set>/queries.jsonl` has a line `{"_id": "1", "text": "..."}` per question, and
`<tenant>/evaluation/<set>/qrels/test.tsv`, after a header, a line `query-id<TAB>corpus-id<TAB>score` per
judgement; the corpus id is a document's `doc_id`, its path on the shelf without `.md`. What is in
`qrels/train.tsv`, where a set has it, weights and models are fitted to; `test.tsv` only measures them then.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

import orjson
from pyarrow.fs import FileSystem

from iotops.errors import IotOpsError
from iotops.lake import get, objects, put
from iotops.tenancy import Tenant
from pipelines.evaluation.known_items import Question

QUERIES, QRELS = "queries.jsonl", "qrels/{}.tsv"
TEST, TRAIN = "test", "train"
MOST_SETS, MOST_QUESTIONS, MOST_CHARACTERS, MOST_BYTES = 20, 2000, 2000, 16 * 2**20
"""Of a tenant, a set, a question (as of one that is asked) and a file: tenants write them themselves."""


class LabelsRefused(IotOpsError):
    """A labelled set that cannot be used, with the reason."""


def set_names(filesystem: FileSystem, tenant: Tenant) -> tuple[list[str], list[str]]:
    """The tenant's labelled sets, the folders in its area `evaluation`: the first, which are used, and those
    that are too many."""
    prefix = tenant.prefix("evaluation")
    paths = (path.removeprefix(f"{prefix}/") for path in objects(filesystem, prefix))
    names = sorted({path.partition("/")[0] for path in paths if "/" in path})
    return names[:MOST_SETS], names[MOST_SETS:]


def read_set(
    filesystem: FileSystem, tenant: Tenant, name: str, documents: Mapping[str, str], split: str = TEST
) -> list[Question]:
    """The questions of a set's split; `documents` are the URIs of those that can be found, by `doc_id`.

    A judgement of a document that is on no shelf is stale and left out, and a question with no relevant
    document left. Raises `LabelsRefused` where a file is missing or malformed, or nothing is left.
    """
    folder, qrels = _folder(tenant, name), QRELS.format(split)
    texts = _queries(f"{folder}/{QUERIES}", _read(filesystem, f"{folder}/{QUERIES}"))
    grades = _qrels(f"{folder}/{qrels}", _read(filesystem, f"{folder}/{qrels}"), documents)
    found = [
        Question(text, grades[query])
        for query, text in texts.items()
        if max(grades[query].values(), default=0) > 0
    ]
    if not 0 < len(found) <= MOST_QUESTIONS:
        raise LabelsRefused(
            f"{folder}: {len(found)} questions have a relevant document on the shelf; 1 to {MOST_QUESTIONS} "
            f"can be evaluated. {qrels} names documents by doc_id, e.g. manuals/pump for manuals/pump.md"
        )
    return found


def fitting_set(
    filesystem: FileSystem, tenant: Tenant, name: str, documents: Mapping[str, str]
) -> list[Question]:
    """The questions of a set that weights and models may be fitted to: its split `train` if it has one."""
    split = TRAIN if f"{_folder(tenant, name)}/{QRELS.format(TRAIN)}" in _files(filesystem, tenant) else TEST
    return read_set(filesystem, tenant, name, documents, split)


def fitting_sets(
    filesystem: FileSystem, tenant: Tenant, documents: Mapping[str, str]
) -> tuple[list[Question], list[str]]:
    """The questions of all sets that can be fitted to, and the names of the sets that are refused."""
    found: list[Question] = []
    names, refused = set_names(filesystem, tenant)
    for name in names:
        try:
            found += fitting_set(filesystem, tenant, name, documents)
        except LabelsRefused:  # the evaluation says why
            refused.append(name)
    return found, refused


def add_set(filesystem: FileSystem, tenant: Tenant, folder: Path) -> str:
    """Put a local folder in BEIR's layout among the tenant's labelled sets; its name.

    What an earlier set of that name had besides is deleted, so that nothing is fitted to what was taken out.
    """
    files = [folder / QUERIES, *sorted(folder.glob(QRELS.format("*")))]
    if not files[0].is_file() or len(files) == 1:
        raise LabelsRefused(f"{folder} is not a labelled set: it has no {QUERIES} or no {QRELS.format('*')}")
    name = folder.resolve().name
    stored = {f"{_folder(tenant, name)}/{file.relative_to(folder).as_posix()}": file for file in files}
    for path, file in stored.items():
        put(filesystem, path, file.read_bytes())
    for path in set(objects(filesystem, _folder(tenant, name))) - stored.keys():
        filesystem.delete_file(path)
    return name


def _folder(tenant: Tenant, name: str) -> str:
    return f"{tenant.prefix('evaluation')}/{name}"


def _files(filesystem: FileSystem, tenant: Tenant) -> set[str]:
    return set(objects(filesystem, tenant.prefix("evaluation")))


def _read(filesystem: FileSystem, path: str) -> str:
    if (size := filesystem.get_file_info(path).size or 0) > MOST_BYTES:
        raise LabelsRefused(f"{path} has {size:,} bytes, {MOST_BYTES:,} are the most: make two sets of it")
    try:
        return get(filesystem, path).decode("utf-8-sig")
    except FileNotFoundError:
        raise LabelsRefused(
            f"{path} is missing: a labelled set has {QUERIES} and {QRELS.format(TEST)}"
        ) from None
    except UnicodeDecodeError as error:
        raise LabelsRefused(f"{path} is not UTF-8 at byte {error.start}: save it as UTF-8") from None


def _queries(path: str, content: str) -> dict[str, str]:
    texts = {}
    for number, line in _lines(content):
        try:
            row = orjson.loads(line)
            query, question = str(row["_id"]), str(row["text"])
        except (ValueError, KeyError, TypeError):
            raise LabelsRefused(
                f'{path} line {number}: {line[:80]!r} is not {{"_id": "1", "text": "..."}}'
            ) from None
        if len(question) > MOST_CHARACTERS:
            raise LabelsRefused(
                f"{path} line {number}: the question has {len(question):,} characters, "
                f"{MOST_CHARACTERS:,} are the most: shorten it"
            )
        texts[query] = question
    return texts


def _qrels(path: str, content: str, documents: Mapping[str, str]) -> dict[str, dict[str, int]]:
    """Grades by query and URI, of the documents that there are; the first line is a header."""
    grades = defaultdict[str, dict[str, int]](dict)
    for number, line in _lines(content):
        if number == 1:
            continue
        try:
            query, document, grade = line.split("\t")
            if document in documents:
                grades[query][documents[document]] = int(grade)
        except ValueError:
            raise LabelsRefused(
                f"{path} line {number}: {line[:80]!r} is not query-id, corpus-id and a whole score, "
                "separated by tabs"
            ) from None
    return grades


def _lines(content: str) -> Iterator[tuple[int, str]]:
    """The lines that are not blank, with their numbers; a text may hold any other line separator."""
    lines = enumerate(content.split("\n"), start=1)
    return ((number, line.rstrip("\r")) for number, line in lines if line.strip())
