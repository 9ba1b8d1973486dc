"""One Ray node: the cluster of the embedded stack, with its dashboard."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from pathlib import Path

import httpx

from iotops.errors import StackError
from iotops.ray_cluster import LOCAL_NODE, QUICK_REQUESTS
from iotops.settings import Settings
from iotops.stack.files import chosen_settings, executable
from iotops.stack.process import Launch
from iotops.stack.server import Server, run

OBJECT_STORE_BYTES = 1 << 30
LEAST_CPUS = 4
RAY_WAS_SLOW = "timed out during startup"
KEPT_SESSIONS = 3


class RayNode(Server):
    """Head node on loopback; its workers know the platform's home, and so its settings."""

    name = "ray"
    ready_timeout_s = 180.0  # the first start compiles what it imports, and the cores may be busy
    stop_timeout_s = 6.0  # it keeps no data, and some of its processes ignore SIGTERM once it is killed

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        # Ray's sockets live here, and a socket's path may have 107 characters at most: so not in the home,
        # nor in TMPDIR, which may be long and need not be the same when `iotops down` runs.
        digest = hashlib.sha256(str(settings.home).encode()).hexdigest()[:10]
        self.session = Path("/tmp") / f"iotops-{digest}"

    def ports(self) -> dict[int, str]:
        """The fixed ones; Ray chooses the others."""
        stack = self.settings.stack
        names = (
            "ray_port",
            "dashboard_port",
            "serve_port",
            "ray_metrics_port",
            "ray_agent_port",
            "ray_client_port",
        )
        return {getattr(stack, name): name for name in names}

    def address(self) -> str:
        """Dashboard URL."""
        return self.settings.ray.dashboard_url

    def logs(self) -> list[Path]:
        """Ray's processes and workers write to the session's own logs."""
        return [self.log, self.session]

    def launch(self) -> Launch:
        """`ray start --block`: if one of Ray's own processes dies, all end, and `iotops up` starts afresh."""
        stack, cores = self.settings.stack, os.cpu_count() or 1
        return Launch(
            [
                executable("ray"), "start", "--head", "--block", "--disable-usage-stats", "--log-color=false",
                "--node-ip-address=127.0.0.1", f"--port={stack.ray_port}", "--dashboard-host=127.0.0.1",
                f"--dashboard-port={stack.dashboard_port}", "--min-worker-port=0", "--max-worker-port=0",
                f"--dashboard-agent-listen-port={stack.ray_agent_port}",
                f"--ray-client-server-port={stack.ray_client_port}",
                f"--metrics-export-port={stack.ray_metrics_port}", f"--temp-dir={self.session / 'ray'}",
                f"--num-cpus={stack.ray_cpus or max(LEAST_CPUS, cores)}",
                f"--object-store-memory={OBJECT_STORE_BYTES}",
            ],
            {
                **chosen_settings(),
                "IOTOPS_HOME": str(self.settings.home),
                # A job's `python` is that of the environment, also where `iotops` was called by its path.
                "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}",
                "RAY_USAGE_STATS_ENABLED": "0",
                **LOCAL_NODE,
                **QUICK_REQUESTS,
                "RAY_worker_maximum_startup_concurrency": str(LEAST_CPUS),
                # Else (15) whatever else computes on the machine goes before sinks and answers.
                "RAY_worker_niceness": "0",
                # What Arrow has freed goes back at once: a load's tasks else hold a sixth more. Not so
                # what glibc frees (MALLOC_TRIM_THRESHOLD_): models would wait for their memory.
                "MIMALLOC_PURGE_DELAY": "0",
                "VLLM_NO_USAGE_STATS": "1",
                "VLLM_CPU_KVCACHE_SPACE": "1",
                "DO_NOT_TRACK": "1",
                "HF_HUB_DISABLE_TELEMETRY": "1",
                "TOKENIZERS_PARALLELISM": "false",
                "PREFECT_API_URL": self.settings.prefect.api_url,
            },
        )  # fmt: skip

    def prepare(self) -> None:
        """A session folder that nobody else may enter (Ray opens its own), and the token of Ray's clients."""
        run([executable("ray"), "get-auth-token", "--generate"])
        self._clear()
        self.session.mkdir(mode=0o700)

    def start(self) -> None:
        """As for any server; once more where Ray gave up on its own processes, to which it allows 30 s."""
        try:
            super().start()
        except StackError as error:
            if RAY_WAS_SLOW not in str(error):
                raise
            super().start()

    def probe(self) -> None:
        """The control store and the node's agent are healthy."""
        agent = f"http://127.0.0.1:{self.settings.stack.ray_agent_port}"
        for url in (f"{self.address()}/api/gcs_healthz", f"{agent}/api/local_raylet_healthz"):
            httpx.get(url, timeout=3).raise_for_status()

    def stop(self) -> None:
        """End all workers too, and remove the session."""
        super().stop()
        self._clear()

    def _clear(self) -> None:
        """Remove the session but for its logs, which may have lines of the audit that nothing else has: the
        home's `logs/ray-<time>` keeps those of the latest sessions."""
        kept = self.log.parent
        try:
            for logs in self.session.glob("ray/session_*/logs"):
                if not logs.parent.is_symlink():  # as `session_latest` is
                    shutil.move(logs, kept / f"ray-{logs.parent.name.removeprefix('session_')}")
            for old in sorted(kept.glob("ray-*"))[:-KEPT_SESSIONS]:
                shutil.rmtree(old)
        except OSError as error:
            raise StackError(f"Ray's logs are still in {self.session}: {error}") from error
        shutil.rmtree(self.session, ignore_errors=True)
