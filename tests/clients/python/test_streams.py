"""Log streams, as Python programs read them with websockets."""

import json
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.request

from listener import WAIT_SECONDS
from server import ROOT, Server


class Streams(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        settings = f"{self.folder}/stompbox.toml"
        with open(settings, "w") as file:
            file.write('[auth]\napi_keys = [{ name = "tail", key = "YOUR-KEY" }]\n')
        self.server = Server("--config", settings)
        self.addCleanup(self.server.stop)

    def post(self, entry):
        headers = {"content-type": "application/json", "x-api-key": "YOUR-KEY"}
        url = f"{self.server.url}/api/v1/logs"
        urllib.request.urlopen(urllib.request.Request(url, json.dumps(entry).encode(), headers)).close()

    def test_the_example_prints_the_lines_that_it_asks_for(self):
        example = (ROOT / "examples/streams/logs.py").read_text()
        host = self.server.url.removeprefix("http://")
        file = f"{self.folder}/logs.py"
        with open(file, "w") as pasted:
            pasted.write(example.replace("localhost:8080", host))
        child = subprocess.Popen([sys.executable, file], stdout=subprocess.PIPE, text=True)
        self.addCleanup(child.stdout.close)
        self.addCleanup(child.wait)
        self.addCleanup(child.kill)
        lines = Lines(child.stdout)
        end = time.monotonic() + WAIT_SECONDS
        wanted = {"error disk is full"}
        while wanted - lines.seen and time.monotonic() < end:
            self.post([{"level": "info", "source": "s", "message": "memory"}, {"level": "error", "source": "s", "message": "disk is full"}])
            lines.wait(0.25)
        self.assertLessEqual(wanted, lines.seen)
        self.assertFalse([line for line in lines.seen if line.startswith("info")])


class Lines:
    """What a program prints, read as it comes."""

    def __init__(self, stream):
        import threading

        self.seen = set()
        self._came = threading.Event()
        threading.Thread(target=self._read, args=(stream,), daemon=True).start()

    def _read(self, stream):
        for line in stream:
            self.seen.add(line.strip())
            self._came.set()

    def wait(self, seconds):
        self._came.wait(seconds)
        self._came.clear()
