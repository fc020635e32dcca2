"""stomp.py over WebSocket, as Python services use it."""

import contextlib
import json
import queue
import unittest

import stomp
import websocket

from server import Server

WAIT_SECONDS = 10


def setUpModule():
    global server
    server = Server()


def tearDownModule():
    server.stop()


class Listener(stomp.ConnectionListener):
    def __init__(self):
        self.messages = queue.Queue()
        self.errors = queue.Queue()
        self.receipts = queue.Queue()

    def on_message(self, frame):
        self.messages.put(frame)

    def on_error(self, frame):
        self.errors.put(frame)

    def on_receipt(self, frame):
        self.receipts.put(frame.headers["receipt-id"])


class StompPy(unittest.TestCase):
    def connect(self, **options):
        host, port = server.url.removeprefix("http://").split(":")
        connection = stomp.WSStompConnection([(host, int(port))], ws_path="/ws", **options)
        listener = Listener()
        connection.set_listener("", listener)
        connection.connect(wait=True)
        self.addCleanup(self.leave, connection)
        return connection, listener

    def leave(self, connection):
        # After an ERROR the broker closes, perhaps at this very moment.
        with contextlib.suppress(OSError, stomp.exception.StompException, websocket.WebSocketException):
            connection.disconnect()

    def test_publish_and_subscribe(self):
        connection, listener = self.connect()
        connection.subscribe("/topic/stomp.py", id="1", headers={"receipt": "live"})
        self.assertEqual(listener.receipts.get(timeout=WAIT_SECONDS), "live")
        connection.send("/topic/stomp.py", "Grüße 😀", content_type="text/plain")
        frame = listener.messages.get(timeout=WAIT_SECONDS)
        self.assertEqual(frame.body, "Grüße 😀")
        self.assertEqual(frame.headers["subscription"], "1")

    def test_events_are_counted_in_the_metrics(self):
        connection, listener = self.connect()
        event = {"eventType": "stomp.py", "source": "python", "metadata": {"latency": 3}}
        connection.send("/app/events", json.dumps(event), headers={"receipt": "taken"})
        self.assertEqual(listener.receipts.get(timeout=WAIT_SECONDS), "taken")
        connection.subscribe("/topic/metrics", id="m")
        for _ in range(WAIT_SECONDS):
            by_type = json.loads(listener.messages.get(timeout=WAIT_SECONDS).body)["eventsByType"]
            if "stomp.py" in by_type:
                break
        self.assertEqual(by_type.get("stomp.py"), 1)

    def test_heart_beats_are_negotiated(self):
        connection, _ = self.connect(heartbeats=(4000, 4000))
        self.assertTrue(connection.is_connected())

    def test_error_is_seen(self):
        connection, listener = self.connect()
        connection.send("/nowhere", "x")
        frame = listener.errors.get(timeout=WAIT_SECONDS)
        self.assertTrue(frame.headers["message"])


if __name__ == "__main__":
    unittest.main()
