"""stomp.py over WebSocket, as Python services use it."""

import json
import unittest

import stomp

from listener import WAIT_SECONDS, Listener, leave
from server import Server


def setUpModule():
    global server
    server = Server()


def tearDownModule():
    server.stop()


class StompPy(unittest.TestCase):
    def connect(self, **options):
        host, port = server.url.removeprefix("http://").split(":")
        connection = stomp.WSStompConnection([(host, int(port))], ws_path="/ws", **options)
        listener = Listener()
        connection.set_listener("", listener)
        connection.connect(wait=True)
        self.addCleanup(leave, connection)
        return connection, listener

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
