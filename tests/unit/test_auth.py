import time

import jwt
import pytest
from pydantic import SecretStr

from iotops.auth import ExpiredToken, Principal, issue_token, verify_bearer, verify_token
from iotops.errors import AuthError, SettingsError
from iotops.settings import AuthSettings
from iotops.tenancy import Tenant

AUTH = AuthSettings(jwt_secret=SecretStr("k" * 40))
ACME = Tenant("acme")


def forged(**changes):
    claims = jwt.decode(issue_token(AUTH, ACME, "alice", "operator"), options={"verify_signature": False})
    key, algorithm = changes.pop("key", "k" * 40), changes.pop("algorithm", "HS256")
    return jwt.encode({**claims, **changes}, key, algorithm=algorithm)


def test_a_token_carries_its_principal():
    principal = verify_bearer(AUTH, f"Bearer {issue_token(AUTH, ACME, 'alice', 'operator')}")
    assert (principal.tenant, principal.subject, principal.role) == (ACME, "alice", "operator")


@pytest.mark.parametrize(
    "token",
    [
        "",
        "x.y.z",
        forged(key="another key, long enough for hs256"),
        forged(key=None, algorithm="none"),
        forged(exp=1),
        forged(role="root"),
        issue_token(AUTH, ACME, "alice", "operator", ttl_s=-1),
    ],
)
def test_forged_and_expired_tokens_are_refused(token):
    with pytest.raises(AuthError):
        verify_token(AUTH, token)


def test_an_expired_token_opens_nothing_and_says_whose_it_was():
    with pytest.raises(ExpiredToken, match="has expired") as refused:
        verify_token(AUTH, issue_token(AUTH, ACME, "alice", "operator", ttl_s=-1))
    assert refused.value.principal == Principal(ACME, "alice", "operator")
    with pytest.raises(AuthError) as forgery:
        verify_token(AUTH, forged(exp=1, key="another key, long enough for hs256"))
    assert not isinstance(forgery.value, ExpiredToken)


@pytest.mark.parametrize("header", [None, "", "Bearer", "Basic abc"])
def test_a_missing_bearer_is_refused(header):
    with pytest.raises(AuthError, match="missing bearer"):
        verify_bearer(AUTH, header)


def test_a_role_that_may_not_call_is_named():
    principal = verify_token(AUTH, issue_token(AUTH, ACME, "machine-1", "device"))
    with pytest.raises(AuthError, match="'device' may not"):
        principal.require("operator")


def test_no_key_is_a_settings_error_with_the_remedy():
    with pytest.raises(SettingsError, match="IOTOPS_AUTH__JWT_SECRET"):
        issue_token(AuthSettings(), ACME, "alice", "operator")


def test_hosts_clocks_may_differ_a_little():
    now = int(time.time())
    assert verify_token(AUTH, forged(iat=now + 20)).subject == "alice"
    with pytest.raises(AuthError, match="compare the hosts' clocks"):
        verify_token(AUTH, forged(iat=now + 90))
