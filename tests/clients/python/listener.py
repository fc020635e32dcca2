"""What happens to a stomp.py connection, for tests that await it."""

import contextlib
import queue

import stomp
import websocket

WAIT_SECONDS = 10


class Listener(stomp.ConnectionListener):
    def __init__(self):
        self.messages = queue.Queue()
        self.errors = queue.Queue()
        self.receipts = queue.Queue()
        self.heart_beats = queue.Queue()
        self.heart_beat_timeouts = queue.Queue()
        self.disconnects = queue.Queue()

    def on_message(self, frame):
        self.messages.put(frame)

    def on_error(self, frame):
        self.errors.put(frame)

    def on_receipt(self, frame):
        self.receipts.put(frame.headers["receipt-id"])

    def on_heartbeat(self):
        self.heart_beats.put("heart-beat")

    def on_heartbeat_timeout(self):
        self.heart_beat_timeouts.put("timeout")

    def on_disconnected(self):
        self.disconnects.put("disconnected")

    def message(self):
        return self.messages.get(timeout=WAIT_SECONDS)

    def error(self):
        return self.errors.get(timeout=WAIT_SECONDS)

    def receipt(self):
        return self.receipts.get(timeout=WAIT_SECONDS)


def leave(connection):
    """Disconnects; after an ERROR the socket may go at any moment."""
    with contextlib.suppress(OSError, stomp.exception.StompException, websocket.WebSocketException):
        if connection.is_connected():
            connection.disconnect()
