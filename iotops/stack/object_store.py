"""SeaweedFS: the object store. Each tenant has an identity that reaches its own prefix only."""

from __future__ import annotations

import json
import secrets
import signal
import time
from collections.abc import Iterable
from pathlib import Path

from pyarrow.fs import FileSelector, S3FileSystem, SubTreeFileSystem
from pydantic import SecretStr

from iotops.errors import StackError, TenantError
from iotops.lake import get, put
from iotops.settings import Settings
from iotops.stack.files import executable, locked, write_private
from iotops.stack.process import Launch
from iotops.stack.server import Server
from iotops.tenancy import SHARED_PREFIX, WRITTEN_BY_TENANTS, Tenant

BROKER_BUCKET = "tansu"
READING, WRITING = ("Read", "List"), ("Write", "Tagging")
RIGHTS = (*READING, *WRITING)
GRPC_OFFSET = 10_000
RELOAD_TIMEOUT_S = 10.0
PROBE = "probe"


class ObjectStore(Server):
    """`weed mini`; its identities are in `s3.json`, which it reads again on SIGHUP."""

    name = "object-store"
    stop_signal = signal.SIGINT

    @property
    def identities(self) -> Path:
        """Path of the identities' file."""
        return self.settings.home / "s3.json"

    def ports(self) -> dict[int, str]:
        """The services' ports; each but the metrics has a gRPC port 10000 above."""
        stack = self.settings.stack
        names = ("s3_port", "filer_port", "master_port", "volume_port", "storage_admin_port")
        plain = {getattr(stack, name): name for name in names}
        grpc = {port + GRPC_OFFSET: name for port, name in plain.items()}
        return plain | grpc | {stack.storage_metrics_port: "storage_metrics_port"}

    def address(self) -> str:
        """S3 endpoint."""
        return self.settings.lake.endpoint

    def launch(self) -> Launch:
        """One process with master, volume, filer and S3 gateway, all on loopback; no reports to its maker."""
        stack = self.settings.stack
        if not self.identities.is_file():
            lake = self.settings.lake
            pair = {"accessKey": lake.access_key, "secretKey": lake.secret_key.get_secret_value()}
            platform = {"name": "platform", "credentials": [pair], "actions": ["Admin", *RIGHTS]}
            write_private(self.identities, json.dumps({"identities": [platform]}))
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
        """The platform's key writes an object and reads it: buckets are listed before volumes are there."""
        lake = self.settings.lake
        store = SubTreeFileSystem(lake.bucket, _s3(self.settings, lake.access_key, lake.secret_key))
        now = str(time.time_ns()).encode()
        put(store, PROBE, now)
        if get(store, PROBE) != now:
            raise StackError(f"the object store gave back another {PROBE} than the one that was written")

    def provision(self) -> None:
        """The broker's bucket."""
        lake = self.settings.lake
        store = _s3(self.settings, lake.access_key, lake.secret_key, allow_bucket_creation=True)
        store.create_dir(BROKER_BUCKET)


def grant_tenant(settings: Settings, tenant: Tenant, *, renew: bool = False) -> tuple[str, SecretStr]:
    """The storage key of a tenant, made on first call: reads its own prefix and the shared one, and writes
    its areas `WRITTEN_BY_TENANTS`.

    What only the platform writes, such as an index, is trusted by processes that serve all tenants. `renew`
    makes a new key in its place. Raises `StackError` where the object store does not take it within seconds.
    """
    bucket = settings.lake.bucket
    if not ObjectStore(settings).identities.is_file():
        raise TenantError(
            f"{settings.lake.endpoint} is not the embedded object store: make a key for "
            f"{bucket}/{tenant.id}/* there with your provider's own tools: to read, and to write "
            f"{', '.join(WRITTEN_BY_TENANTS)}"
        )
    rights = _rights(bucket, tenant)
    return _grant(settings, tenant.storage_identity, rights, f"{bucket}/{tenant.id}", renew)


def correct_rights(settings: Settings, tenants: Iterable[Tenant]) -> None:
    """Give the keys that tenants of an earlier version have the rights of today."""
    store, wanted = ObjectStore(settings), {each.storage_identity: each for each in tenants}
    with locked(store.identities):
        known = json.loads(store.identities.read_text())["identities"]
        corrected = [
            {**each, "actions": _rights(settings.lake.bucket, tenant)}
            if (tenant := wanted.get(each["name"]))
            else each
            for each in known
        ]
        if corrected == known:
            return
        write_private(store.identities, json.dumps({"identities": corrected}))
    if root := store.root():
        root.send_signal(signal.SIGHUP)


def _rights(bucket: str, tenant: Tenant) -> list[str]:
    read = [f"{action}:{bucket}/{owner}/*" for owner in (tenant.id, SHARED_PREFIX) for action in READING]
    write = [
        f"{action}:{bucket}/{tenant.prefix(area)}/*" for area in WRITTEN_BY_TENANTS for action in WRITING
    ]
    return [*read, *write]


def grant_broker(settings: Settings) -> tuple[str, SecretStr]:
    """The storage key of the Kafka broker, made on first call: its own bucket and nothing else."""
    rights = [f"{action}:{BROKER_BUCKET}" for action in RIGHTS]
    return _grant(settings, "kafka-broker", rights, BROKER_BUCKET)


def _grant(
    settings: Settings, name: str, actions: list[str], place: str, renew: bool = False
) -> tuple[str, SecretStr]:
    """An identity's key; returns when the running server lets it list the place."""
    store = ObjectStore(settings)
    with locked(store.identities):
        known = json.loads(store.identities.read_text())["identities"]
        pair = next((each["credentials"][0] for each in known if each["name"] == name), None)
        if pair is None or renew:
            known = [each for each in known if each["name"] != name]
            pair = {"accessKey": secrets.token_hex(10).upper(), "secretKey": secrets.token_urlsafe(32)}
            known.append({"name": name, "credentials": [pair], "actions": actions})
            write_private(store.identities, json.dumps({"identities": known}))
    access_key, secret_key = pair["accessKey"], SecretStr(pair["secretKey"])
    root = store.root()
    if root is None:
        raise StackError(f"the object store of {settings.home} is not running: `iotops up` starts it")
    s3 = _s3(settings, access_key, secret_key)
    deadline = time.monotonic() + RELOAD_TIMEOUT_S
    while True:
        try:
            s3.get_file_info(FileSelector(place, allow_not_found=True))
            return access_key, secret_key
        except OSError as error:
            if time.monotonic() > deadline:
                raise StackError(f"the object store did not take the key of {name}: {error}") from None
            root.send_signal(signal.SIGHUP)
            time.sleep(0.2)


def _s3(settings: Settings, access_key: str, secret_key: SecretStr, **options: bool) -> S3FileSystem:
    return S3FileSystem(
        access_key=access_key,
        secret_key=secret_key.get_secret_value(),
        endpoint_override=settings.lake.endpoint,
        region=settings.lake.region,
        connect_timeout=5,
        request_timeout=10,
        **options,
    )
