#!/usr/bin/env bash
# The memory limit of docs/operations.md, tried: headgate in a memory cgroup of its own, as a container has one, with the limit that the
# formula gives for so many streams and half of it as GOMEMLIMIT. The streams' other ends are outside of it. They all open, nothing is
# killed, and what the kernel charges for a stream is said.
#
# The charges of sockets are switched on, as they always are with cgroup v2. Tried with v1; on v2 the same files have other names. Where
# no group can be made, or there are too few descriptors, it says so and is no failure.
# On Debian: apt-get install python3 curl. As root.
set -euo pipefail
cd "$(dirname "$0")/../.."
. deploy/test/lib.sh

need python3 curl go
streams=${STREAMS:-15000}
ulimit -n "$(ulimit -Hn)"
[ "$(ulimit -n)" -gt $((streams + 200)) ] || lacks "at most $(ulimit -n) open files: STREAMS=$(($(ulimit -n) - 500)) $0"

work=$(mktemp -d "${TMPDIR:-/tmp}/headgate-memory-XXXXXX")
if [ -e /sys/fs/cgroup/memory/memory.usage_in_bytes ]; then
  group=/sys/fs/cgroup/memory/headgate-memory-$$
  mkdir "$group" || lacks "no memory group can be made in /sys/fs/cgroup/memory"
  echo $((1 << 40)) > "$group/memory.kmem.tcp.limit_in_bytes" || { rmdir "$group"; lacks "the kernel does not charge sockets to memory groups"; }
  limit() { echo "$1" > "$group/memory.limit_in_bytes"; }
  all() { cat "$group/memory.usage_in_bytes"; }
  own() { awk '$1 == "rss" { print $2 }' "$group/memory.stat"; }
else
  grep -qsw memory /sys/fs/cgroup/cgroup.subtree_control || lacks "no memory controller for groups in /sys/fs/cgroup"
  group=/sys/fs/cgroup/headgate-memory-$$
  mkdir "$group" || lacks "no group can be made in /sys/fs/cgroup"
  limit() { echo "$1" > "$group/memory.max"; }
  all() { cat "$group/memory.current"; }
  own() { awk '$1 == "anon" { print $2 }' "$group/memory.stat"; }
fi
cleanup() {
  stop_all
  local i
  for ((i = 0; i < 50; i++)); do rmdir "$group" 2>/dev/null && break || sleep 0.1; done
  rm -rf "$work"
}
trap cleanup EXIT

cat > "$work/clients.py" <<'PY'
import socket, sys, time
count, port, own = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "own"
open_ = []
for i in range(count):
    # An address for every 3,000, so that source ports suffice.
    s = socket.create_connection(("127.0.0.1", port), source_address=("127.0.7.%d" % (2 + i // 3000), 0))
    path = "/v1/prices/S%d" % i if own else "/v1/prices/ACME"
    s.sendall(("GET %s HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n" % path).encode())
    open_.append(s)
    if i % 200 == 199:
        for s in open_[-200:]:
            s.recv(4096)
time.sleep(600)
PY

start_nats "$work"
go build -tags nodev -o "$work/headgate" .
# docs/operations.md, Capacity, without messages to keep and with clients that all read.
go_half=$((20 * 1048576 + streams * 2048)) kernel_half=$((streams * 41 * 1024 / 10))
half=$((go_half > kernel_half ? go_half : kernel_half))
limit $((2 * half))
say "kernel $(uname -r), $streams quiet streams, plain HTTP/1.1, memory limit $(mib $((2 * half))), GOMEMLIMIT half of it"
for subjects in shared own; do
  http=$(free_port) admin=$(free_port)
  bash -c "echo \$\$ > $group/cgroup.procs; exec \"\$@\"" - env AUTH_MODE=none NATS_URL="nats://127.0.0.1:$nats_port" HTTP_ADDR="127.0.0.1:$http" \
    ADMIN_ADDR="127.0.0.1:$admin" ROUTES_FILE=deploy/test/testdata/routes.yaml GOMEMLIMIT="$half" SHUTDOWN_DELAY=0s "$work/headgate" 2>"$work/log" &
  follow $!
  until_ok "readiness" curl -fsS -o /dev/null "http://127.0.0.1:$admin/readyz" || die "$(tail -3 "$work/log")"
  before=$(all) ownbefore=$(own)
  python3 "$work/clients.py" "$streams" "$http" "$subjects" &
  follow $!
  open() { curl -s "http://127.0.0.1:$admin/metrics" | grep -qx "headgate_delivery_streams $streams"; }
  until_ok "$streams streams are open" open || until_ok "$streams streams are open" open || die "they do not open: $(tail -3 "$work/log")"
  now=$(all) ownnow=$(own)
  say "subjects $subjects: $(mib "$now") charged, $(mib "$ownnow") of them headgate's own memory;" \
    "the kernel's part is $(((now - before - ownnow + ownbefore) / streams)) bytes a stream"
  expect "the kernel's part is below 4.1 KiB a stream" [ $(((now - before - ownnow + ownbefore) / streams)) -lt 4198 ]
  expect "headgate's own memory is below GOMEMLIMIT" [ "$ownnow" -lt "$half" ]
  kill -9 "${children[1]}" "${children[2]}"
  wait "${children[1]}" "${children[2]}" 2>/dev/null || true
  children=("${children[0]}")
done
finish
