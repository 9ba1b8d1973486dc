import pytest

from iotops.errors import TenantError
from iotops.tenancy import Tenant, tenant_of_topic


@pytest.mark.parametrize(
    "bad", ["", "a", "Acme", "acme-1", "1acme", "a" * 32, "a b", "a/../b", "shared", "gold"]
)
def test_bad_ids_are_refused_by_name(bad):
    with pytest.raises(TenantError, match="is refused"):
        Tenant(bad)


def test_topics_lead_back_to_their_tenant():
    tenant = Tenant("acme_2")
    assert {tenant_of_topic(topic) for topic in tenant.topics} == {tenant}


@pytest.mark.parametrize("topic", ["acme", "other_acme", "telemetry_", "telemetry_Acme"])
def test_foreign_topics_are_refused(topic):
    with pytest.raises(TenantError):
        tenant_of_topic(topic)


def test_one_prefix_never_contains_another():
    assert not Tenant("acme2").prefix("bronze").startswith(Tenant("acme").prefix(""))
