#!/usr/bin/env bash
# Builds the image with buildah and runs it with podman and runc as a cluster would: read-only, no capabilities, user 65532. A stream
# of a real NATS server is read through it, and it is drained. Needs no registry and no daemon.
#
# The two bases are made here under their official names, since they may be out of reach: a shell beside this machine's Go in place of
# golang, and certificates and a passwd file in place of distroless. What the Dockerfile does with them is what it does with the real ones.
# The commands are those of docs/operations.md, with buildah and podman in the place of Docker.
#
#   deploy/test/image.sh                       for this machine's platform
#   deploy/test/image.sh linux/amd64 linux/arm64   the others are built too, and not run
#   VERSION=1.2.3 OUT=dist deploy/test/image.sh    says that version, and keeps the images there, for docker load and podman load
#   BASES=official deploy/test/image.sh            on the bases that the Dockerfile names, from their registries
#
# On Debian: apt-get install buildah podman runc busybox-static curl. As root.
set -euo pipefail
cd "$(dirname "$0")/../.."
. deploy/test/lib.sh

need buildah podman runc busybox curl go
native=linux/$(go env GOARCH)
platforms=("$@")
[ ${#platforms[@]} -gt 0 ] || platforms=("$native")
[[ " ${platforms[*]} " == *" $native "* ]] || die "name $native too: it is what can be run here"

work=$(mktemp -d "${TMPDIR:-/tmp}/headgate-image-XXXXXX")
# Storage of our own: neither the machine's images nor its settings play a part, and nothing is left.
store=(--root "$work/store" --runroot "$work/run" --storage-driver overlay)
export BUILDAH_ISOLATION=chroot
image=localhost/headgate:test

cleanup() {
  stop_all
  podman "${store[@]}" rm -f -t 0 headgate documented >/dev/null 2>&1 || true
  umount "$work/store/overlay" 2>/dev/null || true
  rm -rf "$work"
  # podman's control groups, where they are empty.
  rmdir /sys/fs/cgroup/{,*/}libpod_parent/conmon /sys/fs/cgroup/{,*/}libpod_parent 2>/dev/null || true
}
trap cleanup EXIT

base_golang() { # the Go of this machine comes in through a volume when the image is built
  local c
  c=$(buildah "${store[@]}" from --pull=never scratch)
  mkdir -p "$work/golang/bin" "$work/golang/tmp" "$work/golang/usr/local/go" "$work/golang/etc/ssl/certs" "$work/golang/root"
  cp "$(command -v busybox)" "$work/golang/bin/busybox"
  for applet in sh mkdir cp cat; do ln -sf busybox "$work/golang/bin/$applet"; done
  buildah "${store[@]}" copy -q "$c" "$work/golang" / >/dev/null
  buildah "${store[@]}" config --env PATH=/usr/local/go/bin:/bin --env GOPATH=/go "$c"
  buildah "${store[@]}" commit -q --rm "$c" docker.io/library/golang:1.26 >/dev/null
}

# base_static PLATFORM prints the id of the base: by name buildah finds no image of another platform than its own.
base_static() {
  local c
  c=$(buildah "${store[@]}" from --pull=never --platform "$1" scratch)
  mkdir -p "$work/static/etc/ssl/certs" "$work/static/home/nonroot"
  echo 'nonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin' > "$work/static/etc/passwd"
  echo 'nonroot:x:65532:' > "$work/static/etc/group"
  cp /etc/ssl/certs/ca-certificates.crt "$work/static/etc/ssl/certs/" 2>/dev/null || true
  buildah "${store[@]}" copy -q "$c" "$work/static" / >/dev/null
  buildah "${store[@]}" commit -q --rm --timestamp 0 "$c" "localhost/static:${1#linux/}"
}

# documented BEGINNING is the command of docs/operations.md, with the lines that go on.
documented() {
  awk -v begins="$1" 'index($0, begins) == 1 { on = 1 } on { print; found = 1 } on && !/\\$/ { exit } END { exit !found }' docs/operations.md
}

# docker does what Docker does with the commands of that page. --format docker: OCI images have no HEALTHCHECK. Without a bridge, which wants
# more rights, a container is on the network of this machine, where ports are taken.
docker() {
  case "$1" in
    buildx) buildah "${store[@]}" bud -q "${from[@]}" --format docker --timestamp 0 --build-arg BUILDPLATFORM="$native" "${@:3}" ;;
    run) podman "${store[@]}" --runtime runc --cgroup-manager cgroupfs run -d --name documented --network host --no-healthcheck --log-driver k8s-file \
      --ulimit nofile=20000:20000 --ulimit nproc=4000:4000 -e HTTP_ADDR="127.0.0.1:$http" -e ADMIN_ADDR="127.0.0.1:$admin" "${@:2}" ;;
    *) die "docs/operations.md has a command that is not known here: docker $*" ;;
  esac
}

say "building with $(buildah --version | cut -d' ' -f1-3), $(go version | cut -d' ' -f3)"
go mod download
bases=${BASES:-local}
case $bases in
  local) base_golang ;;
  official) ;;
  *) die "BASES=$bases: local makes them here, official takes those of the Dockerfile" ;;
esac
version=${VERSION:-}
[ -n "$version" ] || version=$(sed -n 's/^appVersion: *"\{0,1\}\([^"]*\)"\{0,1\}$/\1/p' deploy/chart/Chart.yaml)
revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)
for p in "${platforms[@]}"; do
  if [ "$bases" = local ]; then
    # --pull=never: with a base that is missing this fails instead of asking a registry.
    from=(--pull=never -v "$(go env GOROOT):/usr/local/go:ro" -v "$(go env GOMODCACHE)/cache/download:/modules:ro"
      --build-arg GOPROXY=file:///modules --build-arg BASE="$(base_static "$p" | tail -1)")
  else
    from=(--pull) # a newer patch of Go or newer certificates, where there are any
  fi
  command=$(documented 'docker buildx build')
  command=${command//1.2.3/$version}
  command=${command/linux\/amd64,linux\/arm64/$p}
  eval "${command/headgate:$version/$image-${p#linux/}}" >/dev/null
  say "built for $p"
done
image=$image-${native#linux/}

inspect() { buildah "${store[@]}" inspect --type image --format "$1" "$image"; }
say "user $(inspect '{{.Docker.Config.User}}'), healthcheck $(inspect '{{.Docker.Config.Healthcheck.Test}}')"
expect "the user is a number other than 0" [ "$(inspect '{{.Docker.Config.User}}')" = 65532:65532 ]
expect "it has a HEALTHCHECK" [ "$(inspect '{{.Docker.Config.Healthcheck.Test}}')" = '[CMD /headgate -healthcheck]' ]
labels=$(inspect '{{range $k, $v := .Docker.Config.Labels}}{{$k}}{{"\n"}}{{end}}')
for label in title description licenses version revision created source; do
  expect "label $label" grep -qx "org.opencontainers.image.$label" <<<"$labels"
done

value() { inspect "{{index .Docker.Config.Labels \"org.opencontainers.image.$1\"}}"; }
expect "the labels say version $version and this commit" [ "$(value version) $(value revision)" = "$version $revision" ]

c=$(buildah "${store[@]}" from --pull=never "$image")
mount=$(buildah "${store[@]}" mount "$c")
built=$(go version -m "$mount/headgate")
go=$(awk 'NR == 1 {print $NF}' <<<"$built")
if [ "$go" = "$(go env GOVERSION)" ]; then
  CGO_ENABLED=0 go build -tags nodev -trimpath -buildvcs=false -ldflags "-s -w -buildid= -X main.version=$version -X main.commit=$revision" -o "$work/headgate" .
  expect "the same sources and flags on the host give the same bytes" cmp "$mount/headgate" "$work/headgate"
else
  say "not compared with a build on the host: that is $(go env GOVERSION), and the base has $go"
fi
expect "it is static" grep -q 'CGO_ENABLED=0' <<<"$built"
expect "nothing of nats-server is in it" [ "$(grep -c nats-server <<<"$built")" = 0 ]
files=$(cd "$mount" && find . -type f | sort | tr '\n' ' ')
binary=$(stat -c %s "$mount/headgate")
buildah "${store[@]}" rm "$c" >/dev/null
say "files: $files"

buildah "${store[@]}" push -q "$image" "oci:$work/oci" >/dev/null
say "size: binary $(mib "$binary"), image $(mib "$(podman "${store[@]}" image inspect --format '{{.Size}}' "$image")")," \
  "compressed $(mib "$(du -sb "$work/oci/blobs" | cut -f1)") (the real base adds about 2 MiB)"

# --- run ---------------------------------------------------------------------------------------------------------------------------
start_nats "$work"
http=$(free_port) admin=$(free_port)
mkdir "$work/routes"
cp deploy/test/testdata/routes.yaml "$work/routes/routes.yaml"
chmod -R a+rX "$work/routes"
in_container() { # OPTIONS… IMAGE ARGUMENTS…
  podman "${store[@]}" --runtime runc --cgroup-manager cgroupfs run --network host \
    --read-only --read-only-tmpfs=false --cap-drop=all --security-opt no-new-privileges \
    --ulimit nofile=20000:20000 --ulimit nproc=4000:4000 --no-healthcheck --log-driver k8s-file "$@"
}
in_container -d --name headgate \
  -v "$work/routes:/etc/headgate:ro" -e ROUTES_FILE=/etc/headgate/routes.yaml -e AUTH_MODE=none -e NATS_URL="nats://127.0.0.1:$nats_port" \
  -e HTTP_ADDR="127.0.0.1:$http" -e ADMIN_ADDR="127.0.0.1:$admin" -e SHUTDOWN_DELAY=1s -e SHUTDOWN_DRAIN=1s -e SHUTDOWN_TIMEOUT=5s "$image" >/dev/null \
  || die "podman cannot run it"
logs() { podman "${store[@]}" logs headgate 2>&1 | tail -20; }
until_ok "readiness" curl -fsS -o /dev/null "http://127.0.0.1:$admin/readyz" || { logs; die "it does not become ready"; }

pid=$(podman "${store[@]}" inspect --format '{{.State.Pid}}' headgate)
status() { sed -n "s/^$1:[[:space:]]*//p" "/proc/$pid/status"; }
say "running as uid $(status Uid | cut -f1), capabilities $(status CapEff), no_new_privs $(status NoNewPrivs)," \
  "root $(awk '$5 == "/" {print $6}' "/proc/$pid/mountinfo" | cut -d, -f1)"
expect "it is not root" [ "$(status Uid | cut -f1)" = 65532 ]
expect "no capability" [ "$(status CapEff)$(status CapBnd)" = 00000000000000000000000000000000 ]
expect "no new privileges" [ "$(status NoNewPrivs)" = 1 ]
expect "the root is read-only" sh -c "awk '\$5 == \"/\" {print \$6}' /proc/$pid/mountinfo | grep -q ^ro"
# podman gives the command of a health check to systemd; here it is run as podman would.
expect "it says its version, its commit and its Go" [ "$(podman "${store[@]}" --runtime runc exec headgate /headgate -version)" = \
  "headgate $version (commit $revision, $go, $native)" ]
expect "HEALTHCHECK says alive" podman "${store[@]}" --runtime runc exec headgate /headgate -healthcheck

curl -sN "http://127.0.0.1:$http/v1/prices/ACME" > "$work/stream" &
follow $!
until_ok "the stream opens" grep -q '^event: \$ready' "$work/stream" || { logs; die "no \$ready"; }
publish prices.ACME '{"price":1}'
publish prices.ACME '{"price":2}'
until_ok "both messages arrive" grep -q '^data: {"price":2}' "$work/stream" || { cat "$work/stream"; logs; die "the messages did not arrive"; }
expect "in order" [ "$(grep -c '^data: {"price"' "$work/stream")" = 2 ]

podman "${store[@]}" --runtime runc stop -t 20 headgate >/dev/null
until_ok "the drain ends the stream" grep -q '"draining"' "$work/stream" || { cat "$work/stream"; die "no \$end"; }
expect "it ends by itself, with 0" [ "$(podman "${store[@]}" inspect --format '{{.State.ExitCode}}' headgate)" = 0 ]
sed 's/^/    /' "$work/stream"

command=$(documented 'docker run')
command=${command/ -p 8080:8080/} # it is on the network of this machine
command=${command/nats:\/\/nats:4222/nats:\/\/127.0.0.1:$nats_port}
eval "${command/headgate:1.2.3/$image}" >/dev/null || die "docs/operations.md: docker run"
until_ok "what docs/operations.md runs is ready" curl -fsS -o /dev/null "http://127.0.0.1:$admin/readyz" || die "it does not become ready"
curl -sN "http://127.0.0.1:$http/events?subject=feed.a" > "$work/documented" &
follow $!
until_ok "and serves a stream" grep -q '^event: \$ready' "$work/documented" || die "no \$ready"
podman "${store[@]}" --runtime runc stop -t 20 documented >/dev/null

if [ -n "${OUT:-}" ]; then
  mkdir -p "$OUT"
  for p in "${platforms[@]}"; do
    file=$OUT/headgate_${version}_image_${p//\//_}.tar
    rm -f "$file" # an archive is not added to
    buildah "${store[@]}" push -q "localhost/headgate:test-${p#linux/}" "docker-archive:$file:headgate:$version"
    go run ./deploy/release image -archive "$file" -version "$version"
    podman "${store[@]}" load -q -i "$file" >/dev/null || die "podman does not take $file"
    if [ "$p" = "$native" ]; then
      expect "podman runs what is in the archive" [ "$(in_container --rm "docker.io/library/headgate:$version" -version)" = \
        "headgate $version (commit $revision, $go, $native)" ]
    fi
    say "kept  $file"
  done
fi
finish
