"""Where a job reads and writes: a path of its node, or one under the tenant's prefix of the lake."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pyarrow.fs import FileSelector, FileSystem, FileType, LocalFileSystem

from iotops.errors import IotOpsError
from iotops.lake import lake_filesystem
from iotops.settings import LakeSettings
from iotops.tenancy import Tenant

SCHEME = "lake://"
OUTPUT_AREAS = ("reports", "exports")
"""Where in a tenant's prefix a job may write: the others are the platform's own."""


@dataclass(frozen=True)
class Place:
    """A file or a folder on a filesystem; `uri` is how it was named."""

    uri: str
    filesystem: FileSystem
    path: str

    def __str__(self) -> str:
        return self.uri

    def below(self, name: str) -> Place:
        """A place in this folder."""
        return Place(f"{self.uri}/{name}", self.filesystem, f"{self.path}/{name}")

    @property
    def type(self) -> FileType:
        """Whether it is a file, a folder or nothing yet."""
        return self.filesystem.get_file_info(self.path).type

    def names(self) -> list[str]:
        """Names of the files in this folder; none where there is no folder."""
        infos = self.filesystem.get_file_info(FileSelector(self.path, allow_not_found=True))
        return sorted(info.base_name for info in infos if info.type == FileType.File)

    def read(self) -> bytes:
        """The file's content."""
        with self.filesystem.open_input_stream(self.path) as stream:
            return bytes(stream.read())

    def write(self, content: bytes) -> None:
        """Replace the file whole: whoever reads it, or kills this, finds the old content or the new."""
        self.filesystem.create_dir(self.path.rpartition("/")[0], recursive=True)
        if not isinstance(self.filesystem, LocalFileSystem):
            with self.filesystem.open_output_stream(self.path) as stream:
                stream.write(content)
            return
        with self.filesystem.open_output_stream(f"{self.path}.new") as stream:
            stream.write(content)
        self.filesystem.move(f"{self.path}.new", self.path)

    def remove(self) -> None:
        """Delete the file, or the folder with all in it."""
        if self.type == FileType.Directory:
            self.filesystem.delete_dir(self.path)
        elif self.type == FileType.File:
            self.filesystem.delete_file(self.path)


def input_place(lake: LakeSettings, tenant: Tenant, uri: str) -> Place:
    """A file or folder that exists; raises `IotOpsError` where it does not or is another tenant's."""
    place = _place(lake, tenant, uri)
    if place.type == FileType.NotFound:
        raise IotOpsError(f"input {uri} does not exist")
    return place


def output_place(lake: LakeSettings, tenant: Tenant, uri: str) -> Place:
    """A folder to write to; raises `IotOpsError` where it is a file, or a place that is not for jobs."""
    place = _place(lake, tenant, uri)
    if uri.startswith(SCHEME) and place.path.split("/")[1] not in OUTPUT_AREAS:
        places = " or ".join(f"{SCHEME}{tenant.id}/{area}/NAME" for area in OUTPUT_AREAS)
        raise IotOpsError(f"output {uri} is refused: in the lake a job writes to {places}")
    if place.type == FileType.File:
        raise IotOpsError(f"output {uri} is a file: name a folder")
    return place


def _place(lake: LakeSettings, tenant: Tenant, uri: str) -> Place:
    uri = uri.rstrip("/")
    if uri.startswith(SCHEME):
        owner, *rest = uri.removeprefix(SCHEME).split("/")
        if owner != tenant.id or len(rest) < 2 or {"", ".", ".."} & set(rest):
            raise IotOpsError(
                f"{uri} is not a place of {tenant.id}: name {SCHEME}{tenant.id}/AREA/NAME, without '..'"
            )
        return Place(uri, lake_filesystem(lake), uri.removeprefix(SCHEME))
    if not Path(uri).is_absolute():
        raise IotOpsError(
            f"{uri} is relative, and so another place on each node: name an absolute path of the node that "
            f"runs the job, or {SCHEME}{tenant.id}/AREA/NAME"
        )
    return Place(uri, LocalFileSystem(), str(Path(uri).resolve()))
