# make run [DEMO=1] [ARGS="--listen 0.0.0.0:8080"]   builds everything and serves http://127.0.0.1:8080
# make test                                            every test there is; the last line counts them
# make console                                         the page alone, into console/dist
# make screenshot                                      console/screenshot.png, from the demo
# make bench                                           what a delivery and a connection cost, into README.md; not in CI
# make microbench                                      what decoding, encoding, routing, quoting and taking an event cost; not in CI
# make ci                                              test, and the lints

.PHONY: run test console screenshot bench microbench ci

run: console
	cargo build --release
	target/release/stompbox serve $(if $(DEMO),--demo) $(ARGS)

test:
	tests/run.sh

bench:
	cargo build --release --locked
	benches/figures.py --write

microbench:
	cargo bench --bench stomp --bench events

ci:
	.ci/run

console:
	tests/console.sh

screenshot: console
	cargo build --release
	cd tests/clients && npm ci --no-audit --no-fund && npm run screenshot
