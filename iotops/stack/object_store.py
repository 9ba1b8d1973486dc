"""SeaweedFS: the object store. Each tenant has an identity that reaches its own prefix only."""

from __future__ import annotations

import json
import os
import secrets
import signal
import time
from typing import Any

from pyarrow.fs import FileSelector, S3FileSystem
from pydantic import SecretStr

from iotops.errors import StackError, TenantError
from iotops.lake import storage_filesystem
from iotops.settings import Settings
from iotops.stack.files import executable, write_private
from iotops.stack.process import Launch
from iotops.stack.server import Server
from iotops.tenancy import SHARED_PREFIX, Tenant

BROKER_BUCKET = "tansu"
GRPC_OFFSET = 10_000
RELOAD_TIMEOUT_S = 10.0


class ObjectStore(Server):
    """`weed mini`; its identities are in `s3.json`, which it reads again on SIGHUP."""

    name = "object-store"
    stop_signal = signal.SIGINT

    @property
    def identities(self) -> Any:
        """Path of the identities' file."""
        return self.settings.home / "s3.json"

    def ports(self) -> dict[str, int]:
        """The four services' ports; each has a gRPC port 10000 above."""
        stack = self.settings.stack
        names = ("s3_port", "filer_port", "master_port", "volume_port", "storage_admin_port")
        plain = {name: getattr(stack, name) for name in names}
        return (
            plain
            | {name: port + GRPC_OFFSET for name, port in plain.items()}
            | {"storage_metrics_port": stack.storage_metrics_port}
        )

    def address(self) -> str:
        """S3 endpoint."""
        return self.settings.lake.endpoint

    def launch(self) -> Launch:
        """One process with master, volume, filer and S3 gateway, all on loopback; no reports to its maker."""
        stack = self.settings.stack
        if not self.identities.is_file():
            lake = self.settings.lake
            admin = _identity(
                "platform", lake.access_key, lake.secret_key, ["Admin", "Read", "Write", "List", "Tagging"]
            )
            write_private(self.identities, json.dumps({"identities": [admin]}))
        ports = {
            "master": stack.master_port,
            "volume": stack.volume_port,
            "filer": stack.filer_port,
            "s3": stack.s3_port,
            "admin": stack.storage_admin_port,
        }
        options = [f"-{name}.port={port}" for name, port in ports.items()]
        options += [f"-{name}.port.grpc={port + GRPC_OFFSET}" for name, port in ports.items()]
        return Launch(
            [
                executable("weed"), "mini", f"-dir={self.data}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
                "-master.telemetry=false", "-webdav=false", "-admin.ui=false", "-s3.port.iceberg=0",
                "-s3.port.lance=0", f"-s3.config={self.identities}", f"-bucket={self.settings.lake.bucket}",
                "-metricsIp=127.0.0.1", f"-metricsPort={stack.storage_metrics_port}", *options,
            ]
        )  # fmt: skip

    def probe(self) -> None:
        """The platform's key lists the bucket."""
        lake = self.settings.lake
        store = storage_filesystem(lake, lake.access_key, lake.secret_key.get_secret_value())
        store.get_file_info(FileSelector("", allow_not_found=False))

    def provision(self) -> None:
        """The broker's bucket."""
        lake = self.settings.lake
        store = S3FileSystem(
            access_key=lake.access_key,
            secret_key=lake.secret_key.get_secret_value(),
            endpoint_override=lake.endpoint,
            region=lake.region,
            allow_bucket_creation=True,
        )
        store.create_dir(BROKER_BUCKET)


def grant_tenant(settings: Settings, tenant: Tenant) -> tuple[str, SecretStr]:
    """The storage key of a tenant, made on first call: all of its own prefix, and the shared one to read.

    Raises `StackError` where the object store does not take it within seconds.
    """
    store, bucket = ObjectStore(settings), settings.lake.bucket
    if not store.identities.is_file():
        raise TenantError(
            f"{settings.lake.endpoint} is not the embedded object store: make a key for "
            f"{bucket}/{tenant.id}/* there with your provider's own tools"
        )
    known = json.loads(store.identities.read_text())["identities"]
    for identity in known:
        if identity["name"] == tenant.storage_identity:
            pair = identity["credentials"][0]
            return pair["accessKey"], SecretStr(pair["secretKey"])
    access_key, secret_key = secrets.token_hex(10).upper(), SecretStr(secrets.token_urlsafe(32))
    own = [f"{action}:{bucket}/{tenant.id}/*" for action in ("Read", "Write", "List", "Tagging")]
    shared = [f"{action}:{bucket}/{SHARED_PREFIX}/*" for action in ("Read", "List")]
    known.append(_identity(tenant.storage_identity, access_key, secret_key, [*own, *shared]))
    write_private(store.identities, json.dumps({"identities": known}))
    root = store.root()
    if root is None:
        raise StackError("the object store does not run: `iotops up` starts it")
    os.kill(root.pid, signal.SIGHUP)
    _wait_for_key(settings, tenant, access_key, secret_key)
    return access_key, secret_key


def _wait_for_key(settings: Settings, tenant: Tenant, access_key: str, secret_key: SecretStr) -> None:
    store = storage_filesystem(settings.lake, access_key, secret_key.get_secret_value())
    deadline = time.monotonic() + RELOAD_TIMEOUT_S
    while True:
        try:
            store.get_file_info(FileSelector(tenant.id, allow_not_found=True))
            return
        except OSError as error:
            if time.monotonic() > deadline:
                raise StackError(f"the object store did not take the key of {tenant.id}: {error}") from None
            time.sleep(0.1)


def _identity(name: str, access_key: str, secret_key: SecretStr, actions: list[str]) -> dict[str, Any]:
    credentials = [{"accessKey": access_key, "secretKey": secret_key.get_secret_value()}]
    return {"name": name, "credentials": credentials, "actions": actions}
