#!/usr/bin/env python3
"""What a delivery costs beyond the floor, what a connection costs at rest, and how late messages are.

    benches/figures.py                 prints the tables
    benches/figures.py --write         puts them into README.md
    --seconds N   one run of flat out (default 3); --runs N, medians of which are shown (default 3)
    --only NAME   some of: ratio, main, half, slow, send, idle, stand; or deflate, which else comes with --write

The broker runs with one shard on core 0, the floor (`stompbox bench floor`) on the same core and in
turn with it, the load generator on core 1. Machines are shared and noisy: read the ratio, not the
microseconds. Needs a release build, taskset, and 20,000 file descriptors.
"""

import argparse
import contextlib
import io
import json
import os
import re
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STOMPBOX = ROOT / "target/release/stompbox"
BROKER, TCP, FLOOR, BATCHED = "127.0.0.1:18080", "127.0.0.1:18613", "127.0.0.1:18081", "127.0.0.1:18082"
MESSAGES_LOST = ("lost", "duplicated", "reordered", "lost_subscribers")


class Server:
    """A process on core 0, ended with its block."""

    def __init__(self, *args, **settings):
        self.args = ["taskset", "-c", "0", str(STOMPBOX), *args]
        self.environment = os.environ | settings

    def __enter__(self):
        self.process = subprocess.Popen(self.args, env=self.environment)
        time.sleep(1)
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()


def broker(**settings):
    return Server("serve", "--shards", "1", "--listen", BROKER, "--tcp-listen", TCP, "--log-level", "error", **settings)


def floor(address, *args):
    return Server("bench", "floor", "--listen", address, *args)


def load(server, target, scenario, **options):
    """One run of the generator, on core 1."""
    options = {"target": target, "pid": server.process.pid, **options}
    args = [word for name, value in options.items() for word in ("--" + name.replace("_", "-"), str(value))]
    flags = [arg for arg in args if arg not in ("True",)]
    command = ["taskset", "-c", "1", str(STOMPBOX), "bench", scenario, "--json", *flags]
    run = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if run.returncode:
        sys.exit(f"{' '.join(command)}\n{run.stderr}")
    return json.loads(run.stdout)


def cpu(run):
    return run["broker"]["cpu_us_per_delivery"]


def lost(runs):
    return sum(run[what] for run in runs for what in MESSAGES_LOST)


def pairs(runs, ours, theirs, floor_address, floor_transport=None, **options):
    """Broker and floor in turn."""
    transport = options.pop("transport", "ws")
    both = []
    for _ in range(runs):
        both.append((
            load(ours, BROKER, "fanout", transport=transport, **options),
            load(theirs, floor_address, "fanout", transport=floor_transport or transport, **options),
        ))
    return [run for run, _ in both], [run for _, run in both]


def median(values):
    return statistics.median(list(values))


def ratio(args):
    print_row("1,000 subscribers, flat out", "broker, µs CPU per delivery", "floor, µs", "ratio", "p99, ms", "lost, doubled, late")
    print_row(*["---"] * 6)
    websocket = {"size": 30000, "transport": "sockjs-websocket"}
    xhr_streaming = {"size": 30000, "transport": "sockjs-xhr-streaming", "floor_transport": "sockjs-websocket"}
    with floor(FLOOR) as plain, floor(BATCHED, "--batched") as batched:
        with broker() as ours:
            ratio_rows(args, ours, [
                ("WebSocket, 100 B", plain, FLOOR, {"size": 100}),
                ("WebSocket, 1 KB", plain, FLOOR, {"size": 1000}),
                ("WebSocket, 30 KB", plain, FLOOR, {"size": 30000}),
                ("WebSocket, 1 KB, 100 subscription ids", plain, FLOOR, {"size": 1000, "ids": 100}),
                ("WebSocket, 100 B, ten waiting; floor: ten in one write", batched, BATCHED, {"size": 100, "burst": 10}),
                ("WebSocket, 1 KB, ten waiting; floor: ten in one write", batched, BATCHED, {"size": 1000, "burst": 10}),
                ("SockJS websocket, 30 KB", plain, FLOOR, websocket),
                ("SockJS xhr_streaming, 30 KB; floor: SockJS websocket", plain, FLOOR, xhr_streaming),
            ])
        with broker(STOMPBOX_SOCKJS__RESPONSE_LIMIT="128KiB") as ours:
            ratio_rows(args, ours, [
                ("the same with `sockjs.response_limit` at 128 KiB", plain, FLOOR, xhr_streaming),
            ])


def ratio_rows(args, ours, rows):
    for name, theirs, address, options in rows:
        runs, floors = pairs(args.runs, ours, theirs, address, duration=args.seconds, **options)
        print_row(
            name, f"{median(map(cpu, runs)):.2f}", f"{median(map(cpu, floors)):.2f}",
            f"{median(cpu(a) / cpu(b) for a, b in zip(runs, floors)):.2f}",
            f"{median(run['latency_ms']['p99'] for run in runs):.1f}", lost(runs))


def main_job(args):
    print_row("10,000 subscribers, 30 KB once a second", "broker, µs CPU per delivery", "floor, µs", "ratio",
              "p99, ms", "floor's p99, ms", "memory at most, MiB", "lost, doubled, late")
    print_row(*["---"] * 8)
    for name, transport in [("WebSocket", "ws"), ("SockJS websocket", "sockjs-websocket")]:
        with broker() as ours, floor(FLOOR) as plain:
            options = {"transport": transport, "size": 30000, "rate": 1, "subscribers": 10000, "duration": 6}
            runs, floors = pairs(args.runs, ours, plain, FLOOR, **options)
        print_row(
            name, f"{median(map(cpu, runs)):.2f}", f"{median(map(cpu, floors)):.2f}",
            f"{median(cpu(a) / cpu(b) for a, b in zip(runs, floors)):.2f}",
            f"{median(run['latency_ms']['p99'] for run in runs):.0f}",
            f"{median(run['latency_ms']['p99'] for run in floors):.0f}",
            f"{max(run['broker']['peak_mib'] for run in runs):.0f}", lost(runs))


def half(args):
    print_row("at half the highest rate, WebSocket, 100 B", "messages a second", "p50, ms", "p99, ms", "lost, doubled, late")
    print_row(*["---"] * 5)
    for subscribers in (1000, 10000):
        with broker() as ours:
            options = {"size": 100, "subscribers": subscribers, "duration": args.seconds}
            flat_out = load(ours, BROKER, "fanout", **options)
            rate = flat_out["messages"] / flat_out["seconds"] / 2
            runs = [load(ours, BROKER, "fanout", rate=f"{rate:.2f}", **options) for _ in range(args.runs)]
        print_row(f"{subscribers:,} subscribers", f"{rate:.0f}", *(
            f"{median(run['latency_ms'][quantile] for run in runs):.1f}" for quantile in ("p50", "p99")), lost(runs))


def slow(args):
    print_row("1,000 subscribers, 30 KB, 10 messages a second", "p99 of those who read, ms", "memory at most, MiB", "lost, doubled, late")
    print_row(*["---"] * 4)
    for stalled in (0, 10):
        with broker() as ours:
            options = {"size": 30000, "rate": 10, "stalled": stalled, "overflow": "latest", "duration": 5}
            runs = [load(ours, BROKER, "slow", **options) for _ in range(args.runs)]
        print_row(f"{stalled} do not read", f"{median(run['latency_ms']['p99'] for run in runs):.1f}",
                  f"{max(run['broker']['peak_mib'] for run in runs):.0f}", lost(runs))


def send(args):
    print_row("one SEND, nobody subscribed", "broker, µs CPU")
    print_row(*["---"] * 2)
    with broker() as ours:
        for size, rate in ((100, 20000), (30000, 3000)):
            options = {"size": size, "subscribers": 0, "duration": args.seconds, "rate": rate}
            runs = [load(ours, BROKER, "fanout", **options) for _ in range(args.runs)]
            print_row(f"{size:,} B", f"{median(run['broker']['cpu_us_per_message'] for run in runs):.2f}")


def idle(args):
    print_row("at rest, heart-beats of 10 s both ways", "connections", "KiB each", "KiB each after 30 KB to all", "µs CPU a second each")
    print_row(*["---"] * 5)
    for name, transport, target, count in (
        ("WebSocket", "ws", BROKER, 10000),
        ("SockJS websocket", "sockjs-websocket", BROKER, 10000),
        ("TCP", "tcp", TCP, 10000),
        ("SockJS xhr_streaming", "sockjs-xhr-streaming", BROKER, 10000),
    ):
        with broker() as ours:
            run = load(ours, target, "idle", transport=transport, subscribers=count, size=30000, duration=12, broadcast=True)
        print_row(name, f"{count:,}", f"{run['broker']['resident_kib_per_connection']:.2f}",
                  f"{run['kib_per_connection_after_broadcast']:.2f}", f"{run['broker']['cores'] * 1e6 / count:.2f}")


def deflate(args):
    print_row("1,000 subscribers, 30 KB of metrics, flat out", "octets per delivery", "compressed", "times fewer",
              "broker, µs CPU per delivery", "compressed, µs", "ratio", "lost, doubled, late")
    print_row(*["---"] * 8)
    with broker() as ours:
        for name, ids in (("one subscription id", 1), ("100 subscription ids", 100)):
            options = {"size": 30000, "body": "metrics", "ids": ids, "duration": args.seconds}
            plain, compressed = [], []
            for _ in range(args.runs):
                plain.append(load(ours, BROKER, "fanout", **options))
                compressed.append(load(ours, BROKER, "fanout", deflate=True, **options))
            octets = [median(run["octets_per_delivery"] for run in runs) for runs in (plain, compressed)]
            print_row(
                name, f"{octets[0]:,.0f}", f"{octets[1]:,.0f}", f"{octets[0] / octets[1]:.2f}",
                f"{median(map(cpu, plain)):.2f}", f"{median(map(cpu, compressed)):.2f}",
                f"{median(cpu(b) / cpu(a) for a, b in zip(plain, compressed)):.2f}", lost(plain + compressed))


def stand(args):
    with broker() as ours:
        run = load(ours, BROKER, "idle", subscribers=19000, duration=15, size=30000, broadcast=True)
        print(f"19,000 WebSockets for 15 seconds: {run['lost_subscribers']} lost, "
              f"{run['broker']['resident_mib']:.0f} MiB; of one message to all, {run['lost']} lost.")


def print_row(*cells):
    print("| " + " | ".join(map(str, cells)) + " |")


TABLES = {"ratio": ratio, "main": main_job, "half": half, "slow": slow, "send": send, "idle": idle, "stand": stand, "deflate": deflate}
# It stands in a place of its own.
ELSEWHERE = ["--only", "deflate"]


def tables(args):
    model = next((line.split(": ")[1] for line in open("/proc/cpuinfo") if line.startswith("model name")), "").strip()
    date = time.strftime("%F", time.gmtime())
    print(f"{date}, {os.cpu_count()} cores, {model}, Linux {os.uname().release}; printed by `{command(args)}`:")
    wanted = args.only or [name for name in TABLES if name not in ELSEWHERE]
    printed = {}
    # What a busy machine disturbs most comes last: it may have come to rest by then.
    for name in reversed([name for name in TABLES if name in wanted]):
        with contextlib.redirect_stdout(io.StringIO()) as table:
            TABLES[name](args)
        printed[name] = table.getvalue()
        print(printed[name], file=sys.stderr)
    for name in TABLES:
        if name in printed:
            print(f"\n{printed[name]}", end="")


def command(args):
    return " ".join(["benches/figures.py", *(a for a in sys.argv[1:] if a != "--write")])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", nargs="*", choices=TABLES)
    args = parser.parse_args()
    if not STOMPBOX.exists():
        subprocess.run(["cargo", "build", "--release", "--locked"], cwd=ROOT, check=True)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if not args.write:
        return tables(args)
    if args.only not in (None, ["deflate"]):
        sys.exit("--write puts in whole places: all tables, or --only deflate")
    times = [f"--{name}={getattr(args, name)}" for name in ("seconds", "runs") if getattr(args, name) != parser.get_default(name)]
    for only in [ELSEWHERE] if args.only else [[], ELSEWHERE]:
        out = subprocess.run([__file__, *only, *times], stdout=subprocess.PIPE, text=True, check=True).stdout
        print(out)
        put_into_readme(" ".join(["benches/figures.py", *only, "--write"]), out)


def put_into_readme(mark, out):
    place = re.compile(rf"(<!-- figures: {re.escape(mark)} -->\n).*?(<!-- end of figures -->\n)", re.DOTALL)
    readme = ROOT / "README.md"
    text = readme.read_text()
    if not place.search(text):
        sys.exit(f"README.md has no place for {mark}")
    readme.write_text(place.sub(lambda marks: marks[1] + out.rstrip() + "\n" + marks[2], text))


main()
