#!/usr/bin/env bash
# Autobahn's 517 WebSocket cases against examples/websocket_echo.rs; says which are not passed.
#
#   tests/autobahn.sh [CASES…]     such as 12.* 6.4.1; default all, which takes some ten minutes
#   tests/autobahn.sh --record     all, and keeps the summary in fixtures/autobahn.json
#
# The suite is Python 2: `pip install autobahntestsuite` in a virtualenv of Python 2.7, and its
# wstest on the PATH or named by WSTEST.
set -euo pipefail
cd "$(dirname "$0")/.."
wstest=${WSTEST:-wstest}
record=false
if [[ ${1:-} == --record ]]; then record=true; shift; fi
if (($# == 0)); then set -- "*"; fi

cargo build --release --locked --example websocket_echo
folder=$(mktemp -d)
target/release/examples/websocket_echo 127.0.0.1:0 2>"$folder/echo.log" & echo=$!
trap 'kill $echo 2>/dev/null; rm -rf "$folder"' EXIT
until url=$(grep -o 'ws://[^ ]*' "$folder/echo.log"); do
  kill -0 $echo
  sleep 0.1
done

python3 - "$folder" "$url" "$@" <<'PYTHON'
import json, sys
folder, url, *cases = sys.argv[1:]
spec = {"outdir": f"{folder}/reports", "servers": [{"agent": "stompbox", "url": url}],
        "cases": cases, "exclude-cases": [], "exclude-agent-cases": {}}
json.dump(spec, open(f"{folder}/spec.json", "w"))
PYTHON
"$wstest" -m fuzzingclient -s "$folder/spec.json" >"$folder/wstest.log" 2>&1

python3 - "$folder" "$record" <<'PYTHON'
import collections, json, sys
folder, record = sys.argv[1:]
cases = json.load(open(f"{folder}/reports/index.json"))["stompbox"]
order = sorted(cases, key=lambda case: [int(part) for part in case.split(".")])
results = {case: [cases[case]["behavior"], cases[case]["behaviorClose"]] for case in order}
bad = [case for case in order if not set(results[case]) <= {"OK", "INFORMATIONAL"}]
for case in bad:
    print(case, *results[case])
print(len(results), "cases:", dict(collections.Counter(behaviour for behaviour, _ in results.values())))
if record == "true":
    lines = ",\n".join(f"  {json.dumps(case)}: {json.dumps(result)}" for case, result in results.items())
    open("fixtures/autobahn.json", "w").write("{\n" + lines + "\n}\n")
sys.exit(len(bad) > 0)
PYTHON
