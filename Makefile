# Everything a developer runs. `make test` is the one command for all tests; .ci/run calls it too.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

FUZZTIME ?= 10s
RUN ?= .
# CI runs tests with deploy/again, which asks a test that fails once more.
GOTEST ?= go test
# Most of the end-to-end tests wait most of the time: so many of them at once.
PARALLEL ?= 4
# The race detector needs a C compiler. Without one the tests run without it, and say so.
RACE := $(shell command -v "$$(go env CC)" >/dev/null && echo -race)
BENCH ?=
VERSION ?=
OUT ?= dist
# Where the release's image takes its bases from: official = their registries, local = made on this machine, to try a release without them.
BASES ?= official

# Tests that miss a program (a browser, a proxy) write one line here instead of failing, unless CI=true or HEADGATE_REQUIRE_E2E=1.
export HEADGATE_SKIPPED := $(CURDIR)/.skipped

.PHONY: help test unit e2e check dev bench fuzz chart image cluster memory conntrack traefik picture proofs release sbom

help: ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 10

test: check ## everything: formatting, vet, all tests with the race detector, end to end with real parts
	@rm -f $(HEADGATE_SKIPPED)
	@if [ -z "$(RACE)" ]; then \
	  if [ "$${CI:-}" = true ] || [ "$${HEADGATE_REQUIRE_E2E:-}" = 1 ]; then echo 'A C compiler is missing for the race detector.'; exit 1; fi; \
	  echo 'race detector: not used, a C compiler is missing (apt-get install gcc libc6-dev)' >> $(HEADGATE_SKIPPED); fi
	$(GOTEST) $(RACE) ./...
	@# Ratios against the naive server, which the race detector would distort.
	$(GOTEST) -count=1 -run TestSuite_InSmallHeadgateBeatsTheNaiveServer ./bench
	$(GOTEST) -count=1 -run TestMemory_ ./bridge
	cd e2e && $(GOTEST) -count=1 -timeout 30m -parallel $(PARALLEL) ./...
	$(MAKE) --no-print-directory chart
	@if [ -s $(HEADGATE_SKIPPED) ]; then \
	  printf '\n%s checks did NOT run, for want of a program:\n' "$$(wc -l < $(HEADGATE_SKIPPED))"; sort $(HEADGATE_SKIPPED) | sed 's/^/  /'; \
	  printf 'On Debian: apt-get install chromium nginx-light haproxy caddy curl python3 nodejs npm prometheus iproute2\n'; rm -f $(HEADGATE_SKIPPED); \
	else echo 'Everything was tested.'; fi

unit: ## the tests that need nothing but Go
	go test $(RACE) ./...

e2e: ## the tests with real parts; RUN=TestChromium narrows them
	cd e2e && go test -count=1 -timeout 30m -parallel $(PARALLEL) -run '$(RUN)' -v ./...

check: ## formatting and vet
	@files=$$(gofmt -l .); if [ -n "$$files" ]; then printf 'not formatted, run gofmt -w:\n%s\n' "$$files"; exit 1; fi
	go vet ./...
	cd e2e && go vet ./...
	cd deploy/test && go vet ./...
	cd deploy/test/proxies && go vet ./...

chart: ## the Helm chart, alerts, dashboard and proxies' files, against Kubernetes' schemas, a running headgate and the proxies' own code
	cd deploy/test && $(GOTEST) -count=1 -timeout 30m -parallel $(PARALLEL) ./...
	cd deploy/test/proxies && $(GOTEST) -count=1 ./...

image: ## the image, built with buildah, run with podman and runc; as root. PLATFORMS="linux/amd64 linux/arm64" builds more
	deploy/test/image.sh $(PLATFORMS)

release: ## VERSION=1.2.3: archives for all platforms, lists of modules, the image and checksums, into OUT; as root. See docs/releasing.md
	go run ./deploy/release archives -version '$(VERSION)' -out '$(OUT)'
	go run ./deploy/release sbom -version '$(VERSION)' -out '$(OUT)'
	VERSION='$(VERSION)' OUT='$(OUT)' BASES='$(BASES)' deploy/test/image.sh linux/amd64 linux/arm64
	go run ./deploy/release checksums -out '$(OUT)'
	@cat '$(OUT)/SHA256SUMS'

sbom: ## what is in the program and in the image, as CycloneDX JSON, into OUT
	go run ./deploy/release sbom -version '$(VERSION)' -out '$(OUT)'

cluster: ## the chart on a real kube-apiserver, which takes minutes to build the first time; needs etcd
	cd deploy/test && HEADGATE_CLUSTER=1 $(GOTEST) -count=1 -timeout 60m -parallel $(PARALLEL) -run '^TestCluster' -v .

memory: ## the memory limit of docs/operations.md in a real cgroup, with 15,000 streams; as root
	deploy/test/memory.sh

picture: ## the pictures of the dashboard in docs, of a real run of some minutes; needs prometheus and chromium
	cd deploy/test && HEADGATE_PICTURE=$(or $(PICTURE),4m) go test -count=1 -timeout 30m -run '^TestDashboard_ShowsARealRun$$' -v .

conntrack: ## what streams are to the connection tracking of a node, in a network namespace; as root
	deploy/test/conntrack.sh

traefik: ## Traefik, built from its module, with its files of deploy/proxies in front of headgate; the first time some ten minutes
	deploy/test/traefik.sh

# A release is made from a clone that has been cut, so what that prints is kept by hand: docs/releasing.md.
proofs: ## writes what make image, memory, conntrack, traefik and cluster print into docs/proofs
	$(MAKE) --no-print-directory -s image PLATFORMS="linux/amd64 linux/arm64" > docs/proofs/image.txt
	$(MAKE) --no-print-directory -s memory > docs/proofs/memory.txt
	$(MAKE) --no-print-directory -s conntrack > docs/proofs/conntrack.txt
	$(MAKE) --no-print-directory -s traefik > docs/proofs/traefik.txt
	$(MAKE) --no-print-directory -s cluster PARALLEL=1 > docs/proofs/cluster.txt

dev: ## headgate with its own NATS, demo routes and the console page
	go run . -dev

bench: ## the benchmarks, with the naive server and the bare loop in the same run
	go run ./bench $(BENCH)

fuzz: ## every fuzz test for FUZZTIME
	@for pkg in $$(go list ./...); do \
	  for f in $$(go test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
	    echo "$$pkg $$f"; go test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) $$pkg; \
	  done; \
	done
