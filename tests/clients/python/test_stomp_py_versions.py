"""stomp.py over TCP in each version, and over WebSocket in the one that it speaks there."""

import os
import signal
import socket
import unittest

import stomp

from listener import WAIT_SECONDS, Listener, leave
from server import Server

HEART_BEAT_MS = 200


def setUpModule():
    global server
    server = Server(
        variables={
            "STOMPBOX_STOMP__HEART_BEAT_SEND": f"{HEART_BEAT_MS}ms",
            "STOMPBOX_STOMP__HEART_BEAT_RECEIVE": f"{HEART_BEAT_MS}ms",
        }
    )


def tearDownModule():
    server.stop()


class Dialogues:
    """What holds in every version and on every way."""

    version = None
    names = iter(range(1_000_000))

    def make(self, to, **options):
        kinds = {"1.0": stomp.StompConnection10, "1.1": stomp.StompConnection11, "1.2": stomp.StompConnection12}
        return kinds[self.version]([to.tcp], **options)

    def connect(self, to=None, username=None, passcode=None, **options):
        connection = self.make(to or server, **options)
        listener = Listener()
        connection.set_listener("test", listener)
        connection.connect(username, passcode, wait=True)
        self.addCleanup(leave, connection)
        return connection, listener

    def subscribe(self, connection, listener, destination, ack="auto"):
        connection.subscribe(destination, id="s1", ack=ack, headers={"receipt": "live"})
        self.assertEqual(listener.receipt(), "live")

    def lose(self, connection):
        connection.transport.disconnect_socket()

    def topic(self):
        return f"/topic/stomp.py.{self.version}.{next(self.names)}"

    def acknowledge(self, connection, frame, way="ack", **options):
        acknowledge = getattr(connection, way)
        if self.version == "1.2":
            acknowledge(frame.headers["ack"], **options)
        elif self.version == "1.1":
            acknowledge(frame.headers["message-id"], frame.headers["subscription"], **options)
        else:
            acknowledge(frame.headers["message-id"], **options)

    def test_every_character_of_body_and_header_survives(self):
        connection, listener = self.connect()
        topic = self.topic()
        self.subscribe(connection, listener, topic)
        note = "colon: back\\slash 😀" if self.version == "1.0" else "colon: back\\slash line\nend 😀"
        connection.send(topic, "Grüße 😀\n\"quoted\"", content_type="text/plain", headers={"x-note": note})
        frame = listener.message()
        self.assertEqual(frame.body, "Grüße 😀\n\"quoted\"")
        self.assertEqual(frame.headers["x-note"], note)
        self.assertEqual(frame.headers["subscription"], "s1")
        self.assertEqual(frame.headers["destination"], topic)

    def test_binary_bodies(self):
        connection, listener = self.connect(auto_decode=False)
        topic = self.topic()
        self.subscribe(connection, listener, topic)
        body = bytes(range(256)) * 300
        connection.send(topic, body, content_type="application/octet-stream")
        frame = listener.message()
        self.assertEqual(frame.body, body)
        self.assertEqual(int(frame.headers["content-length"]), len(body))

    def test_every_frame_has_its_receipt(self):
        connection, listener = self.connect()
        topic = self.topic()
        self.subscribe(connection, listener, topic, ack="client")
        connection.begin("t1", headers={"receipt": "begin"})
        self.assertEqual(listener.receipt(), "begin")
        connection.send(topic, "x", headers={"transaction": "t1", "receipt": "send"})
        self.assertEqual(listener.receipt(), "send")
        connection.commit("t1", headers={"receipt": "commit"})
        self.assertEqual(listener.receipt(), "commit")
        self.acknowledge(connection, listener.message(), receipt="ack")
        self.assertEqual(listener.receipt(), "ack")
        connection.begin("t2")
        connection.abort("t2", headers={"receipt": "abort"})
        self.assertEqual(listener.receipt(), "abort")
        connection.unsubscribe(id="s1", headers={"receipt": "unsubscribe"})
        self.assertEqual(listener.receipt(), "unsubscribe")
        connection.disconnect(receipt="bye")
        self.assertEqual(listener.receipt(), "bye")
        self.assertEqual(listener.disconnects.get(timeout=WAIT_SECONDS), "disconnected")
        self.assertTrue(listener.errors.empty())

    def test_a_transaction_is_all_or_nothing_and_keeps_its_order(self):
        connection, listener = self.connect()
        topic = self.topic()
        self.subscribe(connection, listener, topic)
        connection.begin("kept")
        connection.begin("dropped")
        for n in range(5):
            connection.send(topic, f"kept {n}", transaction="kept")
            connection.send(topic, f"dropped {n}", transaction="dropped")
        connection.send(topic, "before")
        connection.abort("dropped")
        connection.commit("kept")
        connection.send(topic, "after")
        bodies = [listener.message().body for _ in range(7)]
        self.assertEqual(bodies, ["before", *(f"kept {n}" for n in range(5)), "after"])

    def test_client_ack_covers_all_before(self):
        connection, listener = self.connect()
        topic = self.topic()
        self.subscribe(connection, listener, topic, ack="client")
        for n in range(3):
            connection.send(topic, str(n))
        frames = [listener.message() for _ in range(3)]
        self.assertEqual([frame.body for frame in frames], ["0", "1", "2"])
        self.acknowledge(connection, frames[2], receipt="all")
        self.assertEqual(listener.receipt(), "all")
        # It was covered by the one before.
        self.acknowledge(connection, frames[0])
        self.assertTrue(listener.error().headers["message"])
        self.assertEqual(listener.disconnects.get(timeout=WAIT_SECONDS), "disconnected")

    def test_client_individual_ack_covers_one(self):
        connection, listener = self.connect()
        topic = self.topic()
        self.subscribe(connection, listener, topic, ack="client-individual")
        for n in range(3):
            connection.send(topic, str(n))
        frames = [listener.message() for _ in range(3)]
        for frame in reversed(frames):
            self.acknowledge(connection, frame, receipt=frame.body)
            self.assertEqual(listener.receipt(), frame.body)
        self.acknowledge(connection, frames[0])
        self.assertTrue(listener.error().headers["message"])
        self.assertEqual(listener.disconnects.get(timeout=WAIT_SECONDS), "disconnected")

    def test_ack_in_a_transaction_counts_with_its_commit(self):
        connection, listener = self.connect()
        topic = self.topic()
        self.subscribe(connection, listener, topic, ack="client-individual")
        connection.send(topic, "x")
        frame = listener.message()
        connection.begin("t")
        self.acknowledge(connection, frame, transaction="t")
        connection.abort("t")
        connection.begin("u")
        self.acknowledge(connection, frame, transaction="u")
        connection.commit("u", headers={"receipt": "done"})
        self.assertEqual(listener.receipt(), "done")
        self.assertTrue(listener.errors.empty())

    def test_what_a_lost_consumer_had_is_delivered_again(self):
        connection, listener = self.connect()
        queue = self.topic().replace("/topic/", "/queue/")
        self.subscribe(connection, listener, queue, ack="client-individual")
        connection.send(queue, "x")
        first = listener.message()
        self.assertNotIn("redelivered", first.headers)
        self.lose(connection)
        other, others = self.connect()
        self.subscribe(other, others, queue, ack="client-individual")
        again = others.message()
        self.assertEqual((again.body, again.headers["redelivered"], again.headers["delivery-count"]), ("x", "true", "2"))
        self.acknowledge(other, again, receipt="a")
        self.assertEqual(others.receipt(), "a")

    def test_an_error_carries_the_receipt_of_its_frame(self):
        connection, listener = self.connect()
        connection.commit("never-begun", headers={"receipt": "r"})
        error = listener.error()
        self.assertEqual(error.headers["receipt-id"], "r")
        self.assertIn("never-begun", error.body)
        self.assertEqual(listener.disconnects.get(timeout=WAIT_SECONDS), "disconnected")

    def test_a_passcode_counts(self):
        guarded = Server(variables={"STOMPBOX_AUTH__USERS": '[{ name = "ann", passcode = "right" }]'})
        self.addCleanup(guarded.stop)
        connection, _ = self.connect(guarded, "ann", "right")
        self.assertTrue(connection.is_connected())
        connection, listener = self.make(guarded), Listener()
        connection.set_listener("test", listener)
        with self.assertRaises(stomp.exception.ConnectFailedException):
            connection.connect("ann", "wrong", wait=True)
        self.assertEqual(listener.error().headers["message"], "Access refused")


class HeartBeats:
    """What holds from 1.1 on."""

    def test_nack(self):
        connection, listener = self.connect()
        topic = self.topic()
        self.subscribe(connection, listener, topic, ack="client-individual")
        connection.send(topic, "x")
        self.acknowledge(connection, listener.message(), way="nack", receipt="n")
        self.assertEqual(listener.receipt(), "n")

    def test_heart_beats_keep_a_quiet_connection(self):
        connection, listener = self.connect(heartbeats=(HEART_BEAT_MS, HEART_BEAT_MS))
        for _ in range(8):
            listener.heart_beats.get(timeout=WAIT_SECONDS)
        topic = self.topic()
        self.subscribe(connection, listener, topic)
        connection.send(topic, "still here")
        self.assertEqual(listener.message().body, "still here")

    def test_a_client_that_promised_and_fell_silent_is_told_and_closed(self):
        connection, listener = self.connect(heartbeats=(HEART_BEAT_MS, 0))
        connection.heartbeat_terminate_event.set()
        self.assertIn("heart-beat", listener.error().body)
        self.assertEqual(listener.disconnects.get(timeout=WAIT_SECONDS), "disconnected")

    def test_a_server_that_fell_silent_is_noticed(self):
        own = Server(variables={"STOMPBOX_STOMP__HEART_BEAT_SEND": f"{HEART_BEAT_MS}ms"})
        self.addCleanup(own.stop)
        _, listener = self.connect(own, heartbeats=(0, HEART_BEAT_MS))
        listener.heart_beats.get(timeout=WAIT_SECONDS)
        os.kill(own.process.pid, signal.SIGSTOP)
        try:
            self.assertEqual(listener.heart_beat_timeouts.get(timeout=WAIT_SECONDS), "timeout")
        finally:
            os.kill(own.process.pid, signal.SIGCONT)


class Tcp10(Dialogues, unittest.TestCase):
    version = "1.0"


class Tcp11(Dialogues, HeartBeats, unittest.TestCase):
    version = "1.1"


class Tcp12(Dialogues, HeartBeats, unittest.TestCase):
    version = "1.2"


class WebSocket:
    """stomp.py has a WebSocket for 1.2 alone: what speaks the others gets its transport."""

    def make(self, to, **options):
        host, port = to.url.removeprefix("http://").split(":")
        # Its default is a WebSocket text message, whatever the body.
        connection = stomp.WSStompConnection([(host, int(port))], ws_path="/ws", binary_mode=True, **options)
        if self.version == "1.2":
            return connection
        kind = {"1.0": stomp.StompConnection10, "1.1": stomp.StompConnection11}[self.version]
        other = kind([(host, int(port))], **options)
        for name, listener in other.transport.listeners.items():
            connection.transport.set_listener(name, listener)
        connection.remove_listener("protocol-listener")
        connection.transport.set_listener("protocol-listener", other)
        other.transport = connection.transport
        return other

    def lose(self, connection):
        connection.transport.socket.sock.shutdown(socket.SHUT_RDWR)


class WebSocket10(WebSocket, Dialogues, unittest.TestCase):
    version = "1.0"


class WebSocket11(WebSocket, Dialogues, HeartBeats, unittest.TestCase):
    version = "1.1"


class WebSocket12(WebSocket, Dialogues, HeartBeats, unittest.TestCase):
    version = "1.2"


if __name__ == "__main__":
    unittest.main()
