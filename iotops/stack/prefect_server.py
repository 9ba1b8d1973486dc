"""Prefect's server, on the stack's own Postgres."""

from __future__ import annotations

import httpx

from iotops.stack.files import executable
from iotops.stack.process import Launch
from iotops.stack.server import Server


class PrefectServer(Server):
    """API and pages of the orchestrator; no reports to its maker."""

    name = "prefect"
    needs = ("postgres",)

    def ports(self) -> dict[int, str]:
        """The listener."""
        return {self.settings.stack.prefect_port: "prefect_port"}

    def address(self) -> str:
        """API URL."""
        return self.settings.prefect.api_url

    def launch(self) -> Launch:
        """The database's password goes by the environment."""
        password, port = self.settings.stack.prefect_password.get_secret_value(), self.settings.database.port
        command = [executable("prefect"), "server", "start", "--host", "127.0.0.1"]
        return Launch(
            [*command, "--port", str(self.settings.stack.prefect_port)],
            {
                "PREFECT_HOME": str(self.data),
                "PREFECT_API_DATABASE_CONNECTION_URL": f"postgresql+asyncpg://prefect:{password}@127.0.0.1:{port}/prefect",
                "PREFECT_SERVER_UI_API_URL": self.settings.prefect.api_url,  # whom its pages ask
                "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
                "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "iotops.stack.prefect_leases",
                # Runs that ended 90 days ago go with their logs and artifacts; else events alone, after 7.
                "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
                "PREFECT_LOGGING_SERVER_LEVEL": "WARNING",
                "DO_NOT_TRACK": "1",
            },
        )

    def probe(self) -> None:
        """The health route."""
        httpx.get(f"{self.settings.prefect.api_url}/health", timeout=2).raise_for_status()
