"""websocket-client, the WebSocket of Python, on the raw endpoints."""

import base64
import json
import unittest

import websocket

from server import Server

WAIT_SECONDS = 10


def setUpModule():
    global server
    server = Server()


def tearDownModule():
    server.stop()


class Peer:
    """One WebSocket that writes and reads STOMP frames by hand."""

    def __init__(self, path="/ws", subprotocols=("v12.stomp",), version="1.2"):
        self.socket = websocket.create_connection(
            server.ws(path), subprotocols=list(subprotocols), timeout=WAIT_SECONDS
        )
        self.waiting = []
        self.send("CONNECT", {"accept-version": version, "host": "localhost", "heart-beat": "0,0"})
        self.connected = self.receive()

    def send(self, command, headers=None, body=""):
        lines = "".join(f"{name}:{value}\n" for name, value in (headers or {}).items())
        self.socket.send(f"{command}\n{lines}\n{body}\0")

    def receive(self):
        while not self.waiting:
            data = self.socket.recv()
            if data == "":
                raise EOFError("the connection was closed")
            data = data if isinstance(data, str) else data.decode()
            self.waiting += [part.lstrip("\n") for part in data.split("\0") if part.strip("\n")]
        head, _, body = self.waiting.pop(0).partition("\n\n")
        command, *lines = head.split("\n")
        headers = {}
        for line in lines:
            name, _, value = line.partition(":")
            headers.setdefault(name, value)
        return command, headers, body

    def close(self):
        self.socket.close()


class RawWebSocket(unittest.TestCase):
    def peer(self, **options):
        peer = Peer(**options)
        self.addCleanup(peer.close)
        return peer

    def test_whole_dialogue_at_both_paths(self):
        for path in ("/ws", "/ws/websocket"):
            with self.subTest(path=path):
                peer = self.peer(path=path)
                self.assertEqual(peer.connected[0], "CONNECTED")
                self.assertEqual(peer.connected[1]["version"], "1.2")
                self.assertIn("session", peer.connected[1])

                peer.send("SUBSCRIBE", {"id": "0", "destination": "/topic/python", "receipt": "r1"})
                self.assertEqual(peer.receive()[:2], ("RECEIPT", {"receipt-id": "r1"}))

                peer.send("SEND", {"destination": "/topic/python", "content-type": "text/plain"}, "Grüße 😀")
                command, headers, body = peer.receive()
                self.assertEqual((command, body), ("MESSAGE", "Grüße 😀"))
                self.assertEqual(headers["subscription"], "0")
                self.assertEqual(headers["destination"], "/topic/python")
                self.assertEqual(headers["content-type"], "text/plain")
                self.assertEqual(int(headers["content-length"]), len("Grüße 😀".encode()))
                self.assertTrue(headers["message-id"])

                peer.send("UNSUBSCRIBE", {"id": "0", "receipt": "r2"})
                self.assertEqual(peer.receive()[:2], ("RECEIPT", {"receipt-id": "r2"}))

                peer.send("DISCONNECT", {"receipt": "bye"})
                self.assertEqual(peer.receive()[:2], ("RECEIPT", {"receipt-id": "bye"}))

    def test_metrics_are_json(self):
        peer = self.peer()
        peer.send("SUBSCRIBE", {"id": "m", "destination": "/topic/metrics"})
        command, headers, body = peer.receive()
        self.assertEqual(command, "MESSAGE")
        self.assertTrue(headers["content-type"].startswith("application/json"))
        self.assertIn("totalEvents", json.loads(body)["summary"])

    def test_subprotocols_are_answered(self):
        for protocol, version in (("v10.stomp", "1.0"), ("v11.stomp", "1.1"), ("v12.stomp", "1.2")):
            with self.subTest(protocol=protocol):
                peer = self.peer(subprotocols=(protocol,), version=version)
                self.assertEqual(peer.socket.subprotocol, protocol)
                self.assertEqual(peer.connected[1]["version"], version)

    def test_several_frames_in_one_message(self):
        peer = self.peer()
        peer.socket.send(
            "SUBSCRIBE\nid:0\ndestination:/topic/packed\n\n\0\n\n"
            "SEND\ndestination:/topic/packed\n\nfirst\0"
            "SEND\ndestination:/topic/packed\n\nsecond\0\n"
        )
        self.assertEqual([peer.receive()[2], peer.receive()[2]], ["first", "second"])

    def test_one_frame_in_several_messages(self):
        peer = self.peer()
        peer.send("SUBSCRIBE", {"id": "0", "destination": "/topic/parts"})
        for part in ("SEND\ndest", "ination:/topic/parts\n", "\nhel", "lo", "\0"):
            peer.socket.send(part)
        self.assertEqual(peer.receive()[2], "hello")

    def test_carriage_returns_before_line_feeds(self):
        peer = self.peer()
        peer.socket.send("SUBSCRIBE\r\nid:0\r\ndestination:/topic/crlf\r\nreceipt:r\r\n\r\n\0\r\n")
        self.assertEqual(peer.receive()[:2], ("RECEIPT", {"receipt-id": "r"}))

    def test_binary_messages_carry_frames(self):
        peer = self.peer()
        peer.socket.send_binary(b"SUBSCRIBE\nid:0\ndestination:/topic/binary\nreceipt:r\n\n\0")
        self.assertEqual(peer.receive()[0], "RECEIPT")

    def test_ping_is_answered(self):
        peer = self.peer()
        peer.socket.ping("are you there")
        opcode, data = peer.socket.recv_data(control_frame=True)
        self.assertEqual((opcode, bytes(data)), (websocket.ABNF.OPCODE_PONG, b"are you there"))

    def test_error_then_close(self):
        peer = self.peer()
        peer.send("NONSENSE")
        command, headers, body = peer.receive()
        self.assertEqual(command, "ERROR")
        self.assertTrue(headers["message"])
        self.assertTrue(body)
        with self.assertRaises((EOFError, websocket.WebSocketConnectionClosedException)):
            peer.receive()

    def test_plain_get_is_welcomed_and_wrong_key_is_refused(self):
        key = base64.b64encode(b"0123456789abcdef").decode()
        with self.assertRaises(websocket.WebSocketBadStatusException):
            websocket.create_connection(
                server.ws("/nowhere"), header=[f"Sec-WebSocket-Key: {key}"], timeout=WAIT_SECONDS
            )


if __name__ == "__main__":
    unittest.main()
