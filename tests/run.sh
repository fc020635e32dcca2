#!/usr/bin/env bash
# Every test there is: Rust, the page, the real clients (Node, Chromium, Python). `--lint` adds the lints.
# A step that fails does not stop the others; the last line counts all, and a failed step counts
# as one failure when it has none to count, so that "0 failed" and exit code 0 go together.
set -euo pipefail
cd "$(dirname "$0")/.."

main() {
  export CI=true NO_COLOR=1 CARGO_TERM_COLOR=never PIP_DISABLE_PIP_VERSION_CHECK=1
  find_rust
  mkdir -p "$logs"
  if [[ ${1:-} == --lint ]]; then
    # A minute for each of the four targets
    export FUZZ_SECONDS=${FUZZ_SECONDS:-240}
    step "format" cargo fmt --check
  fi
  step "page: build" tests/console.sh
  step "page: unit tests" npm --prefix console test
  step "release binary" cargo build --release --locked
  if [[ ${1:-} == --lint ]]; then
    step "clippy" cargo clippy --locked --all-targets -- -D warnings
    # tests/licences.rs is there without it.
    if cargo deny --version >/dev/null 2>&1; then step "cargo deny" run_deny; fi
    step "documentation" env RUSTDOCFLAGS=-Dwarnings cargo doc --locked --no-deps
  fi
  step "cargo test" env STOMPBOX_BIN="$PWD/target/release/stompbox" timeout 1200 cargo test --locked --workspace --no-fail-fast
  step "tools of the clients" install_tools
  step "clients in Node and Chromium" timeout 600 npm --prefix tests/clients test
  step "clients in Python" run_python
  report
}

# Runs a command under a heading, with its output on the screen and in a file; notes what it counted.
step() {
  local name=$1 log passed failed
  shift
  log="$logs/${name//[^a-z]/-}.log"
  printf '\n=== %s\n' "$name"
  local code start=$SECONDS
  set +e
  (set -e; "$@") 2>&1 </dev/null | tee "$log"
  code=${PIPESTATUS[0]}
  set -e
  read -r passed failed < <(count <"$log")
  if ((code != 0 && failed == 0)); then failed=1; fi
  total_passed=$((total_passed + passed))
  total_failed=$((total_failed + failed))
  summary+=("$(printf '%-30s %5d passed %4d failed %5d s' "$name" "$passed" "$failed" $((SECONDS - start)))")
  if ((code != 0)); then broken+=("$name (exit code $code)"); fi
}

# "PASSED FAILED" of what cargo, node and unittest print.
count() {
  awk '
    /^test result:/ { for (i = 2; i <= NF; i++) { if ($i ~ /^passed/) passed += $(i - 1); if ($i ~ /^failed/) failed += $(i - 1) } }
    /^# pass [0-9]+$/ { passed += $3 }
    /^# (fail|cancelled) [0-9]+$/ { failed += $3 }
    /^Ran [0-9]+ tests? in/ { passed += $2 }
    /^FAILED \(/ {
      while (match($0, /(failures|errors)=[0-9]+/)) {
        split(substr($0, RSTART, RLENGTH), part, "="); failed += part[2]; passed -= part[2]; $0 = substr($0, RSTART + RLENGTH)
      }
    }
    END { print passed + 0, failed + 0 }'
}

install_tools() {
  if [[ ! -x ${CHROMIUM:-/usr/bin/chromium} ]]; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium
  fi
  if [[ ! -x /usr/sbin/nginx ]] && ! command -v nginx >/dev/null; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends nginx-light
  fi
  if [[ ! tests/clients/node_modules/.package-lock.json -nt tests/clients/package-lock.json ]]; then
    npm --prefix tests/clients ci --no-audit --no-fund
  fi
  if [[ ! -x target/venv/bin/python ]]; then python3 -m venv target/venv; fi
  target/venv/bin/python -m pip install --quiet --requirement tests/clients/python/requirements.txt
}

# What is known against dependencies is published by GitHub, which not every machine can ask.
run_deny() {
  cargo deny --locked check licenses bans sources
  if timeout 120 cargo deny --locked fetch db >/dev/null 2>&1; then
    cargo deny --locked check advisories
    if cargo audit --version >/dev/null 2>&1; then cargo audit --deny warnings; fi
  else
    echo "advisories: not checked; their database cannot be had"
  fi
}

run_python() {
  cd tests/clients/python
  timeout 300 ../../../target/venv/bin/python -m unittest --verbose
}

# A shell with another HOME still finds the toolchain that its PATH points to.
find_rust() {
  if ! command -v cargo >/dev/null && [[ -x $HOME/.cargo/bin/cargo ]]; then PATH="$HOME/.cargo/bin:$PATH"; fi
  local home
  home=$(dirname "$(dirname "$(dirname "$(command -v cargo || echo /nowhere/bin/cargo)")")")
  if [[ -z ${RUSTUP_HOME:-} && ! -d $HOME/.rustup && -d $home/.rustup ]]; then export RUSTUP_HOME="$home/.rustup"; fi
}

report() {
  printf '\n=== summary\n'
  printf '%s\n' "${summary[@]}"
  if ((${#broken[@]} > 0)); then printf 'FAILED: %s\n' "${broken[@]}"; fi
  printf '%d passed, %d failed\n' "$total_passed" "$total_failed"
  ((total_failed == 0))
}

logs=target/test-logs
total_passed=0
total_failed=0
summary=()
broken=()
main "$@"
