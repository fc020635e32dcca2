"""websockets, the other WebSocket of Python, which compresses unless it is told not to."""

import unittest

from websockets.sync.client import connect

from server import Server

BODY = "".join(f'{{"name":"metric.{n % 20}","value":{n}}},' for n in range(1000))


def setUpModule():
    global server
    server = Server()


def tearDownModule():
    server.stop()


class Deflate(unittest.TestCase):
    def test_a_message_goes_and_comes_compressed(self):
        for path in ("/ws", "/ws/websocket"):
            with self.subTest(path), connect(server.ws(path), subprotocols=["v12.stomp"]) as socket:
                names = [extension.name for extension in socket.protocol.extensions]
                self.assertEqual(names, ["permessage-deflate"])
                socket.send("CONNECT\naccept-version:1.2\nhost:localhost\nheart-beat:0,0\n\n\0")
                self.assertTrue(socket.recv(timeout=10).startswith("CONNECTED"))
                socket.send("SUBSCRIBE\nid:a\ndestination:/topic/python\n\n\0")
                for _ in range(3):
                    socket.send(f"SEND\ndestination:/topic/python\n\n{BODY}\0")
                    head, _, body = socket.recv(timeout=10).partition("\n\n")
                    self.assertTrue(head.startswith("MESSAGE\nsubscription:a\n"))
                    self.assertEqual(body, BODY + "\0")


if __name__ == "__main__":
    unittest.main()
