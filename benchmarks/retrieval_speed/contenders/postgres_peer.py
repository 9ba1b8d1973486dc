"""Postgres: its full text and pgvector, joined by reciprocal rank fusion as pgvector's example does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

# Its example asks for all words of the query; of a sentence hardly any passage has them all.
SEARCH = """
WITH near AS (
    SELECT id, rank() OVER (ORDER BY embedding <=> %(vector)s::vector) AS rank
    FROM passages ORDER BY embedding <=> %(vector)s::vector LIMIT 50
), asked AS (
    SELECT replace(plainto_tsquery('english', %(text)s)::text, '&', '|')::tsquery AS query
), worded AS (
    SELECT id, rank() OVER (ORDER BY ts_rank_cd(words, query) DESC) AS rank
    FROM passages, asked WHERE words @@ query ORDER BY ts_rank_cd(words, query) DESC LIMIT 50
)
SELECT id FROM near FULL OUTER JOIN worded USING (id)
ORDER BY coalesce(1.0 / (60 + near.rank), 0) + coalesce(1.0 / (60 + worded.rank), 0) DESC LIMIT %(limit)s
"""


def build(folder: Path, passages: list[str], vectors: np.ndarray) -> Callable[..., list[int]]:
    """A table with a GIN and an HNSW index, in the database that the variables `PG*` name."""
    import psycopg

    connection = psycopg.connect("", autocommit=True)
    connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
    connection.execute("DROP TABLE IF EXISTS passages")
    connection.execute(
        f"CREATE TABLE passages (id int PRIMARY KEY, text text, embedding vector({vectors.shape[1]}), "
        "words tsvector GENERATED ALWAYS AS (to_tsvector('english', text)) STORED)"
    )
    with connection.cursor() as cursor, cursor.copy("COPY passages (id, text, embedding) FROM STDIN") as copy:
        for row, (text, vector) in enumerate(zip(passages, vectors, strict=True)):
            copy.write_row((row, text, str(vector.tolist())))
    connection.execute("CREATE INDEX ON passages USING gin (words)")
    connection.execute("CREATE INDEX ON passages USING hnsw (embedding vector_cosine_ops)")
    connection.execute("ANALYZE passages")
    connection.execute("SET hnsw.ef_search = 100")

    def search(text: str, vector: np.ndarray, limit: int) -> list[int]:
        given = {"text": text, "vector": str(vector.tolist()), "limit": limit}
        return [row for (row,) in connection.execute(SEARCH, given)]

    return search


def available() -> bool:
    """Whether the embedded Postgres has pgvector."""
    from iotops.stack.postgres import BINARIES

    return (BINARIES.parent / "share" / "extension" / "vector.control").is_file()


def environment(host: str, port: int, user: str, password: str) -> dict[str, str]:
    """What the process's environment says of the database."""
    return {"PGHOST": host, "PGPORT": str(port), "PGUSER": user, "PGPASSWORD": password}
