"""stomp.py over TLS, and without it where it is spoken."""

import pathlib
import socket
import subprocess
import tempfile
import unittest

import stomp

from listener import WAIT_SECONDS, Listener, leave
from server import Server


def setUpModule():
    global folder, certificate, server
    folder = tempfile.TemporaryDirectory()
    certificate, key = (str(pathlib.Path(folder.name) / name) for name in ("certificate.pem", "key.pem"))
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )
    server = Server(variables={"STOMPBOX_TCP__TLS_CERTIFICATE": certificate, "STOMPBOX_TCP__TLS_KEY": key})


def tearDownModule():
    try:
        server.stop()
    finally:
        folder.cleanup()


class Tls(unittest.TestCase):
    def test_publish_and_subscribe(self):
        connection, listener = stomp.Connection12([server.tcp]), Listener()
        connection.set_ssl(for_hosts=[server.tcp], ca_certs=certificate)
        connection.set_listener("", listener)
        connection.connect(wait=True)
        self.addCleanup(leave, connection)
        connection.subscribe("/topic/tls", id="1", headers={"receipt": "live"})
        self.assertEqual(listener.receipt(), "live")
        body = "Grüße 😀 " * 50_000
        connection.send("/topic/tls", body)
        self.assertEqual(listener.message().body, body)

    def test_a_client_without_tls_is_told(self):
        connection, listener = stomp.Connection12([server.tcp]), Listener()
        connection.set_listener("", listener)
        with self.assertRaises(stomp.exception.ConnectFailedException):
            connection.connect(wait=True)
        self.assertEqual(listener.error().headers["message"], "TLS required")
        self.assertTrue(any("without TLS" in line and "tcp.tls_certificate" in line for line in server.log))

    def test_a_client_that_leaves_in_the_handshake_costs_nothing(self):
        with socket.create_connection(server.tcp, timeout=WAIT_SECONDS) as stranger:
            stranger.sendall(b"\x16\x03\x01\x02\x00\x01")
        self.test_publish_and_subscribe()


if __name__ == "__main__":
    unittest.main()
