#!/usr/bin/env bash
# What a delivery costs beyond the floor: the broker and a bare epoll loop, in turn, in one run.
#
#   benches/ratio.sh [SECONDS]     3 runs of that many seconds (default 5) for each row
#
# The servers run on one core, the load generator on another. Machines are shared and noisy: read
# the ratio, not the microseconds. Needs taskset (util-linux), python3 and a release build.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-5}
stompbox=target/release/stompbox
[[ -x $stompbox ]] || cargo build --release
ulimit -n "$(ulimit -Hn)"

taskset -c 0 "$stompbox" serve --shards 1 --listen 127.0.0.1:18080 --tcp-listen "" --log-level warn & broker=$!
taskset -c 0 "$stompbox" bench floor --listen 127.0.0.1:18081 & floor=$!
trap 'kill $broker $floor 2>/dev/null; wait' EXIT
sleep 1

load() { taskset -c 1 "$stompbox" bench "$@" --json --duration "$seconds"; }

row() {
  local name=$1 transport=$2 floor_transport=$3
  shift 3
  for _ in 1 2 3; do
    load fanout --target 127.0.0.1:18080 --pid $broker --transport "$transport" "$@"
    load fanout --target 127.0.0.1:18081 --pid $floor --transport "$floor_transport" "$@"
  done | python3 -c '
import json, statistics, sys
runs = [json.loads(line) for line in sys.stdin]
cpu = [run["broker"]["cpu_us_per_delivery"] for run in runs]
ours, floor = cpu[0::2], cpu[1::2]
ratio = statistics.median(a / b for a, b in zip(ours, floor))
lost = sum(run["lost"] + run["duplicated"] + run["reordered"] for run in runs[0::2])
p99 = statistics.median(run["latency_ms"]["p99"] for run in runs[0::2])
print(f"| {sys.argv[1]} | {statistics.median(ours):.2f} | {statistics.median(floor):.2f} | {ratio:.2f} | {p99:.1f} | {lost} |")' "$name"
}

# On a broker of its own, which has used no memory yet.
idle() {
  local transport=$1 connections=$2 fresh
  taskset -c 0 "$stompbox" serve --shards 1 --listen 127.0.0.1:18082 --tcp-listen "" --log-level warn & fresh=$!
  sleep 1
  load idle --target 127.0.0.1:18082 --pid $fresh --transport "$transport" --subscribers "$connections" | python3 -c '
import json, sys
run = json.load(sys.stdin)
memory, connections = run["broker"]["resident_kib_per_connection"], run["connections"]
cpu = run["broker"]["cores"] * 1e6 / connections
print(f"| {sys.argv[1]} | {connections} | {memory:.2f} | {cpu:.2f} |")' "$transport"
  kill $fresh
  wait $fresh
}

echo "$(date -u +%F), $(nproc) cores, $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1), benches/ratio.sh $seconds"
echo
echo "| 1,000 subscribers | broker, µs CPU per delivery | floor, µs | ratio | p99, ms | lost, doubled, out of order |"
echo "|---|---|---|---|---|---|"
for size in 100 1000 30000; do row "WebSocket, $size B" ws ws --size "$size"; done
for size in 100 1000; do row "WebSocket, $size B, ten at once" ws ws --size "$size" --burst 10; done
row "WebSocket, 1000 B, 100 subscription ids" ws ws --size 1000 --ids 100
row "SockJS websocket, 30000 B" sockjs-websocket sockjs-websocket --size 30000
row "SockJS xhr_streaming, 30000 B" sockjs-xhr-streaming ws --size 30000
echo
echo "| at rest | connections | KiB each | µs CPU a second each |"
echo "|---|---|---|---|"
idle ws 5000
idle sockjs-websocket 5000
idle sockjs-xhr-streaming 5000
