# What the scripts in this directory share. Sourced from the repository's root; the caller has set $work.
checks=0 children=() nats_port=

say() { printf '%s\n' "$*"; }
die() { printf 'FAILED: %s\n' "$*" >&2; exit 1; }

# need ends with what to install when a program is missing. CI must have all of them.
need() {
  local p
  for p in "$@"; do command -v "$p" >/dev/null || die "$p is missing; the head of this script says what to install"; done
}

# lacks WHAT ends with success where it is the machine that cannot do what the script needs. It is said at the end of CI once more.
lacks() {
  say "NOT TRIED, this machine lacks something: $*"
  [ -z "${HEADGATE_SKIPPED:-}" ] || printf '%s: not tried: %s\n' "$(basename "$0")" "$*" >>"$HEADGATE_SKIPPED"
  exit 0
}

# expect NAME COMMAND…
expect() {
  local what=$1 text
  shift
  text=$("$@" 2>&1) || die "$what: $* ${text:+($text)}"
  checks=$((checks + 1))
  say "ok    $what"
}

# until_ok NAME COMMAND… tries for half a minute.
until_ok() {
  local what=$1 i
  shift
  for ((i = 0; i < 300; i++)); do
    if "$@" >/dev/null 2>&1; then
      checks=$((checks + 1))
      say "ok    $what"
      return 0
    fi
    sleep 0.1
  done
  return 1
}

# follow PID: it is ended with the script.
follow() { children+=("$1"); }

stop_all() {
  local p
  for p in "${children[@]}"; do kill "$p" 2>/dev/null || true; done
  for p in "${children[@]}"; do wait "$p" 2>/dev/null || true; done
  children=()
}

free_port() {
  local p
  for ((;;)); do
    p=$((20000 + RANDOM % 10000))
    (exec 3<>"/dev/tcp/127.0.0.1/$p") 2>/dev/null || { echo "$p"; return; }
  done
}

mib() { awk -v n="$1" 'BEGIN { printf "%.1f MiB", n / 1048576 }'; }

# start_nats DIR: a real nats-server with JetStream, the one that the end-to-end tests use.
start_nats() {
  nats_port=$(free_port)
  (cd e2e && go build -o "$1/nats-server" github.com/nats-io/nats-server/v2)
  "$1/nats-server" -a 127.0.0.1 -p "$nats_port" -js -sd "$1/jetstream" >"$1/nats.log" 2>&1 &
  follow $!
  until_ok "nats-server $("$1/nats-server" -v | sed "s/.*: //") listens" bash -c ": <>/dev/tcp/127.0.0.1/$nats_port" ||
    die "nats-server does not start: $(tail -3 "$1/nats.log")"
}

# publish SUBJECT TEXT, in the text protocol of NATS.
publish() {
  exec 3<>"/dev/tcp/127.0.0.1/$nats_port"
  printf 'CONNECT {"verbose":false}\r\nPUB %s %d\r\n%s\r\nPING\r\n' "$1" "${#2}" "$2" >&3
  timeout 5 grep -qm1 PONG <&3 || die "NATS does not answer a publish"
  exec 3>&-
}

finish() {
  stop_all
  printf '%d passed, 0 failed\n' "$checks"
}
