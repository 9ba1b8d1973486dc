"""What a person is told of a server that is away or lets nobody in: which, where, and what to do about it."""

from __future__ import annotations

from iotops.errors import IotOpsError
from iotops.settings import Settings, home_folder


class Unanswered(IotOpsError):
    """A server does not answer where the settings say that it is."""


def unanswered(server: str, where: str, variables: str, why: object = "") -> Unanswered:
    """The error of a server that is away. It names the home, which is another one in another folder."""
    reason = f" ({str(why).rstrip('.')})" if why else ""
    return Unanswered(
        f"{server} at {where} does not answer{reason}: `iotops up` starts the embedded one, with its home in "
        f"{home_folder()}; {variables} names another"
    )


def outage(error: Exception, settings: Settings) -> IotOpsError | None:
    """What Postgres or the object store fails with where it is away, or refuses; None for any other error.

    Both are connected to at need, so it is found out wherever they are used.
    """
    from sqlalchemy.exc import OperationalError  # only here: it takes a while to load

    if isinstance(error, OperationalError) and error.statement is None:
        where = f"{settings.database.host}:{settings.database.port}"
        _, refused, said = " ".join(str(error.orig).split()).partition("FATAL: ")
        if refused:
            return _refusal("the database", where, said, "DATABASE")
        return unanswered("the database", where, "IOTOPS_DATABASE__HOST with IOTOPS_DATABASE__PORT")
    if isinstance(error, OSError) and (said := str(error).partition("AWS Error ")[2]):
        where = settings.lake.endpoint or f"AWS in {settings.lake.region}"
        if said.startswith("NETWORK_CONNECTION"):
            return unanswered("the object store", where, "IOTOPS_LAKE__ENDPOINT")
        return _refusal("the object store", where, said, "LAKE")
    return None


def _refusal(server: str, where: str, said: str, area: str) -> IotOpsError:
    return IotOpsError(
        f"{server} at {where} refuses: {said.rstrip('.')}. `iotops settings` shows the IOTOPS_{area}__* that "
        "are in force"
    )
