"""The lake: the object store as a filesystem, and the Iceberg catalog over it."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from pyarrow.fs import FileSelector, FileSystem, FileType, S3FileSystem, SubTreeFileSystem

from iotops.settings import DatabaseSettings, LakeSettings

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog

CATALOG = "lake"
CATALOG_SCHEMA = "iceberg"


def lake_filesystem(settings: LakeSettings) -> FileSystem:
    """The lake's bucket as a filesystem: paths begin with the tenant, e.g. `acme/bronze/raw/...`."""
    return storage_filesystem(settings, settings.access_key, settings.secret_key.get_secret_value())


def storage_filesystem(settings: LakeSettings, access_key: str, secret_key: str) -> FileSystem:
    """The lake's bucket as one storage identity sees it."""
    return _s3(settings.endpoint, settings.region, settings.bucket, access_key, secret_key)


@lru_cache(maxsize=32)
def _s3(endpoint: str, region: str, bucket: str, access_key: str, secret_key: str) -> FileSystem:
    store = S3FileSystem(
        access_key=access_key,
        secret_key=secret_key,
        endpoint_override=endpoint or None,
        region=region,
        connect_timeout=5,
        request_timeout=60,
        allow_delayed_open=True,  # a small object takes one request, not three
    )
    return SubTreeFileSystem(bucket, store)


def put(filesystem: FileSystem, path: str, content: bytes) -> None:
    """Write one object whole: a reader sees the old content or the new, never a part."""
    with filesystem.open_output_stream(path) as stream:
        stream.write(content)


def get(filesystem: FileSystem, path: str) -> bytes:
    """Read one object whole; raises `FileNotFoundError`."""
    with filesystem.open_input_stream(path) as stream:
        return bytes(stream.read())


def catalog_properties(lake: LakeSettings, database: DatabaseSettings) -> dict[str, Any]:
    """Properties of the Iceberg SQL catalog; picklable, for workers that load it themselves."""
    url = database.url().update_query_dict({"options": f"-csearch_path={CATALOG_SCHEMA}"})
    return {
        "type": "sql",
        "uri": url.render_as_string(hide_password=False),
        "warehouse": f"s3://{lake.bucket}",
        "init_catalog_tables": "false",
        **storage_properties(lake),
    }


def storage_properties(lake: LakeSettings) -> dict[str, Any]:
    """Properties with which pyiceberg reads and writes the object store alone, without a catalog."""
    return {
        "py-io-impl": "pyiceberg.io.pyarrow.PyArrowFileIO",
        "s3.endpoint": lake.endpoint,
        "s3.region": lake.region,
        "s3.access-key-id": lake.access_key,
        "s3.secret-access-key": lake.secret_key.get_secret_value(),
    }


def iceberg_catalog(lake: LakeSettings, database: DatabaseSettings) -> Catalog:
    """The Iceberg catalog of silver: one namespace per tenant."""
    from pyiceberg.catalog import load_catalog

    return load_catalog(CATALOG, **catalog_properties(lake, database))


def objects(filesystem: FileSystem, prefix: str) -> list[str]:
    """Paths of all objects under a prefix, sorted; none where the prefix does not exist."""
    selector = FileSelector(prefix, recursive=True, allow_not_found=True)
    return sorted(info.path for info in filesystem.get_file_info(selector) if info.type == FileType.File)
