"""The rules of SockJS, one test each, named after the test of the public protocol suite that asks for the same.

The suite itself, sockjs-protocol.py, passes but for test_haproxy: Hixie-76 is gone from every browser, and its
handshake is answered with 426.
"""

import json
import os
import pathlib
import re
import socket
import subprocess
import threading
import time
import unittest
import uuid

import websocket

ROOT = pathlib.Path(__file__).resolve().parents[3]
SERVER = ROOT / os.environ.get("SOCKJS_TEST_SERVER", "target/debug/examples/sockjs_test_server")
NOT_CACHED = "no-store, no-cache, no-transform, must-revalidate, max-age=0"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
port = 0
process = None


def setUpModule():
    global port, process
    given = os.environ.get("SOCKJS_TEST_PORT")
    if given:
        port = int(given)
        return
    process = subprocess.Popen([SERVER, "0"], stderr=subprocess.PIPE, text=True)
    port = int(re.search(r":(\d+)$", process.stderr.readline().strip()).group(1))
    threading.Thread(target=process.stderr.read, daemon=True).start()


def tearDownModule():
    if process:
        process.kill()
        process.wait()
        process.stderr.close()


class Exchange:
    """One request on a socket of its own, read chunk by chunk."""

    def __init__(self, method, path, headers=None, body=None, version="1.1", connection=None):
        self.socket = connection or socket.create_connection(("127.0.0.1", port), timeout=5)
        lines = {"Host": f"127.0.0.1:{port}", **(headers or {})}
        if method == "POST" and body is not False:
            body = (body or "").encode()
            lines["Content-Length"] = str(len(body))
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        self.socket.sendall(f"{method} {path} HTTP/{version}\r\n{head}\r\n".encode() + (body or b""))
        self.buffer = b""
        status, *fields = self.until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        self.version, status = status.split(" ", 2)[:2]
        self.status = int(status)
        self.headers = {}
        for field in filter(None, fields):
            name, _, value = field.partition(":")
            self.headers[name.lower()] = value.strip()

    def __getitem__(self, name):
        return self.headers.get(name.lower())

    def fill(self):
        data = self.socket.recv(65536)
        self.buffer += data
        return data

    def until(self, mark):
        while mark not in self.buffer:
            if not self.fill():
                raise EOFError(self.buffer)
        found, self.buffer = self.buffer.split(mark, 1)
        return found

    def take(self, count):
        while len(self.buffer) < count:
            if not self.fill():
                raise EOFError(self.buffer)
        taken, self.buffer = self.buffer[:count], self.buffer[count:]
        return taken.decode()

    def chunk(self):
        """The next chunk, which must be a whole frame; empty: the end."""
        size = int(self.until(b"\r\n"), 16)
        data = self.take(size)
        assert self.take(2) == "\r\n"
        return data

    def all(self):
        if self["transfer-encoding"] == "chunked":
            parts = []
            while part := self.chunk():
                parts.append(part)
            return "".join(parts)
        if self["content-length"] is not None:
            return self.take(int(self["content-length"]))
        if self.status in (204, 304):
            return ""
        while self.fill():
            pass
        return self.buffer.decode()

    def is_closed(self):
        return self.buffer == b"" and self.socket.recv(1) == b""

    def close(self):
        self.socket.close()


def ask(method, path, headers=None, body=None, **options):
    exchange = Exchange(method, path, headers, body, **options)
    try:
        exchange.body = exchange.all()
    finally:
        exchange.close()
    return exchange


def get(path, headers=None):
    return ask("GET", path, headers)


def post(path, body="", headers=None):
    return ask("POST", path, headers, body)


def session(service="/echo"):
    return f"{service}/000/{uuid.uuid4()}"


class Rules(unittest.TestCase):
    def streaming(self, method, path):
        exchange = Exchange(method, path)
        self.addCleanup(exchange.close)
        return exchange

    def websocket(self, path):
        ws = websocket.create_connection(f"ws://127.0.0.1:{port}{path}", timeout=5)
        self.addCleanup(ws.close)
        return ws

    def is_text(self, answer, status, body):
        self.assertEqual((answer.status, answer.body), (status, body))
        self.assertEqual(answer["content-type"], "text/plain; charset=UTF-8")

    def is_open_to(self, answer, origin):
        self.assertEqual(answer["access-control-allow-origin"], origin or "*")
        self.assertEqual(answer["access-control-allow-credentials"], "true" if origin else None)

    def is_not_cached(self, answer):
        self.assertEqual((answer["cache-control"], answer["expires"], answer["last-modified"]), (NOT_CACHED, None, None))

    def is_cached(self, answer):
        self.assertEqual(answer["cache-control"], "public, max-age=31536000")
        self.assertTrue(answer["expires"].endswith("GMT"))
        self.assertIsNone(answer["last-modified"])

    def options(self, path, methods):
        for origin in ("test", "null", None):
            answer = ask("OPTIONS", path, {"Origin": origin} if origin else {})
            self.assertEqual((answer.status, answer.body), (204, ""))
            self.is_cached(answer)
            self.assertGreater(int(answer["access-control-max-age"]), 1_000_000)
            self.assertEqual(answer["access-control-allow-methods"], methods)
            self.is_open_to(answer, origin)
            self.assertIsNone(answer["set-cookie"])


class Pages(Rules):
    def test_greeting(self):
        for path in ("/echo", "/echo/"):
            answer = get(path)
            self.is_text(answer, 200, "Welcome to SockJS!\n")
            self.assertIsNone(answer["set-cookie"])

    def test_notFound(self):
        for suffix in ("/a", "/a.html", "//", "///", "/a/a", "/a/a/", "/a/"):
            self.assertEqual(get("/echo" + suffix).status, 404, suffix)

    def test_iframe(self):
        suffixes = ("", "-a", "-", "-0.1.2", "-0.1.2abc-dirty.2144")
        for name in [f"/iframe{suffix}.html" for suffix in suffixes] + ["/iframe-0.1.2.html?t=123414"]:
            answer = get("/echo" + name)
            self.assertEqual((answer.status, answer["content-type"]), (200, "text/html; charset=UTF-8"))
            self.is_cached(answer)
            self.assertTrue(answer["etag"])
            self.assertIsNone(answer["set-cookie"])
            lines = answer.body.split("\n")
            self.assertEqual((lines[0], lines[-1]), ("<!DOCTYPE html>", "</html>"))
            script = lines.index('  <script src="/echo/sockjs.min.js?v=1.6.1"></script>')
            self.assertEqual(
                lines[script + 1 : script + 5],
                ["  <script>", "    document.domain = document.domain;", "    SockJS.bootstrap_iframe();", "  </script>"],
            )

    def test_invalidUrl(self):
        names = ("/iframe.htm", "/iframe", "/IFRAME.HTML", "/IFRAME", "/iframe.HTML", "/iframe.xml", "/iframe-/.html")
        for name in names:
            self.assertEqual(get("/echo" + name).status, 404, name)

    def test_cacheability(self):
        for name in ("/echo/iframe.html", "/echo/sockjs.min.js"):
            tag = get(name)["etag"]
            again = get(name, {"If-None-Match": tag})
            self.assertEqual((again.status, again.body, again["content-type"]), (304, "", None))
            self.assertEqual(again["etag"], tag)

    def test_info(self):
        answer = get("/echo/info", {"Origin": "test"})
        self.assertEqual((answer.status, answer["content-type"]), (200, "application/json; charset=UTF-8"))
        self.assertIsNone(answer["set-cookie"])
        self.is_not_cached(answer)
        self.is_open_to(answer, "test")
        info = json.loads(answer.body)
        entropy = info.pop("entropy")
        self.assertEqual(info, {"websocket": True, "cookie_needed": False, "origins": ["*:*"]})
        self.assertTrue(0 <= entropy < 2**32)
        self.assertNotEqual(json.loads(get("/echo/info").body)["entropy"], entropy)

    def test_disabled_websocket(self):
        self.assertIs(json.loads(get("/disabled_websocket_echo/info").body)["websocket"], False)
        self.assertEqual(get("/disabled_websocket_echo/0/0/websocket").status, 404)

    def test_options(self):
        self.options("/echo/info", "OPTIONS, GET")
        for name in ("xhr", "xhr_send", "xhr_streaming"):
            self.options(f"/echo/abc/abc/{name}", "OPTIONS, POST")

    def test_request_headers_cors(self):
        for value, echoed in (("a, b, c", "a, b, c"), ("", None), (None, None)):
            asked = {} if value is None else {"Access-Control-Request-Headers": value}
            for method in ("OPTIONS", "POST"):
                answer = ask(method, session() + "/xhr", {"Origin": "test", **asked})
                self.is_open_to(answer, "test")
                self.assertEqual(answer["access-control-allow-headers"], echoed)


class Sessions(Rules):
    def test_anyValue(self):
        mark = uuid.uuid4()
        for path in (f"/a/a{mark}", f"/_/_{mark}", f"/1/{mark}", f"/abcdefgh_i-j%20/abcdefg_i-j%20{mark}"):
            self.assertEqual(post(f"/echo{path}/xhr").body, "o\n")

    def test_invalidPaths(self):
        for path in ("//", "/a./a", "/a/a.", "/./.", "/", "///"):
            for method in ("GET", "POST"):
                self.assertEqual(ask(method, f"/echo{path}/xhr").status, 404, path)

    def test_ignoringServerId(self):
        name = uuid.uuid4()
        self.assertEqual(post(f"/echo/000/{name}/xhr").body, "o\n")
        sent = post(f"/echo/001/{name}/xhr_send", '["a"]')
        self.assertEqual((sent.status, sent.body), (204, ""))
        self.assertEqual(post(f"/echo/999/{name}/xhr").body, 'a["a"]\n')

    def test_simpleSession(self):
        url = session()
        self.assertEqual(post(url + "/xhr").body, "o\n")
        self.assertEqual(post(url + "/xhr_send", '["a"]').status, 204)
        self.assertEqual(post(url + "/xhr").body, 'a["a"]\n')
        self.assertEqual(post("/echo/000/bad_session/xhr_send", '["a"]').status, 404)

    def test_second_receiver_is_told_and_the_first_goes_on(self):
        url = session()
        first = self.streaming("POST", url + "/xhr_streaming")
        self.assertEqual((first.chunk(), first.chunk()), ("h" * 2048 + "\n", "o\n"))
        second = self.streaming("POST", url + "/xhr_streaming")
        second.chunk()
        self.assertEqual((second.chunk(), second.chunk()), ('c[2010,"Another connection still open"]\n', ""))
        post(url + "/xhr_send", '["a"]')
        self.assertEqual(first.chunk(), 'a["a"]\n')

    def test_closeSession(self):
        url = session("/close")
        bodies = [post(url + "/xhr").body for _ in range(3)]
        self.assertEqual(bodies, ["o\n", 'c[3000,"Go away!"]\n', 'c[3000,"Go away!"]\n'])

    def test_close_frame(self):
        url = session("/close")
        for frames in (["o\n", 'c[3000,"Go away!"]\n', ""], ['c[3000,"Go away!"]\n', ""]):
            answer = self.streaming("POST", url + "/xhr_streaming")
            answer.chunk()
            self.assertEqual([answer.chunk() for _ in frames], frames)

    def test_abort_xhr_streaming(self):
        url = session()
        first = self.streaming("POST", url + "/xhr_streaming")
        self.assertEqual((first.chunk()[0], first.chunk()), ("h", "o\n"))
        first.close()
        time.sleep(0.05)
        again = self.streaming("POST", url + "/xhr_streaming")
        again.chunk()
        self.assertEqual(again.chunk(), 'c[1002,"Connection interrupted"]\n')

    def test_abort_xhr_polling(self):
        url = session()
        self.assertEqual(post(url + "/xhr").body, "o\n")
        waiting = socket.create_connection(("127.0.0.1", port))
        waiting.sendall(f"POST {url}/xhr HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".encode())
        time.sleep(0.25)
        self.assertEqual(post(url + "/xhr").body, 'c[2010,"Another connection still open"]\n')
        waiting.close()
        time.sleep(0.05)
        self.assertEqual(post(url + "/xhr").body, 'c[1002,"Connection interrupted"]\n')

    def test_cookies(self):
        self.assertIs(json.loads(get("/cookie_needed_echo/info").body)["cookie_needed"], True)
        for method, name in (("POST", "/xhr"), ("POST", "/xhr_streaming"), ("GET", "/eventsource"),
                             ("GET", "/htmlfile?c=%63allback"), ("GET", "/jsonp?c=%63allback")):
            url = session("/cookie_needed_echo")
            self.assertEqual(self.streaming(method, url + name)["set-cookie"], "JSESSIONID=dummy; Path=/")
            exchange = Exchange(method, session("/cookie_needed_echo") + name, {"Cookie": "a=b; JSESSIONID=abcdef"})
            self.addCleanup(exchange.close)
            self.assertEqual(exchange["set-cookie"], "JSESSIONID=abcdef; Path=/")
        sent = post(url + "/jsonp_send", "d=%5B%22x%22%5D", FORM)
        self.assertEqual((sent.status, sent.body, sent["set-cookie"]), (200, "ok", "JSESSIONID=dummy; Path=/"))
        self.assertIsNone(get("/cookie_needed_echo/info")["set-cookie"])


class Transports(Rules):
    def stream(self, method, path, content_type, prelude):
        answer = self.streaming(method, path)
        self.assertEqual((answer.status, answer["content-type"]), (200, content_type))
        self.is_not_cached(answer)
        self.assertEqual(answer.chunk(), prelude)
        return answer

    def test_xhr_polling(self):
        url = session()
        opened = post(url + "/xhr", headers={"Origin": "test"})
        self.assertEqual((opened.status, opened.body), (200, "o\n"))
        self.assertEqual(opened["content-type"], "application/javascript; charset=UTF-8")
        self.is_open_to(opened, "test")
        self.is_not_cached(opened)
        sent = post(url + "/xhr_send", '["x"]', {"Origin": "test"})
        self.is_text(sent, 204, "")
        self.is_open_to(sent, "test")
        self.is_not_cached(sent)
        self.assertEqual(post(url + "/xhr").body, 'a["x"]\n')

    def test_invalid_json(self):
        url = session()
        self.assertEqual(post(url + "/xhr").body, "o\n")
        self.is_text(post(url + "/xhr_send", '["x'), 500, "Broken JSON encoding.")
        self.is_text(post(url + "/xhr_send", ""), 500, "Payload expected.")
        self.assertEqual(post(url + "/xhr_send", '["a"]').status, 204)
        self.assertEqual(post(url + "/xhr").body, 'a["a"]\n')

    def test_content_types_and_empty_frames(self):
        url = session()
        self.assertEqual(post(url + "/xhr").body, "o\n")
        types = ("text/plain", "T", "application/json", "application/xml", "", "application/json; charset=utf-8",
                 "text/xml; charset=utf-8", "text/xml")
        for content_type in types:
            self.assertEqual(post(url + "/xhr_send", '["a"]', {"Content-Type": content_type}).status, 204)
        for empty in ("[]", '""'):
            self.assertEqual(post(url + "/xhr_send", empty).status, 204)
        self.assertEqual(post(url + "/xhr").body, "a[" + ",".join(['"a"'] * len(types)) + "]\n")

    def test_xhr_streaming(self):
        url = session()
        answer = self.stream("POST", url + "/xhr_streaming", "application/javascript; charset=UTF-8", "h" * 2048 + "\n")
        self.assertEqual(answer.chunk(), "o\n")
        self.assertEqual(post(url + "/xhr_send", '["x"]').status, 204)
        self.assertEqual(answer.chunk(), 'a["x"]\n')

    def test_xhr_streaming_response_limit(self):
        url = session()
        answer = self.streaming("POST", url + "/xhr_streaming")
        answer.chunk()
        self.assertEqual(answer.chunk(), "o\n")
        message = '["' + "x" * 128 + '"]'
        for _ in range(31):
            self.assertEqual(post(url + "/xhr_send", message).status, 204)
            self.assertEqual(answer.chunk(), f"a{message}\n")
        self.assertEqual(answer.chunk(), "")

    def test_eventsource(self):
        url = session()
        answer = self.stream("GET", url + "/eventsource", "text/event-stream", "\r\n")
        self.assertEqual(answer.chunk(), "data: o\r\n\r\n")
        post(url + "/xhr_send", '["x"]')
        self.assertEqual(answer.chunk(), 'data: a["x"]\r\n\r\n')
        post(url + "/xhr_send", r'["  \u0000\n\r "]')
        self.assertEqual(answer.chunk(), 'data: a["  \\u0000\\n\\r "]\r\n\r\n')
        post(url + "/xhr_send", '["' + "x" * 4096 + '"]')
        self.assertEqual(answer.chunk(), 'data: a["' + "x" * 4096 + '"]\r\n\r\n')
        self.assertEqual(answer.chunk(), "")

    def test_htmlfile(self):
        url = session()
        answer = self.streaming("GET", url + "/htmlfile?c=%63allback")
        self.assertEqual((answer.status, answer["content-type"]), (200, "text/html; charset=UTF-8"))
        self.assertEqual(answer["x-content-type-options"], "nosniff")
        self.is_not_cached(answer)
        page = answer.chunk()
        self.assertGreater(len(page), 1024)
        self.assertTrue(page.endswith("\r\n\r\n"))
        self.assertEqual(page.strip(), HTMLFILE.strip())
        self.assertEqual(answer.chunk(), '<script>\np("o");\n</script>\r\n')
        post(url + "/xhr_send", '["x"]')
        self.assertEqual(answer.chunk(), '<script>\np("a[\\"x\\"]");\n</script>\r\n')
        post(url + "/xhr_send", '["' + "x" * 4096 + '"]')
        self.assertEqual(answer.chunk(), '<script>\np("a[\\"' + "x" * 4096 + '\\"]");\n</script>\r\n')
        self.assertEqual(answer.chunk(), "")

    def test_callbacks(self):
        for name in ("htmlfile", "jsonp"):
            self.is_text(get(f"/echo/a/a/{name}"), 500, '"callback" parameter required')
            for callback in ("%20", "*", "abc(", "abc%28", "a" * 33):
                self.is_text(get(f"/echo/a/a/{name}?c={callback}"), 500, 'invalid "callback" parameter')

    def test_jsonp(self):
        url = session()
        opened = get(url + "/jsonp?c=%63allback")
        self.assertEqual((opened.status, opened.body), (200, '/**/callback("o");\r\n'))
        self.assertEqual(opened["content-type"], "application/javascript; charset=UTF-8")
        self.assertEqual(opened["x-content-type-options"], "nosniff")
        self.is_not_cached(opened)
        for body, headers in (("d=%5B%22x%22%5D", FORM), ("d=%5B%5D", FORM), ('["%61bc"]', {"Content-Type": "text/plain"})):
            sent = post(url + "/jsonp_send", body, headers)
            self.is_text(sent, 200, "ok")
            self.is_not_cached(sent)
        self.assertEqual(get(url + "/jsonp?c=x").body, '/**/x("a[\\"x\\",\\"%61bc\\"]");\r\n')

    def test_jsonp_invalid_json(self):
        url = session()
        self.assertEqual(get(url + "/jsonp?c=x").body, '/**/x("o");\r\n')
        self.is_text(post(url + "/jsonp_send", "d=%5B%22x", FORM), 500, "Broken JSON encoding.")
        for body in ("", "d=", "p=p"):
            self.is_text(post(url + "/jsonp_send", body, FORM), 500, "Payload expected.")
        self.is_text(post("/echo/a/nobody/jsonp_send", "d=%5B%22x%22%5D", FORM), 404, "Unknown session.")

    def test_a_repeated_request_is_taken_once(self):
        url = session()
        post(url + "/xhr")
        for query, body in (("?t=1", "a"), ("?t=1", "a"), ("?t=1", "b"), ("?t=2", "b"), ("", "c"), ("", "c"), ("?x=1", "d"), ("?x=1", "d")):
            self.assertEqual(post(f"{url}/xhr_send{query}", f'["{body}"]').status, 204)
        self.assertEqual(post(url + "/xhr").body, 'a["a","b","b","c","c","d","d"]\n')

    def test_jsonp_close(self):
        url = session("/close")
        bodies = [get(url + "/jsonp?c=x").body for _ in range(3)]
        closed = '/**/x("c[3000,\\"Go away!\\"]");\r\n'
        self.assertEqual(bodies, ['/**/x("o");\r\n', closed, closed])

    def test_amplify_and_broadcast(self):
        url = session("/amplify")
        post(url + "/xhr")
        post(url + "/xhr_send", '["12"]')
        self.assertEqual(post(url + "/xhr").body, 'a["' + "x" * 4096 + '"]\n')
        first, second = session("/broadcast"), session("/broadcast")
        post(first + "/xhr"), post(second + "/xhr")
        post(first + "/xhr_send", '["all"]')
        self.assertEqual([post(url + "/xhr").body for url in (first, second)], ['a["all"]\n'] * 2)


class WebSockets(Rules):
    def test_http_errors(self):
        answer = get("/echo/0/0/websocket")
        self.is_text(answer, 400, 'Can "Upgrade" only to "WebSocket".')
        answer = get("/echo/0/0/websocket", {"Upgrade": "WebSocket", "Connection": "close"})
        self.is_text(answer, 400, '"Connection" must be "Upgrade".')
        for headers in ({"Upgrade": "WebSocket", "Connection": "Upgrade"}, {}):
            answer = post("/echo/0/0/websocket", headers=headers)
            self.assertEqual((answer.status, answer.body, answer["allow"], answer["content-type"]), (405, "", "GET", None))

    def test_headersSanity(self):
        for connection in ("Upgrade", "keep-alive, Upgrade"):
            headers = {"Upgrade": "websocket", "Connection": connection, "Sec-WebSocket-Version": "13",
                       "Sec-WebSocket-Key": "x3JJHMbDL1EzLkh9GBhXDw=="}
            answer = Exchange("GET", session() + "/websocket", headers)
            self.addCleanup(answer.close)
            self.assertEqual((answer.status, answer["sec-websocket-accept"]), (101, "HSmrc0sMlYUkAGmm5OPpG2HaGWk="))
            self.assertEqual((answer["connection"].lower(), answer["upgrade"].lower()), ("upgrade", "websocket"))
            self.assertIsNone(answer["content-length"])

    def test_transport(self):
        ws = self.websocket(session() + "/websocket")
        self.assertEqual(ws.recv(), "o")
        for message in ("", "[]", '""', '["a"]', '"b"'):
            ws.send(message)
        self.assertEqual((ws.recv(), ws.recv()), ('a["a"]', 'a["b"]'))

    def test_close(self):
        ws = self.websocket(session("/close") + "/websocket")
        self.assertEqual((ws.recv(), ws.recv()), ("o", 'c[3000,"Go away!"]'))
        self.assertEqual(ws.recv(), "")

    def test_reuseSessionId(self):
        url = session() + "/websocket"
        both = [self.websocket(url), self.websocket(url)]
        for n, ws in enumerate(both):
            self.assertEqual(ws.recv(), "o")
            ws.send(f'["{n}"]')
            self.assertEqual(ws.recv(), f'a["{n}"]')
            ws.close()
        self.assertEqual(self.websocket(url).recv(), "o")

    def test_broken_json(self):
        ws = self.websocket(session() + "/websocket")
        self.assertEqual(ws.recv(), "o")
        ws.send('["a')
        self.assertEqual(ws.recv(), 'c[3000,"Broken framing."]')
        with self.assertRaises(websocket.WebSocketConnectionClosedException):
            ws.recv()

    def test_the_farewell_arrives_though_more_was_sent(self):
        for path, opcode in ((session() + "/websocket", 1), ("/echo/websocket", 8)):
            ws = self.websocket(path)
            if path != "/echo/websocket":
                self.assertEqual(ws.recv(), "o")
            # A broken SockJS frame and a reserved opcode: each is the end of one of them.
            ws.sock.sendall(b"\x81\x83\0\0\0\0[\"a" + b"\x83\x80\0\0\0\0" + b"\x81\xfd\0\0\0\0" + b"x" * 125 + b"y" * 9000)
            time.sleep(0.2)
            frames = []
            with self.assertRaises(websocket.WebSocketConnectionClosedException):
                while True:
                    frames.append(ws.recv_frame())
            self.assertEqual(frames[-1].opcode, opcode)

    def test_raw(self):
        for path in ("/echo/websocket", "/echo"):
            ws = self.websocket(path)
            ws.send("Hello world!\uffff")
            self.assertEqual(ws.recv(), "Hello world!\uffff")

    def test_raw_close(self):
        ws = self.websocket("/close/websocket")
        opcode, data = ws.recv_data(control_frame=True)
        self.assertEqual((opcode, data), (8, (3000).to_bytes(2, "big") + b"Go away!"))

    def test_the_stream_ends_after_both_sides_have_closed(self):
        for path in ("/close/websocket", session("/close") + "/websocket"):
            ws = self.websocket(path)
            while ws.recv_frame().opcode != 8:
                pass
            ws.sock.settimeout(0.2)
            with self.assertRaises(TimeoutError):
                ws.sock.recv(1)
            ws.send_close(1000)
            ws.sock.settimeout(0.5)
            self.assertEqual(ws.sock.recv(1), b"")


class Unicode(Rules):
    def test_xhr_server_encodes(self):
        mangled = [*range(0x200C, 0x2010), *range(0x2028, 0x2030), *range(0x2060, 0x2070), *range(0xFFF0, 0x10000)]
        url = session()
        post(url + "/xhr")
        post(url + "/xhr_send", json.dumps(["".join(map(chr, mangled))], ensure_ascii=False))
        self.assertEqual(post(url + "/xhr").body, 'a["' + "".join(f"\\u{unit:04x}" for unit in mangled) + '"]\n')

    def test_xhr_server_decodes(self):
        text = "".join(chr(code) for code in range(0x10000) if not 0xD800 <= code < 0xE000) + "\U0001f600"
        url = session()
        post(url + "/xhr")
        for ensure_ascii in (True, False):
            self.assertEqual(post(url + "/xhr_send", json.dumps([text], ensure_ascii=ensure_ascii)).status, 204)
            self.assertEqual(json.loads(post(url + "/xhr").body[1:]), [text])

    def test_lone_surrogates_do_not_break_the_session(self):
        url = session()
        post(url + "/xhr")
        self.assertEqual(post(url + "/xhr_send", r'["a\ud800b"]').status, 204)
        self.assertEqual(json.loads(post(url + "/xhr").body[1:]), ["a\ufffdb"])


class Http(Rules):
    def test_http10_synchronous(self):
        first = Exchange("GET", "/echo", {"Connection": "Keep-Alive"}, version="1.0")
        self.assertEqual((first.status, first["transfer-encoding"], first.all()), (200, None, "Welcome to SockJS!\n"))
        if (first["connection"] or "close").lower() == "keep-alive":
            again = Exchange("GET", "/echo", {"Connection": "Keep-Alive"}, version="1.0", connection=first.socket)
            self.assertEqual(again.status, 200)
        else:
            self.assertTrue(first.is_closed())
        first.close()
        plain = Exchange("GET", "/echo", version="1.0")
        self.assertEqual((plain.all(), plain.is_closed()), ("Welcome to SockJS!\n", True))
        plain.close()

    def test_http10_streaming(self):
        answer = Exchange("POST", session("/close") + "/xhr_streaming", {"Connection": "Keep-Alive"}, version="1.0")
        self.assertEqual((answer.status, answer["transfer-encoding"], answer["content-length"]), (200, None, None))
        self.assertEqual(answer.take(2049)[0], "h")
        self.assertEqual(answer.take(2 + 19), 'o\nc[3000,"Go away!"]\n')
        self.assertTrue(answer.is_closed())
        answer.close()

    def test_http11_synchronous(self):
        first = Exchange("GET", "/echo", {"Connection": "Keep-Alive"})
        self.assertIn((first["connection"] or "").lower(), ("", "keep-alive"))
        self.assertEqual(first.all(), "Welcome to SockJS!\n")
        again = Exchange("GET", "/echo", connection=first.socket)
        self.assertEqual(again.status, 200)
        again.close()

    def test_http11_streaming(self):
        answer = self.streaming("POST", session("/close") + "/xhr_streaming")
        self.assertEqual((answer["transfer-encoding"], answer["content-length"]), ("chunked", None))
        self.assertEqual(answer.chunk()[0], "h")
        self.assertEqual([answer.chunk() for _ in range(3)], ["o\n", 'c[3000,"Go away!"]\n', ""])

    def test_emptyContentLengthForPost(self):
        answer = ask("POST", session() + "/xhr", body=False)
        self.assertEqual((answer.status, answer.body), (200, "o\n"))

    def test_keep_alive_after_a_stream(self):
        first = Exchange("POST", session("/close") + "/xhr_streaming")
        first.all()
        again = Exchange("GET", "/echo", connection=first.socket)
        self.assertEqual(again.all(), "Welcome to SockJS!\n")
        again.close()


HTMLFILE = """<!doctype html>
<html><head>
  <meta http-equiv="X-UA-Compatible" content="IE=edge" />
  <meta http-equiv="Content-Type" content="text/html; charset=UTF-8" />
</head><body><h2>Don't panic!</h2>
  <script>
    document.domain = document.domain;
    var c = parent.callback;
    c.start();
    function p(d) {c.message(d);};
    window.onload = function() {c.stop();};
  </script>
"""

if __name__ == "__main__":
    unittest.main()
