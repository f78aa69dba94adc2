#!/usr/bin/env bash
# Builds Traefik from the sources that Go's module proxy has, and lets it run with the files of deploy/proxies in front of headgate: e2e/traefik_test.go.
# The first time this takes some ten minutes of two cores.
#
# Not all that Traefik needs is published as modules. What this leaves out has no part in a request that passes through: the clients of DNS
# providers for certificates by ACME, the checking of passwords for basic and digest authentication, and the dashboard.
set -euo pipefail
cd "$(dirname "$0")/../.."
. deploy/test/lib.sh

need go
work=$(mktemp -d "${TMPDIR:-/tmp}/headgate-traefik-XXXXXX")
cleanup() { chmod -R u+w "$work"; rm -rf "$work"; }
trap cleanup EXIT

# sources MODULE DIRECTORY, as MODULE is required by the module of the directory that we are in.
sources() {
  go mod download "$1"
  cp -r "$(go list -m -f '{{.Dir}}' "$1")" "$2"
  chmod -R u+w "$2"
}

(cd deploy/test/proxies && sources github.com/traefik/traefik/v3 "$work/traefik")
version=$(cd deploy/test/proxies && go list -m -f '{{.Version}}' github.com/traefik/traefik/v3)
cp -r deploy/test/proxies/ext "$work/traefik/pkg/config/dynamic/ext"
mkdir -p "$work/traefik/webui/static"
touch "$work/traefik/webui/static/nothing"
(
  cd "$work/traefik"
  sources github.com/go-acme/lego/v5 "$work/lego"
  cat > "$work/lego/providers/dns/zz_gen_dns_providers.go" <<'GO'
package dns

import (
	"errors"

	"github.com/go-acme/lego/v5/challenge"
)

func NewDNSChallengeProviderByName(string) (challenge.Provider, error) {
	return nil, errors.New("built without providers")
}
GO
  # Traefik has a fork of this one, with a name more and a method more.
  go mod edit -replace github.com/go-acme/lego/v5="$work/lego" -replace github.com/abbot/go-http-auth=github.com/abbot/go-http-auth@v0.4.0
  sed -i 's/goauth\.CheckSecret/func(string, string) bool { return false }/' pkg/middlewares/auth/basic_auth.go
  sed -i 's/\.RequireAuthStale(/.RequireAuth(/' pkg/middlewares/auth/digest_auth.go
  CGO_ENABLED=0 go build -mod=mod -trimpath -ldflags "-X github.com/traefik/traefik/v3/pkg/version.Version=${version#v}" -o "$work/bin" ./cmd/traefik
)
say "Traefik $("$work/bin" version | sed -n 's/^Version: *//p'), built with $(go env GOVERSION)"
(cd e2e && CI=true HEADGATE_TRAEFIK="$work/bin" go test -count=1 -timeout 10m -run '^TestTraefik_' -v .) > "$work/log" 2>&1 ||
  { grep -v '\[INF\]' "$work/log" >&2; die "see above"; }
for name in $(grep -oE '^func TestTraefik_\w+' e2e/traefik_test.go | cut -d' ' -f2); do
  expect "$name" grep -q "^--- PASS: $name " "$work/log"
done
finish
