"""A column of text to Parquet with its vectors, by the platform's embedding model in Ray Data actors.

    ray job submit -- python -m pipelines.jobs.batch_embedding --tenant acme --column message \
        --input lake://acme/exports/notes.parquet --output lake://acme/exports/vectors
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import pyarrow as pa
import typer

from iotops.commands.tenant import TenantOption
from iotops.errors import IotOpsError
from iotops.provisioning import known_tenant
from iotops.settings import Settings, get_settings
from iotops.tenancy import Tenant
from pipelines.jobs.arguments import Check, Input, main, say
from pipelines.jobs.parts import Parts, part_name, part_names
from pipelines.jobs.places import SCHEME, Place, input_place, output_place
from pipelines.jobs.texts import check_columns, fingerprint, parts_of, text_files

if TYPE_CHECKING:
    import pyarrow.dataset as ds

    from pipelines.knowledge.embedding import EncoderSource

STAGED, TOTALS = "_texts", "_texts.json"


@dataclass(frozen=True)
class BatchEmbedding:
    """What is to be embedded, checked."""

    settings: Settings
    tenant: Tenant
    texts: ds.Dataset
    column: str
    id_column: str | None
    output: Place
    actors: int
    part_rows: int

    def __str__(self) -> str:
        return (
            f"column {self.column} of {len(self.texts.files):,} files of {self.tenant.id}, "
            f"{self.actors} actors, vectors to {self.output}"
        )


class EmbedParts:
    """Ray Data stage: names of staged parts in; each is embedded and written, and its count comes out."""

    def __init__(self, make_encoder: EncoderSource, output: Place) -> None:
        self._encoder = make_encoder()
        self._texts, self._vectors = Parts(output.below(STAGED)), Parts(output)

    def __call__(self, names: pa.Table) -> pa.Table:
        """The encoder sorts a part's texts by length, so that short ones do not wait for padding."""
        counts = []
        for name in names["part"].to_pylist():
            texts = self._texts.read(name)
            vectors = self._encoder.encode(texts["text"].to_pylist())
            column = pa.FixedSizeListArray.from_arrays(
                pa.array(vectors.ravel(), pa.float32()), vectors.shape[1]
            )
            self._vectors.write(name, texts.append_column("vector", column))
            counts.append(texts.num_rows)
        return pa.table({"part": names["part"], "texts": pa.array(counts, pa.int64())})


def batch_embedding(
    tenant: TenantOption,
    source: Input,
    output: Annotated[
        str,
        typer.Option("--output", help="Folder: lake://TENANT/exports/NAME or lake://TENANT/reports/NAME."),
    ],
    column: Annotated[str, typer.Option(help="Column that holds the text.")] = "text",
    id_column: Annotated[
        str | None, typer.Option(help="Column that identifies a row; else its number, from 0.")
    ] = None,
    actors: Annotated[
        int,
        typer.Option(
            min=1, max=256, help="Actors, each with the model, a CPU and a share of a GPU if one is free."
        ),
    ] = 1,
    part_rows: Annotated[
        int, typer.Option(min=1, max=100_000, help="Texts per part: the most that a kill costs an actor.")
    ] = 2000,
    check: Check = False,
) -> None:
    """Embed a column of text (Parquet, CSV or JSONL) into Parquet with `id`, `text` and `vector`.

    The output is in the lake, since actors of several nodes write it. A run after a kill embeds only the
    parts that are not there yet.

    Example: iotops job submit batch-embedding --tenant acme --column message
    --input lake://acme/exports/notes.parquet --output lake://acme/exports/vectors
    """
    settings = get_settings()
    planned = plan(
        settings, known_tenant(settings, tenant), source, output, column, id_column, actors, part_rows
    )
    say(str(planned))
    if not check:
        run(planned)


def plan(
    settings: Settings,
    tenant: Tenant,
    source: str,
    output: str,
    column: str,
    id_column: str | None,
    actors: int,
    part_rows: int,
) -> BatchEmbedding:
    """Open the texts and check the arguments; raises `IotOpsError` for the first that is wrong."""
    if not output.startswith(SCHEME):
        raise IotOpsError(f"output {output} is refused: several nodes write it, so name a {SCHEME} place")
    place = input_place(settings.lake, tenant, source)
    texts = text_files(place)
    check_columns(texts, place, column, id_column)
    written = output_place(settings.lake, tenant, output)
    return BatchEmbedding(settings, tenant, texts, column, id_column, written, actors, part_rows)


def run(batch: BatchEmbedding) -> None:
    """Stage the texts in parts, once; then embed the parts that are left."""
    from iotops.models import resolve_role

    model = resolve_role(batch.settings, "embedder")
    parts = Parts(batch.output)
    parts.claim(
        {
            "job": "batch-embedding",
            "tenant": batch.tenant.id,
            "input": fingerprint(batch.texts),
            "column": batch.column,
            "id column": batch.id_column or "",
            "part rows": str(batch.part_rows),
            "model": f"{model.name} {model.checksum}",
        }
    )
    totals = _stage(batch)
    names = part_names(totals["parts"])
    left = parts.left(names)
    if len(left) < len(names):
        say(f"{len(names) - len(left)} of {len(names)} parts are there from an earlier run")
    embedded, started = 0, time.monotonic()
    for finished, row in enumerate(_embed(batch, model, left), start=len(names) - len(left) + 1):
        embedded += row["texts"]
        rate = embedded / (time.monotonic() - started)
        say(f"part {finished:,} of {len(names):,}, {embedded:,} texts, {rate:.0f}/s")
    batch.output.below(STAGED).remove()
    say(f"{totals['texts']:,} vectors in {len(names):,} parts in {batch.output}")


def _stage(batch: BatchEmbedding) -> dict[str, int]:
    """Copy the texts to numbered parts that every actor can reach; how many there are."""
    record = batch.output.below(TOTALS)
    if TOTALS not in batch.output.names():
        staged = Parts(batch.output.below(STAGED))
        texts = count = 0
        for part in parts_of(batch.texts, batch.column, batch.id_column, batch.part_rows):
            staged.write(part_name(count), part)
            texts, count = texts + part.num_rows, count + 1
        say(f"{texts:,} texts in {count:,} parts")
        record.write(orjson.dumps({"texts": texts, "parts": count}))
    totals: dict[str, int] = orjson.loads(record.read())
    return totals


def _embed(batch: BatchEmbedding, model: Any, names: list[str]) -> Iterator[dict[str, Any]]:
    """Embed parts on the cluster; a row of part and number of texts as each is finished."""
    if not names:
        return
    from pipelines import ray_data

    ray_data.prepare(batch.settings.ray)
    import ray.data

    from indexes.encoder_source import load_encoder

    rows = ray.data.from_items([{"part": name} for name in names], override_num_blocks=len(names))
    yield from rows.map_batches(
        EmbedParts,
        fn_constructor_args=(partial(load_encoder, model), batch.output),
        batch_size=1,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(size=min(batch.actors, len(names))),
        **ray_data.model_actor(),
    ).iter_rows()


if __name__ == "__main__":
    main(batch_embedding)
