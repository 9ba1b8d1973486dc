"""`iotops eval`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from sqlalchemy import text

from iotops.commands.console import cell, print_json, results
from iotops.commands.tenant import Json, TenantOption
from iotops.provisioning import known_tenant
from iotops.settings import get_settings
from pipelines.evaluation.ratings import LATEST as RATED
from pipelines.evaluation.ratings import Ratings

LATEST = text("""
    SELECT DISTINCT ON (method) method, evaluated_at, questions, ndcg_at_10, recall_at_10, mrr
    FROM gold.rag_evaluations ORDER BY method, evaluated_at DESC""")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    evaluation = typer.Typer(help="How well searches find what a tenant has labelled.", no_args_is_help=True)
    evaluation.command("add")(add)
    evaluation.command("show")(show)
    app.add_typer(evaluation, name="eval")


def add(
    folders: Annotated[list[Path], typer.Argument(help="Labelled sets in BEIR's layout.")],
    tenant: TenantOption,
) -> None:
    """Put labelled questions beside a tenant's documents; the flow rag-evaluation measures and fits by them.

    A set has `queries.jsonl`, `qrels/test.tsv` and, to fit weights and models to, `qrels/train.tsv`.

    Example: iotops eval add ./tickets --tenant acme
    """
    from iotops.lake import lake_filesystem
    from pipelines.evaluation.labelled import add_set

    settings = get_settings()
    owner = known_tenant(settings, tenant)
    for folder in folders:
        name = add_set(lake_filesystem(settings.lake), owner, folder)
        print(f"{name} is a labelled set of {owner.id}: `iotops flow run rag-evaluation`")


def show(tenant: TenantOption, as_json: Json = False) -> None:
    """The latest measures of each method and set, and the thumbs that answers were given.

    Example: iotops eval show --tenant acme
    """
    from iotops.database import engine, tenant_transaction

    settings = get_settings()
    with tenant_transaction(engine(settings.database), known_tenant(settings, tenant)) as connection:
        rows = [dict(row) for row in connection.execute(LATEST).mappings()]
        rated = [dict(row) for row in connection.execute(RATED).mappings()]
    if as_json:
        print_json([*rows, *({"method": "feedback", **row} for row in rated)])
        return
    table = Table("method", "evaluated (UTC)", "questions", "nDCG@10", "recall@10", "MRR")
    for row in rows:
        figures = (f"{row[name]:.3f}" for name in ("ndcg_at_10", "recall_at_10", "mrr"))
        at = f"{row['evaluated_at']:%Y-%m-%d %H:%M}"
        table.add_row(cell(row["method"]), at, f"{row['questions']}", *figures)
    results.print(table)
    for row in rated:
        counted = Ratings(row["ratings"], row["thumbs_up"])
        results.print(f"answers: {counted} in the seven days to {row['evaluated_at']:%Y-%m-%d %H:%M} (UTC)")
