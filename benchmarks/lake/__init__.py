"""Bronze to silver to gold beside the same work in Polars and in DuckDB."""
