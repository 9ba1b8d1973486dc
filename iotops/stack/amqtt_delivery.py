"""amqtt that keeps what a subscriber has not acknowledged, and hands it to nobody else.

amqtt 0.12 acknowledges a QoS 1 message before it hands it on, and forgets the last ones of a device that
disconnects; it forgets one whose subscriber takes over 5 s to acknowledge or is disconnected first; and it
overtakes the messages that waited for a session with newer ones. Here a message is acknowledged once it is on
its way, stays in each subscriber's session until that acknowledges it, is sent again on the next connection,
and keeps its place.

amqtt also finds a session by the client id alone, before it asks for the password: here a session belongs to
the user that began it. And it publishes whatever will a client brings, on any topic.
"""

from __future__ import annotations

import asyncio
from typing import Any

from amqtt.adapters import StreamWriterAdapter, WriterAdapter
from amqtt.broker import Broker, RetainedApplicationMessage
from amqtt.contexts import Action, ListenerConfig
from amqtt.errors import AMQTTError, MQTTError
from amqtt.mqtt.constants import QOS_1
from amqtt.mqtt.protocol.broker_handler import BrokerProtocolHandler
from amqtt.mqtt.puback import PubackPacket
from amqtt.session import OUTGOING, Session

WINDOW = 2000  # messages that a connection sends before the first is acknowledged
CANCEL_AGAIN_S = 0.5
KEPT = ("retained_messages", "inflight_in", "inflight_out")  # of a session, over its connections


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
        reading = self._reader_task
        while reading and reading is not asyncio.current_task() and not reading.done():
            reading.cancel()  # until it heeds it: `wait_for` loses a cancellation that comes with a packet
            await asyncio.wait([reading], timeout=CANCEL_AGAIN_S)
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


class BoundedReader:
    """Ends a connection that announces a message of more bytes than `most`."""

    def __init__(self, reader: asyncio.StreamReader, most: int) -> None:
        self._reader, self._most = reader, most

    async def read(self, n: int) -> bytes:
        """So many bytes."""
        if n > self._most:
            raise AMQTTError(f"a message of {n} bytes is refused: at most {self._most} are taken")
        return await self._reader.readexactly(n)


class KeepingBroker(Broker):
    """The broker with connections that keep, messages of `most_bytes`, and sessions that have an owner."""

    def __init__(self, config: dict[str, Any], most_bytes: int) -> None:
        super().__init__(config)
        self._most_bytes = most_bytes

    async def stream_connected(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, listener_name: str
    ) -> None:
        """Serve a connection."""
        bounded = BoundedReader(reader, self._most_bytes)
        await self.external_connected(bounded, StreamWriterAdapter(writer), listener_name)

    async def _initialize_client_session(
        self, reader: BoundedReader, writer: WriterAdapter, *remote: Any
    ) -> tuple[KeepingHandler, Session]:
        """The connection and its session, which only a user that may connect so gets to see."""
        try:
            handler, session = await KeepingHandler.init_from_connect(reader, writer, self.plugins_manager)
            if refusal := await self._refusal(session):
                handler.attach(session, reader, writer)
                await handler.mqtt_connack_authorize(False)
                raise MQTTError(f"user {session.username!r} from {remote} is refused: {refusal}")
        except Exception:
            await writer.close()
            raise
        session.client_id = f"{session.username}:{session.client_id}"  # no user's name has a colon
        known, old = self._sessions.get(session.client_id, (None, None))
        if known is not None:
            await old.handle_connection_closed()  # where it is open still, it ends with what it began with
            await self._stop_handler(old)
        if session.clean_session or known is None or known.clean_session:
            await self._delete_session(session.client_id)
        else:
            self._go_on(known, session)
        return handler, session

    def _go_on(self, known: Session, session: Session) -> None:
        """Give what is kept of a session to the one of its next connection."""
        for name in KEPT:
            setattr(session, name, getattr(known, name))
        for subscriptions in self._subscriptions.values():
            subscriptions[:] = [(session if each is known else each, qos) for each, qos in subscriptions]
        session.parent = 1  # which tells the client that it goes on

    async def _refusal(self, session: Session) -> str | None:
        """Why a user may not connect so."""
        if not await self._authenticate(session, ListenerConfig()):
            return "unknown, or its password is wrong"
        if session.will_flag and not await self._topic_filtering(session, session.will_topic, Action.PUBLISH):
            return f"it may not publish its will on {session.will_topic!r}"
        return None

    async def _publish_retained_messages_for_subscription(
        self, subscription: tuple[str, int], session: Session
    ) -> None:
        """To a subscriber: amqtt sends who connects what is retained for anybody's subscriptions."""
        if any(subscriber == session for subscriber, _ in self._subscriptions.get(subscription[0], ())):
            await super()._publish_retained_messages_for_subscription(subscription, session)

    async def _publish_session_retained_messages(self, session: Session) -> None:
        self._get_handler(session).deliver_kept()
