"""The one settings tree: a class per area, read once at the edge and passed in.

Precedence: constructor, `IOTOPS_*` environment variables (`IOTOPS_KAFKA__BOOTSTRAP_SERVERS`), the
`settings.yaml` that `iotops up` writes into the home folder, the one in the `configs` folder, the defaults
here. A name that is no setting is refused.
"""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    YamlConfigSettingsSource,
)
from sqlalchemy import URL
from yaml import YAMLError

from iotops.errors import SettingsError
from iotops.mistyped import dotted_names, mistyped_variables, no_setting

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
DEFAULT_SECRETS = frozenset({"changeme", "changethis", "secret", "password", "postgres", "admin", "iotops"})
MINIMUM_SECRET_LENGTH = 16


class Area(BaseModel):
    """Settings that belong together."""

    model_config = ConfigDict(extra="forbid")


class KafkaSettings(Area):
    """The broker that telemetry and events flow through."""

    bootstrap_servers: str = Field("127.0.0.1:19092", description="Comma-separated host:port of the brokers.")
    partitions: int = Field(4, description="Partitions of each topic that tenant creation makes.", ge=1)
    replication_factor: int = Field(1, description="Replicas of each partition; 3 in production.", ge=1)
    session_timeout_ms: int = Field(6000, description="A consumer silent for this long is replaced (ms).")
    max_poll_interval_ms: int = Field(
        300_000, description="A consumer that stores one batch for longer than this is replaced (ms)."
    )
    idempotent: bool = Field(
        True,
        description="Whether the broker recognises a batch that is sent again; otherwise batches are sent "
        "one at a time.",
    )
    client: Literal["auto", "kafka-python", "confluent-kafka"] = Field(
        "auto", description="Client library; `auto` is confluent-kafka where it is installed."
    )


class LakeSettings(Area):
    """The object store that holds bronze, silver, documents and indexes."""

    endpoint: str = Field("http://127.0.0.1:18333", description="S3 endpoint URL; empty for AWS itself.")
    bucket: str = Field("lake", description="Bucket under which every tenant has its prefix.")
    region: str = Field("us-east-1", description="S3 region.")
    access_key: str = Field("", description="The platform's own access key id.")
    secret_key: SecretStr = Field(SecretStr(""), description="The platform's own secret access key.")
    max_quarantine_share: float = Field(
        0.2,
        description="An arrival hour with a larger share of refused records is not loaded (0-1).",
        ge=0,
        le=1,
    )


class DatabaseSettings(Area):
    """Postgres: hot silver, gold, the Iceberg catalog and (in its own database) Prefect."""

    host: str = Field("127.0.0.1", description="Host of the Postgres server.")
    port: int = Field(15432, description="Port of the Postgres server.")
    name: str = Field("iotops", description="Database of the platform.")
    user: str = Field("iotops_app", description="Application role: owns nothing, cannot bypass row security.")
    password: SecretStr = Field(SecretStr(""), description="Password of the application role.")
    owner: str = Field("iotops_owner", description="Role that owns the tables; only migrations use it.")
    owner_password: SecretStr = Field(SecretStr(""), description="Password of the owning role.")

    def url(self, *, as_owner: bool = False, driver: str = "postgresql+psycopg") -> URL:
        """SQLAlchemy URL of the application role, or of the owner for migrations."""
        user, password = (self.owner, self.owner_password) if as_owner else (self.user, self.password)
        return URL.create(driver, user, password.get_secret_value(), self.host, self.port, self.name)


class CacheSettings(Area):
    """The Redis-protocol server: cache, limits, conversations."""

    host: str = Field("127.0.0.1", description="Host of the Redis-protocol server.")
    port: int = Field(16379, description="Port of the Redis-protocol server.")
    password: SecretStr = Field(SecretStr(""), description="Password of the default user.")
    answer_ttl_s: int = Field(1800, description="How long an answer may be served again (seconds).")


class MqttSettings(Area):
    """The MQTT broker that devices connect to."""

    host: str = Field("127.0.0.1", description="Host of the MQTT broker.")
    port: int = Field(11883, description="Port of the MQTT broker.")
    user: str = Field("iotops_gateway", description="User name of the platform's own gateway.")
    password: SecretStr = Field(SecretStr(""), description="Password of the platform's own gateway.")
    ca_file: Path | None = Field(None, description="Certificate authority of the broker; none: no TLS.")
    shared_subscription: bool = Field(
        True,
        description="Whether the broker knows shared subscriptions, so that several gateways share the load.",
    )


class AuthSettings(Area):
    """Bearer tokens."""

    jwt_secret: SecretStr = Field(SecretStr(""), description="HMAC key that signs and verifies tokens.")
    token_ttl_s: int = Field(12 * 3600, description="Lifetime of an operator's token (seconds).")
    device_token_ttl_s: int = Field(365 * 86400, description="Lifetime of a device's token (seconds).")


class PrefectSettings(Area):
    """The orchestrator's API."""

    api_url: str = Field("http://127.0.0.1:14200/api", description="URL of the Prefect API.")
    retries: int = Field(3, description="How often a failed stage of a flow is tried again.", ge=0)
    retry_delay_s: float = Field(
        5.0, description="Wait before the first retry; it doubles with each, give or take half (s).", ge=0
    )
    stage_timeout_s: float = Field(
        3600.0, description="A stage that runs for longer is stopped and tried again (s).", gt=0
    )
    tenant_runs: int = Field(2, description="Flows of one tenant that work at the same time.", ge=1)
    parallel_tenants: int = Field(
        4, description="Tenants that one run for every tenant works on at the same time.", ge=1
    )
    pool_runs: int = Field(
        4, description="Flow runs that the workers of the pool `iotops` run at the same time.", ge=1
    )
    failure_webhook: SecretStr | None = Field(
        None, description="URL that a failed run is posted to as JSON; such a URL often carries a key."
    )


class RaySettings(Area):
    """The Ray cluster that runs the pipelines and the served graph."""

    address: str = Field("127.0.0.1:16380", description="GCS address of the cluster.")
    dashboard_url: str = Field("http://127.0.0.1:8265", description="URL of the Ray dashboard and job API.")


class ServeSettings(Area):
    """The HTTP front of the copilot and the gateway."""

    host: str = Field("127.0.0.1", description="Interface that Serve's proxy binds.")
    port: int = Field(8000, description="Port that Serve's proxy binds.")

    @property
    def url(self) -> str:
        """Base URL as a client on this machine sees it."""
        return f"http://{self.host}:{self.port}"


class IngestSettings(Area):
    """Gateway limits and how the sinks roll their batches."""

    bronze_roll_records: int = Field(5000, description="A bronze object closes at this many records.", ge=1)
    bronze_roll_seconds: float = Field(5.0, description="... or when its first record is this old (s).", gt=0)
    batch_records: int = Field(5000, description="Records that a sink reads at once at most.", ge=1)
    alert_checkpoint_seconds: float = Field(
        60.0, description="How often a member of the alerting group keeps its state in the lake (s).", gt=0
    )
    hot_days: int = Field(30, description="Arrival days that the hot tables keep.", ge=1)
    max_body_bytes: int = Field(
        5 * 2**20, description="Largest request body or MQTT message, packed and unpacked (bytes).", ge=1
    )
    max_line_bytes: int = Field(64 * 2**10, description="Largest single record (bytes).", ge=1)
    tenant_records_per_s: int = Field(
        20_000, description="Records per second that a tenant may send through all gateways together.", ge=1
    )
    max_future_s: int = Field(600, description="A timestamp further ahead than this is refused (s).", ge=0)


class RetrievalSettings(Area):
    """How documents are found."""

    fresh_days: int = Field(
        90, description="Documents updated within so many days rank 1.2 times as high; 0: none do.", ge=0
    )


class CopilotSettings(Area):
    """How an answer is built."""

    answer_tokens: int = Field(160, description="Length of a drafted answer at most (tokens).", ge=16)
    least_confidence: float = Field(
        0.65,
        description="Below this relevance of the sources (0-1) the answer is 'I don't know'.",
        ge=0,
        le=1,
    )
    asks_in_flight: int = Field(
        32,
        description="Questions that a replica answers at once, half of them of one tenant at most, and other "
        "calls of each tenant; more are refused with 503.",
        ge=1,
    )
    conversation_ttl_s: int = Field(
        3600, description="A conversation in which nothing is asked for so long is forgotten (seconds).", gt=0
    )


class GuardSettings(Area):
    """What is refused, set aside or taken out around an answer."""

    lakera_api_key: SecretStr | None = Field(
        None, description="Key of Lakera Guard, asked beside the local detector; none or empty: not used."
    )
    lakera_url: str = Field("https://api.lakera.ai", description="Base URL of Lakera Guard.")
    lakera_project: str = Field("", description="Project there whose policy holds; empty: the account's.")
    lakera_timeout_s: float = Field(
        1.0, description="After this long the local verdict holds without Lakera's (s).", gt=0
    )
    personal_data_in_answers: list[
        Literal["email", "phone", "credit_card", "iban", "us_ssn", "ip_address"]
    ] = Field(
        ["credit_card", "iban", "us_ssn"],
        description="Kinds of personal data that are taken out of answers; log lines never have any.",
    )


class AuditSettings(Area):
    """The record of who called."""

    keep_days: int = Field(
        365,
        description="Days that a call stays in the audit, and a run in `gold.pipeline_runs`; the nightly "
        "`lake-maintenance` deletes older rows.",
        ge=30,
    )


class LineageSettings(Area):
    """Where OpenLineage events of the pipelines' runs go, beside `gold.pipeline_runs` and the home folder."""

    url: str = Field(
        "",
        description="Base URL of an OpenLineage server, such as Marquez; empty: none. A token for it is read "
        "from OPENLINEAGE_API_KEY.",
    )


class StackSettings(Area):
    """Loopback ports that only the embedded stack needs to know."""

    s3_port: int = Field(18333, description="SeaweedFS S3 gateway.")
    filer_port: int = Field(18888, description="SeaweedFS filer (and its gRPC port 10000 above).")
    master_port: int = Field(19333, description="SeaweedFS master (and its gRPC port 10000 above).")
    volume_port: int = Field(19340, description="SeaweedFS volume server (and its gRPC port 10000 above).")
    kafka_port: int = Field(19092, description="Tansu broker.")
    postgres_port: int = Field(15432, description="Postgres.")
    valkey_port: int = Field(16379, description="Valkey.")
    mqtt_port: int = Field(11883, description="MQTT broker.")
    mqtt_tls: bool = Field(False, description="TLS for the MQTT broker, by an authority of the stack's own.")
    prefect_port: int = Field(14200, description="Prefect server.")
    ray_port: int = Field(16380, description="Ray's control store.")
    dashboard_port: int = Field(8265, description="Ray dashboard.")
    serve_port: int = Field(8000, description="Ray Serve's HTTP proxy.")
    storage_admin_port: int = Field(19646, description="SeaweedFS admin (and its gRPC port 10000 above).")
    storage_metrics_port: int = Field(19327, description="SeaweedFS metrics.")
    ray_metrics_port: int = Field(16381, description="Ray's Prometheus metrics.")
    ray_agent_port: int = Field(16382, description="Ray's dashboard agent (HTTP).")
    ray_client_port: int = Field(16383, description="Ray's client server.")
    postgres_password: SecretStr = Field(SecretStr(""), description="Password of Postgres' superuser.")
    prefect_password: SecretStr = Field(SecretStr(""), description="Password of Prefect's database role.")
    prefect_worker: bool = Field(True, description="Whether a worker runs what is scheduled and triggered.")
    ray_cpus: int | None = Field(None, description="Logical CPUs of the Ray node; default: at least four.")


class Settings(BaseSettings):
    """Everything that can be configured."""

    model_config = SettingsConfigDict(
        env_prefix="IOTOPS_", env_nested_delimiter="__", extra="forbid", validate_default=True
    )

    environment: Literal["development", "production"] = Field(
        "development", description="Outside development a missing or default secret stops the start."
    )
    home: Path = Field(Path(".iotops"), description="Folder of the embedded stack's data, logs and secrets.")
    configs: Path = Field(CONFIGS, description="Folder with the YAML that a person edits.")
    kafka: KafkaSettings = Field(default_factory=KafkaSettings)
    lake: LakeSettings = Field(default_factory=LakeSettings)
    database: DatabaseSettings = Field(default_factory=DatabaseSettings)
    cache: CacheSettings = Field(default_factory=CacheSettings)
    mqtt: MqttSettings = Field(default_factory=MqttSettings)
    auth: AuthSettings = Field(default_factory=AuthSettings)
    prefect: PrefectSettings = Field(default_factory=PrefectSettings)
    ray: RaySettings = Field(default_factory=RaySettings)
    serve: ServeSettings = Field(default_factory=ServeSettings)
    ingest: IngestSettings = Field(default_factory=IngestSettings)
    retrieval: RetrievalSettings = Field(default_factory=RetrievalSettings)
    copilot: CopilotSettings = Field(default_factory=CopilotSettings)
    guard: GuardSettings = Field(default_factory=GuardSettings)
    audit: AuditSettings = Field(default_factory=AuditSettings)
    lineage: LineageSettings = Field(default_factory=LineageSettings)
    stack: StackSettings = Field(default_factory=StackSettings)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Environment before the stack's own file before the committed defaults."""
        yaml = (YamlConfigSettingsSource(settings_cls, file) for file in settings_files())
        return (init_settings, env_settings, *yaml)

    @model_validator(mode="after")
    def _absolute_home(self) -> Self:
        self.home = self.home.resolve()
        return self

    @model_validator(mode="after")
    def _refuse_weak_secrets(self) -> Self:
        if self.environment == "development":
            return self
        weak = [name for name, value in self.secrets().items() if _is_weak(value)]
        if weak:
            names = ", ".join(map(variable, weak))
            raise ValueError(
                f"refusing to start in {self.environment}: missing or default secret {names}. "
                f"Set each to a random value of at least {MINIMUM_SECRET_LENGTH} characters."
            )
        return self

    def secrets(self) -> dict[str, SecretStr]:
        """Every secret that a deployment must bring, by its dotted name; the embedded stack makes its own."""
        return {
            f"{area}.{field}": value
            for area in type(self).model_fields
            if area != "stack"
            if isinstance(section := getattr(self, area), BaseModel)
            for field, value in section
            if isinstance(value, SecretStr)
        }


def home_folder() -> Path:
    """The home folder, known before the settings are read because they are partly read from it."""
    return Path(os.environ.get("IOTOPS_HOME", ".iotops")).resolve()


def settings_files() -> list[Path]:
    """The files that settings are read from, the stronger first."""
    folders = (home_folder(), Path(os.environ.get("IOTOPS_CONFIGS", CONFIGS)))
    return [file for folder in folders if (file := folder / "settings.yaml").is_file()]


def variable(name: str) -> str:
    """The environment variable of a setting, such as `kafka.partitions`."""
    return f"IOTOPS_{name.replace('.', '__')}".upper()


def _is_weak(secret: SecretStr) -> bool:
    value = secret.get_secret_value()
    return len(value) < MINIMUM_SECRET_LENGTH or value.lower() in DEFAULT_SECRETS


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """The process's settings, read once; raises `SettingsError` naming what is wrong."""
    names = dotted_names(Settings)
    variables = [variable(name) for name in names]
    if mistyped := mistyped_variables(os.environ, variables):
        raise SettingsError("; ".join(no_setting(name, variables) for name in mistyped))
    files = " or ".join(map(str, settings_files()))
    try:
        return Settings()
    except ValidationError as error:
        problems = []
        for problem in error.errors(include_input=False, include_url=False):
            name = ".".join(map(str, problem["loc"])) or "settings"
            unknown = problem["type"] == "extra_forbidden"
            problems.append(f"{files}: {no_setting(name, names)}" if unknown else f"{name}: {problem['msg']}")
        raise SettingsError("; ".join(problems)) from None
    except (ValueError, YAMLError) as error:
        raise SettingsError(f"IOTOPS_* variables or {files} cannot be read: {error}") from None
