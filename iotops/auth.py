"""Bearer tokens: who is calling, for which tenant, in which role."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Literal, get_args

import jwt

from iotops.errors import AuthError, SettingsError
from iotops.settings import AuthSettings, home_folder
from iotops.tenancy import Tenant

Role = Literal["operator", "analyst", "admin", "device"]
ROLES: tuple[Role, ...] = get_args(Role)
ALGORITHM = "HS256"
CLOCKS_DIFFER_S = 30
"""A token may be dated so far ahead: it was issued on another host."""


@dataclass(frozen=True)
class Principal:
    """The verified caller: its tenant, its subject (user or device id) and its role."""

    tenant: Tenant
    subject: str
    role: Role

    def require(self, *roles: Role) -> None:
        """Raise `AuthError` unless the caller has one of the roles."""
        if self.role not in roles:
            raise AuthError(f"role {self.role!r} may not make this call; it needs one of: {', '.join(roles)}")


class ExpiredToken(AuthError):
    """A token of our own whose time is over: it opens nothing, and says who it was given to."""

    def __init__(self, principal: Principal) -> None:
        super().__init__("the token has expired: issue a new one with `iotops token issue`")
        self.principal = principal


def issue_token(
    settings: AuthSettings, tenant: Tenant, subject: str, role: Role, ttl_s: int | None = None
) -> str:
    """Sign a token for a subject of a tenant; lives `ttl_s` seconds, or the role's configured lifetime."""
    default_ttl = settings.device_token_ttl_s if role == "device" else settings.token_ttl_s
    now = int(time.time())
    claims = {
        "tenant_id": tenant.id,
        "sub": subject,
        "role": role,
        "iat": now,
        "exp": now + (default_ttl if ttl_s is None else ttl_s),
    }
    return jwt.encode(claims, _signing_key(settings), algorithm=ALGORITHM)


def verify_token(settings: AuthSettings, token: str) -> Principal:
    """The principal that a token stands for; raises `AuthError` saying why it is refused."""
    try:
        try:
            return _principal(_decode(settings, token))
        except jwt.ExpiredSignatureError:
            raise ExpiredToken(_principal(_decode(settings, token, verify_exp=False))) from None
    except jwt.InvalidTokenError as error:
        raise AuthError(
            f"the token was not issued by this installation, or is damaged ({error}): issue one with "
            "`iotops token issue`"
        ) from None


def verify_bearer(settings: AuthSettings, header: str | None) -> Principal:
    """The principal behind an `Authorization` header."""
    scheme, _, token = (header or "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise AuthError("missing bearer token: send `Authorization: Bearer <token>`")
    return verify_token(settings, token.strip())


def _decode(settings: AuthSettings, token: str, *, verify_exp: bool = True) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(
        token,
        _signing_key(settings),
        algorithms=[ALGORITHM],
        options={
            "require": ["exp", "iat", "sub", "tenant_id", "role"],
            "verify_exp": verify_exp,
            "verify_iat": False,
        },
    )
    ahead_s = claims["iat"] - time.time()
    if ahead_s > CLOCKS_DIFFER_S:
        raise jwt.ImmatureSignatureError(f"it is dated {ahead_s:.0f} s ahead: compare the hosts' clocks")
    return claims


def _principal(claims: dict[str, Any]) -> Principal:
    if claims["role"] not in ROLES:
        raise AuthError(f"the token's role {claims['role']!r} is unknown; roles are: {', '.join(ROLES)}")
    return Principal(Tenant(claims["tenant_id"]), claims["sub"], claims["role"])


def _signing_key(settings: AuthSettings) -> str:
    key = settings.jwt_secret.get_secret_value()
    if not key:
        raise SettingsError(
            "IOTOPS_AUTH__JWT_SECRET is not set: `iotops up` generates one for the embedded stack, in "
            f"{home_folder()}"
        )
    return key
