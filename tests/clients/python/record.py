"""Records what stomp.py and a broker say to each other: fixtures/clients/stomp.py-VERSION.ndjson,
one line per write or read, each character of `octets` one octet. `python record.py`."""

import json

import stomp

from listener import Listener
from server import ROOT, Server

KINDS = {"1.0": stomp.StompConnection10, "1.1": stomp.StompConnection11, "1.2": stomp.StompConnection12}


def record(server, version):
    lines = []
    connection = KINDS[version]([server.tcp], auto_decode=False)
    transport = connection.transport
    send, receive = transport.send, transport.receive

    def note(source, octets):
        if octets:
            lines.append(json.dumps({"from": source, "octets": octets.decode("latin-1")}))

    def noted_send(octets):
        note("client", octets)
        send(octets)

    def noted_receive():
        octets = receive()
        note("server", octets)
        return octets

    transport.send, transport.receive = noted_send, noted_receive
    listener = Listener()
    connection.set_listener("", listener)
    connection.connect(wait=True)
    dialogue(connection, listener, version)
    connection.disconnect(receipt="bye")
    listener.receipt()
    path = ROOT / f"fixtures/clients/stomp.py-{version}.ndjson"
    path.write_text("\n".join(lines) + "\n")


def dialogue(connection, listener, version):
    topic = "/topic/dialogue"

    def acknowledge(way, frame, receipt):
        if version == "1.2":
            way(frame.headers["ack"], receipt=receipt)
        elif version == "1.1":
            way(frame.headers["message-id"], frame.headers["subscription"], receipt=receipt)
        else:
            way(frame.headers["message-id"], receipt=receipt)
        listener.receipt()

    connection.subscribe(topic, id="1", ack="client-individual", headers={"receipt": "live"})
    listener.receipt()
    connection.send(topic, "Grüße 😀".encode(), headers={"x-note": "a:b" if version == "1.0" else "a:b\nc"})
    acknowledge(connection.ack, listener.message(), "first")
    connection.send(topic, bytes([0, 1, 255, 0]))
    acknowledge(connection.ack if version == "1.0" else connection.nack, listener.message(), "second")
    for transaction in ("kept", "dropped"):
        connection.begin(transaction)
        connection.send(topic, transaction.encode(), transaction=transaction)
    connection.abort("dropped")
    connection.commit("kept")
    acknowledge(connection.ack, listener.message(), "third")
    connection.unsubscribe(id="1", headers={"receipt": "left"})
    listener.receipt()


if __name__ == "__main__":
    server = Server(variables={"STOMPBOX_METRICS__ENABLED": "false"})
    try:
        for version in KINDS:
            record(server, version)
    finally:
        server.stop()
