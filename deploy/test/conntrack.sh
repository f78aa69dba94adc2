#!/usr/bin/env bash
# What streams are to the connection tracking of a node: how many entries, how large, and whether heartbeats keep them. In a network
# namespace of its own, with a firewall rule that switches tracking on, as those of Kubernetes do, and with a timeout of seconds.
#
# Where there can be no such namespace, or the kernel tracks no connections in it, it says so and is no failure.
# On Debian: apt-get install python3 curl iproute2 iptables. As root.
set -euo pipefail
cd "$(dirname "$0")/../.."
. deploy/test/lib.sh

need python3 curl go ip iptables unshare
if [ -z "${HEADGATE_NETNS:-}" ]; then
  unshare -n true || lacks "no network namespace can be made"
  HEADGATE_NETNS=1 exec unshare -n deploy/test/conntrack.sh
fi
streams=${STREAMS:-5000}
ulimit -n "$(ulimit -Hn)"
work=$(mktemp -d "${TMPDIR:-/tmp}/headgate-conntrack-XXXXXX")
trap 'stop_all; rm -rf "$work"' EXIT
tracking=/proc/sys/net/netfilter

ip link set lo up
iptables -A INPUT -m conntrack --ctstate NEW -j ACCEPT || lacks "no firewall rule that tracks connections"
[ -r /proc/net/nf_conntrack ] || lacks "/proc/net/nf_conntrack"
[ -w $tracking/nf_conntrack_tcp_timeout_established ] || lacks "timeouts of connection tracking cannot be set in a namespace"
echo 5 > $tracking/nf_conntrack_tcp_timeout_established # 432000 by default
for state in close close_wait fin_wait last_ack time_wait; do echo 1 > $tracking/nf_conntrack_tcp_timeout_$state; done

cat > "$work/clients.py" <<'PY'
import selectors, socket, sys, time
count, port, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
wait = selectors.DefaultSelector()
for i in range(count):
    s = socket.create_connection(("127.0.0.1", port))
    s.sendall(b"GET /v1/prices/ACME HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n")
    s.setblocking(False)
    wait.register(s, selectors.EVENT_READ)
end = time.time() + seconds
while time.time() < end:
    for key, _ in wait.select(0.2):
        if not key.fileobj.recv(65536):
            sys.exit("a stream has ended")
PY

# entries are those of the namespace; publishing, probes and NATS have some of them. /proc/net/nf_conntrack leaves out
# what has expired; nf_conntrack_count has it until the kernel has swept, up to minutes later.
entries() { wc -l < /proc/net/nf_conntrack; }
fewer() { [ "$(entries)" -lt "$1" ]; }

start_nats "$work"
go build -tags nodev -o "$work/headgate" .
say "kernel $(uname -r), $streams silent streams, an entry is forgotten after 5 s without a packet"
for heartbeat in 2s 60s; do
  until_ok "no entries of before are left" fewer 50 || die "there are $(entries)"
  before=$(entries)
  http=$(free_port) admin=$(free_port)
  AUTH_MODE=none NATS_URL="nats://127.0.0.1:$nats_port" HTTP_ADDR="127.0.0.1:$http" ADMIN_ADDR="127.0.0.1:$admin" SSE_HEARTBEAT=$heartbeat \
    ROUTES_FILE=deploy/test/testdata/routes.yaml SHUTDOWN_DELAY=0s "$work/headgate" 2>"$work/log" &
  follow $!
  until_ok "readiness" curl -fsS -o /dev/null "http://127.0.0.1:$admin/readyz" || die "$(tail -3 "$work/log")"
  python3 "$work/clients.py" "$streams" "$http" 22 &
  follow $!
  open() { curl -s "http://127.0.0.1:$admin/metrics" | grep -qx "headgate_delivery_streams $streams"; }
  until_ok "$streams streams are open" open || die "they do not open: $(tail -3 "$work/log")"
  say "entries with a heartbeat every $heartbeat: $before before, $(entries) when all are open;" \
    "$(awk '$1 == "nf_conntrack" { print $4 " bytes for one in the kernel" }' /proc/slabinfo), $(cat $tracking/nf_conntrack_max) at most"
  sleep 12 # more than twice the timeout; nothing else tells that an entry is not going to be forgotten
  kept=$(entries)
  say "12 s later: $kept"
  if [ $heartbeat = 2s ]; then
    expect "heartbeats keep every entry" [ "$kept" -ge "$streams" ]
  else
    expect "without heartbeats the entries are forgotten" [ "$kept" -lt $((streams / 10)) ]
  fi
  wait "${children[2]}" || die "a client failed"
  kill -9 "${children[1]}"
  wait "${children[1]}" 2>/dev/null || true
  children=("${children[0]}")
done
finish
