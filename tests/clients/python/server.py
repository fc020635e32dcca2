"""Starts the real binary on a free port, with a bounded wait for everything."""

import os
import pathlib
import re
import signal
import subprocess
import threading

ROOT = pathlib.Path(__file__).resolve().parents[3]
BINARY = ROOT / os.environ.get("STOMPBOX_BIN", "target/release/stompbox")
START_SECONDS = 15
STOP_SECONDS = 15


class Server:
    def __init__(self, *arguments, variables=None):
        self.process = subprocess.Popen(
            [BINARY, "serve", "--listen", "127.0.0.1:0", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={
                **{name: value for name, value in os.environ.items() if not name.startswith("STOMPBOX_")},
                "STOMPBOX_TCP__LISTEN": "127.0.0.1:0",
                **(variables or {}),
            },
        )
        self.log = []
        self.url = None
        self._listening = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        if not self._listening.wait(START_SECONDS) or self.url is None:
            self.process.kill()
            raise RuntimeError("the server did not listen:\n" + "".join(self.log))

    def _read(self):
        for line in self.process.stdout:
            line = re.sub(r"\x1b\[[0-9;]*m", "", line)
            self.log.append(line)
            found = re.search(r"listening.*?(http://[^\s\"]+:\d+)", line)
            if found and self.url is None:
                self.url = found.group(1)
                self._listening.set()
        self._listening.set()

    @property
    def tcp(self):
        """Where STOMP over TCP is spoken: host and port. Its line stands before that of HTTP."""
        found = re.search(r"listening on (?:tcp|tls)://([^\s\"]+):(\d+)", "".join(self.log))
        return found.group(1), int(found.group(2))

    def ws(self, path):
        return self.url.replace("http", "ws", 1) + path

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(STOP_SECONDS)
        finally:
            self.process.kill()
            self._reader.join()
            self.process.stdout.close()
        if code != 0:
            raise RuntimeError(f"the server ended with {code}:\n" + "".join(self.log))
