# Front door for people and for CI; meson does the work.
BUILD ?= build
PROGRAM = $(BUILD)/daemon/peerscope
FUZZ_SECONDS ?= 60
PACKAGES = build-essential meson ninja-build pkg-config python3 libuv1-dev libsodium-dev libsqlite3-dev zlib1g-dev \
	libprotobuf-c-dev protobuf-c-compiler libjansson-dev libconfuse-dev libcurl4-openssl-dev libarchive-dev uthash-dev libdw-dev libssl-dev libunwind-dev node-llhttp \
	libcmocka-dev libnatpmp-dev libminiupnpc-dev
# What only some tests want, and skip without: other DHT nodes, another DNS-SD daemon, a router, readers of profiles. .ci/run installs them.
CI_PACKAGES = chromium codespell python3-libtorrent avahi-daemon avahi-utils dbus iproute2 nftables procps util-linux curl google-perftools libjemalloc2 prometheus \
	$(if $(shell command -v npm),,nodejs npm) $(if $(shell command -v go),,golang-go)
# A data folder of one's own: make run DATA=/some/folder
DATA_FLAG = $(if $(DATA),--data $(DATA))

.PHONY: all deps ci-deps build run demo check browser interop gates sanitize bench fuzz install clean

all: build

# Nothing is asked and nothing is installed when everything is there.
install_missing = @missing=""; for p in $(1); do \
		dpkg-query -W -f '$${Status}\n' $$p 2>/dev/null | grep -q '^install ok installed' || missing="$$missing $$p"; done; \
	if [ -n "$$missing" ]; then \
		sudo=""; [ "$$(id -u)" = 0 ] || sudo=sudo; \
		echo "Installing Debian packages$${sudo:+ (with sudo)}:$$missing"; \
		$$sudo apt-get install -y --no-install-recommends $$missing || \
			{ $$sudo apt-get update && $$sudo apt-get install -y --no-install-recommends $$missing; }; \
	fi

deps:
	$(call install_missing,$(PACKAGES))

ci-deps: deps
	$(call install_missing,$(CI_PACKAGES))

$(BUILD)/build.ninja:
	meson setup $(BUILD)

build: deps $(BUILD)/build.ninja
	@ninja -C $(BUILD) programs

# The daemon in the foreground; a hint what to try next as soon as it answers.
run: build
	@{ $(PROGRAM) wait $(DATA_FLAG) --ready 30s && $(PROGRAM) status $(DATA_FLAG) && printf '%s\n' '' \
		'Open the debug address above in a browser. In another terminal:' \
		'  $(PROGRAM) publish FOLDER $(DATA_FLAG)' \
		'  $(PROGRAM) discover IRI --trace $(DATA_FLAG)' \
		'  $(PROGRAM) help' \
		'Ctrl-C here ends the daemon.' ''; } & \
	exec $(PROGRAM) daemon $(DATA_FLAG)

# Two daemons on this machine: publish on one, get on the other, compare, show where the time went.
demo: build
	@PEERSCOPE=$(PROGRAM) tests/integration/demo.sh

check: deps $(BUILD)/build.ninja browser interop
	@ninja -C $(BUILD)
	@meson test -C $(BUILD) --print-errorlogs; python3 .ci/summary.py $(BUILD)

# The pages are tested in a real browser where node (20 or newer) and Chromium are; elsewhere those tests are skipped.
browser: $(BUILD)/build.ninja
	@if command -v npm >/dev/null && command -v chromium >/dev/null && \
		! cmp -s tests/browser/package-lock.json $(BUILD)/browser/package-lock.json; then \
		mkdir -p $(BUILD)/browser && cp tests/browser/package.json tests/browser/package-lock.json $(BUILD)/browser/ && \
		(cd $(BUILD)/browser && npm ci --no-audit --no-fund --silent) || rm -f $(BUILD)/browser/package-lock.json; fi

# npm's DHT node, small, for tests/interop; without npm they do without it.
interop: $(BUILD)/build.ninja
	@if command -v npm >/dev/null && ! cmp -s tests/interop/package-lock.json $(BUILD)/interop/package-lock.json; then \
		mkdir -p $(BUILD)/interop && cp tests/interop/package.json tests/interop/package-lock.json $(BUILD)/interop/ && \
		(cd $(BUILD)/interop && npm ci --no-audit --no-fund --silent) || rm -f $(BUILD)/interop/package-lock.json; fi

# Both compilers without a warning, and everything but the real daemons under the sanitizers.
gates: deps
	@.ci/gates

# The same under AddressSanitizer and UndefinedBehaviorSanitizer.
sanitize: deps
	@[ -f $(BUILD)-asan/build.ninja ] || meson setup $(BUILD)-asan -Db_sanitize=address,undefined -Db_lundef=false
	@ninja -C $(BUILD)-asan
	@meson test -C $(BUILD)-asan --print-errorlogs -t 5; python3 .ci/summary.py $(BUILD)-asan

bench: deps $(BUILD)/build.ninja
	@ninja -C $(BUILD)
	@for b in $(BUILD)/tests/bench/bench_*; do [ -x $$b ] && [ -f $$b ] || continue; echo "== $${b##*/}"; $$b || exit 1; done

fuzz: deps
	@command -v clang >/dev/null || { [ "$$(id -u)" = 0 ] || sudo=sudo; $$sudo apt-get install -y clang; }
	@[ -f $(BUILD)-fuzz/build.ninja ] || \
		CC=clang meson setup $(BUILD)-fuzz -Dfuzz=true -Db_sanitize=address,undefined -Db_lundef=false
	@ninja -C $(BUILD)-fuzz
	@for f in $(BUILD)-fuzz/tests/fuzz/fuzz_*; do [ -x $$f ] && [ -f $$f ] || continue; n=$${f##*/fuzz_}; \
		mkdir -p $(BUILD)-fuzz/corpus/$$n; echo "== $$n"; \
		$$f -max_total_time=$(FUZZ_SECONDS) -print_final_stats=1 $(BUILD)-fuzz/corpus/$$n tests/fuzz/corpus/$$n || exit 1; done

install: deps $(BUILD)/build.ninja
	meson install -C $(BUILD)

clean:
	rm -rf $(BUILD) $(BUILD)-asan $(BUILD)-fuzz
