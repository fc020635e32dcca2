#!/usr/bin/env bash
# What the micro-benchmarks cost in CPU instructions, counted by callgrind: a busy machine changes
# nothing. More than 5 % above instructions.txt is reported, and the exit code is 1.
#
#   benches/instructions.sh             compares
#   benches/instructions.sh --write     writes instructions.txt anew; say why in the commit
#
# Another compiler makes other instructions: the baseline names the one it was made with. Needs
# valgrind and python3.
set -euo pipefail
cd "$(dirname "$0")/.."
bench=$(cargo bench --locked --bench instructions --no-run --message-format json 2>/dev/null |
    python3 -c 'import json, sys
print([m["executable"] for m in map(json.loads, sys.stdin) if m.get("executable") and m["target"]["name"] == "instructions"][-1])')

count() { # instructions of one run of that many rounds
    valgrind --tool=callgrind --callgrind-out-file=/dev/null "$bench" "$1" "$2" 2>&1 >/dev/null |
        sed -n 's/.*Collected : //p'
}

# Twice, and the difference: what the program needs to begin is in both.
counts=$(for name in $("$bench"); do
    few=$(count "$name" 10)
    many=$(count "$name" 110)
    echo "$name $(((many - few) / 100))"
done)
compiler=$(rustc --version)
if [[ ${1:-} == --write ]]; then
    { echo "# $compiler; instructions of one round"; echo "$counts"; } >benches/instructions.txt
fi
python3 - "$compiler" "$counts" <<'END'
import sys
head, *lines = open("benches/instructions.txt").read().splitlines()
before = {name: int(count) for name, count in map(str.split, lines)}
if sys.argv[1] not in head:
    print(f"the baseline is of another compiler: {head[2:]}; here it is {sys.argv[1]}")
worse = 0
for name, now in map(str.split, sys.argv[2].splitlines()):
    now, then = int(now), before.pop(name, None)
    change = "new" if then is None else f"{(now - then) / max(then, 1):+.1%}"
    is_worse = then is not None and now > then * 1.05
    worse += is_worse
    print(f"{name:<30} {now:>9} {change:>8}{'  REGRESSION' if is_worse else ''}")
for name in before:
    print(f"{name:<30} is gone")
sys.exit(worse > 0)
END
