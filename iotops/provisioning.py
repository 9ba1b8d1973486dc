"""A tenant's topics, database role, storage key and Iceberg namespace: made, and its credentials renewed."""

from __future__ import annotations

import secrets
from contextlib import suppress
from dataclasses import dataclass

from psycopg import sql
from pydantic import SecretStr
from pyiceberg.exceptions import NamespaceAlreadyExistsError
from sqlalchemy import text

from iotops.database import driver, engine, tenant_transaction
from iotops.errors import TenantError
from iotops.kafka.admin import create_topics
from iotops.lake import iceberg_catalog
from iotops.settings import Settings
from iotops.stack.object_store import correct_rights, grant_tenant
from iotops.tenancy import Tenant, unknown_tenant
from iotops.tiers import load_tiers

CREATE = text("INSERT INTO platform.tenants (tenant_id, tier) VALUES (:tenant, :tier)")
# Of a tenant's own transactions: retention waits for those that read, and everybody behind it.
LIMITS = {"statement_timeout": "30min", "idle_in_transaction_session_timeout": "5min"}
KNOWN = text("SELECT 1 FROM platform.tenants WHERE tenant_id = :tenant")


@dataclass(frozen=True)
class TenantCredentials:
    """What the tenant's analysts and exporters log in with; shown once, stored nowhere else."""

    database_role: str
    database_password: SecretStr
    storage_access_key: str
    storage_secret_key: SecretStr


def create_tenant(settings: Settings, tenant: Tenant, tier: str | None = None) -> TenantCredentials:
    """Create everything that a tenant owns; a broken-off creation is completed by running it again.

    Raises `TenantError` where the tenant exists already, or there is no such tier.
    """
    if tier is not None:
        load_tiers(settings.configs).known(tier)
    if tenant in list_tenants(settings):
        raise TenantError(f"tenant {tenant.id!r} exists already; `iotops tenant list` shows all")
    create_topics(settings.kafka, tenant.topics)
    access_key, secret_key = grant_tenant(settings, tenant)
    password = SecretStr(secrets.token_urlsafe(24))
    _create_database_role(settings, tenant, password)
    catalog = iceberg_catalog(settings.lake, settings.database)
    location = f"s3://{settings.lake.bucket}/{tenant.prefix('silver')}"
    with suppress(NamespaceAlreadyExistsError):  # an earlier creation broke off after this step
        catalog.create_namespace(tenant.id, {"location": location})
    with tenant_transaction(engine(settings.database), tenant) as connection:
        connection.execute(CREATE, {"tenant": tenant.id, "tier": tier})
    return TenantCredentials(tenant.database_role, password, access_key, secret_key)


def renew_credentials(settings: Settings, tenant: Tenant) -> TenantCredentials:
    """Give a tenant a new password and a new storage key; what it had before is refused from now on.

    Raises `TenantError` where there is no such tenant.
    """
    if tenant not in list_tenants(settings):
        raise unknown_tenant(tenant)
    access_key, secret_key = grant_tenant(settings, tenant, renew=True)
    password = SecretStr(secrets.token_urlsafe(24))
    _create_database_role(settings, tenant, password)
    return TenantCredentials(tenant.database_role, password, access_key, secret_key)


def complete_tenants(settings: Settings) -> None:
    """Give tenants of an earlier version the topics that they lack, and their storage keys today's rights."""
    if tenants := list_tenants(settings):
        create_topics(settings.kafka, [topic for tenant in tenants for topic in tenant.topics])
        correct_rights(settings, tenants)


def list_tenants(settings: Settings) -> list[Tenant]:
    """Every tenant, by id."""
    with engine(settings.database, as_owner=True).connect() as connection:
        rows = connection.execute(text("SELECT tenant_id FROM platform.tenants ORDER BY tenant_id"))
        return [Tenant(row.tenant_id) for row in rows]


def known_tenant(settings: Settings, tenant_id: str) -> Tenant:
    """The tenant of that id; raises `TenantError` where there is none."""
    tenant = Tenant(tenant_id)
    with tenant_transaction(engine(settings.database), tenant) as connection:
        if connection.execute(KNOWN, {"tenant": tenant.id}).first() is None:
            raise unknown_tenant(tenant)
    return tenant


def _create_database_role(settings: Settings, tenant: Tenant, password: SecretStr) -> None:
    role = sql.Identifier(tenant.database_role)
    login = sql.SQL("ALTER ROLE {} LOGIN PASSWORD {}").format(role, sql.Literal(password.get_secret_value()))
    with engine(settings.database, as_owner=True).begin() as connection:
        exists = connection.execute(
            text("SELECT 1 FROM pg_roles WHERE rolname = :role"), {"role": tenant.database_role}
        ).first()
        with driver(connection).cursor() as cursor:  # role names are identifiers: not bindable in SQL
            if not exists:
                cursor.execute(sql.SQL("CREATE ROLE {} IN ROLE iotops_analyst").format(role))
            cursor.execute(login)
            limit = sql.SQL("ALTER ROLE {} SET {} = {}")
            for name, value in LIMITS.items():
                cursor.execute(limit.format(role, sql.Identifier(name), value))
