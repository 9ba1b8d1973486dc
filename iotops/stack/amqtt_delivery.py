"""amqtt that keeps what a subscriber has not acknowledged.

amqtt 0.12 acknowledges a QoS 1 message before it hands it on, and forgets the last ones of a device that
disconnects; it forgets one whose subscriber takes over 5 s to acknowledge or is disconnected first; and it
overtakes the messages that waited for a session with newer ones. Here a message is acknowledged once it is on
its way, stays in each subscriber's session until that acknowledges it, is sent again on the next connection,
and keeps its place.
"""

from __future__ import annotations

import asyncio
from typing import Any

import amqtt.broker
from amqtt.broker import Broker, RetainedApplicationMessage
from amqtt.mqtt.constants import QOS_1
from amqtt.mqtt.protocol.broker_handler import BrokerProtocolHandler
from amqtt.mqtt.puback import PubackPacket
from amqtt.session import OUTGOING, Session

WINDOW = 2000  # messages that a connection sends before the first is acknowledged


class KeepingHandler(BrokerProtocolHandler):
    """One connection, at QoS 1: what it could not deliver goes back to its session."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._window = asyncio.Semaphore(WINDOW)
        self._outgoing: asyncio.Queue[RetainedApplicationMessage] = asyncio.Queue()
        self._sender: asyncio.Task[None] | None = None
        self._deliveries: set[asyncio.Task[Any]] = set()

    def attach(self, session: Session, *streams: Any) -> None:
        """Serve a session's new connection."""
        super().attach(session, *streams)
        self._kept = session.retained_messages

    def deliver_kept(self) -> None:
        """Send what waited for this session; from now on new messages follow it."""
        _move(self._kept, self._outgoing)
        self._sender = asyncio.get_running_loop().create_task(self._send_in_turn())

    async def mqtt_publish(
        self, topic: str, data: bytes, qos: int | None, retain: bool, ack_timeout: int | None = None
    ) -> Any:
        """Queue a message; before and after the connection's life it waits in the session."""
        if qos != QOS_1:
            return await super().mqtt_publish(topic, data, qos, retain, ack_timeout)
        message = RetainedApplicationMessage(None, topic, data, qos)
        return (self._outgoing if self._sender else self._kept).put_nowait(message)

    async def stop(self) -> None:
        """End the connection; its unacknowledged messages stay in the session."""
        if self._sender:
            self._sender.cancel()
            self._sender = None
            _move(self._outgoing, self._kept)
        await super().stop()

    async def _send_in_turn(self) -> None:
        while True:
            await self._window.acquire()
            message = await self._outgoing.get()
            sending = super().mqtt_publish(message.topic, message.data, message.qos, False)
            self._deliver(sending).add_done_callback(lambda _: self._window.release())

    async def _retry_deliveries(self) -> None:
        for message in list(self.session.inflight_out.values()):
            self._deliver(self._handle_qos1_message_flow(message))

    async def _handle_qos1_message_flow(self, message: Any) -> None:
        if message.direction != OUTGOING:
            await self._receive(message)
            return
        inflight, again = self.session.inflight_out, message.packet_id in self.session.inflight_out
        inflight[message.packet_id] = message
        acknowledged = self._puback_waiters[message.packet_id] = asyncio.get_running_loop().create_future()
        try:
            await self._send_packet(message.build_publish_packet(dup=again))
            message.puback_packet = await acknowledged  # cancelled where the connection ends
        finally:
            self._puback_waiters.pop(message.packet_id, None)
        inflight.pop(message.packet_id, None)

    async def _receive(self, message: Any) -> None:
        """Hand a message on, then acknowledge it."""
        broker = self.plugins_manager.context._broker_instance
        received = asyncio.get_running_loop().create_future()
        received.set_result(message)
        if await broker._handle_message_delivery(self.session, self, received):
            await self._send_packet(PubackPacket.build(message.packet_id))
        else:
            await self.handle_connection_closed()

    def _deliver(self, delivery: Any) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(delivery)
        self._deliveries.add(task)
        task.add_done_callback(self._deliveries.discard)
        return task


def _move(messages: asyncio.Queue[Any], to: asyncio.Queue[Any]) -> None:
    while not messages.empty():
        to.put_nowait(messages.get_nowait())


class KeepingBroker(Broker):
    """The broker with connections that keep."""

    async def _publish_session_retained_messages(self, session: Session) -> None:
        self._get_handler(session).deliver_kept()


amqtt.broker.BrokerProtocolHandler = KeepingHandler  # the broker has no parameter for it
