#!/usr/bin/env bash
# Builds the page into console/dist, from where the release binary takes it. Without Node the broker
# is built and runs all the same; it then has no page.
set -euo pipefail
cd "$(dirname "$0")/../console"

if ! command -v npm >/dev/null; then
  mkdir -p dist
  echo "npm is not installed (Node 20.19 or newer): the broker will have no page at /" >&2
  exit 0
fi
if [[ ! node_modules/.package-lock.json -nt package-lock.json ]]; then
  npm ci --no-audit --no-fund
fi
npm run build
