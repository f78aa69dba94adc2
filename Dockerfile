# syntax=docker/dockerfile:1
# headgate as an image: one static binary without the embedded server, on a base with certificates and nothing to run.
# deploy/test/image.sh builds this file and runs the result as it is meant to be run: read-only, without capabilities, as 65532.
#
#   docker buildx build --platform linux/amd64,linux/arm64 --build-arg VERSION=1.2.3 --build-arg REVISION=$(git rev-parse HEAD) .
#
# The newest patch release of Go 1.26 is wanted: before 1.26.9 a client can crash HTTP/2 (CVE-2026-97032, SECURITY.md).
ARG GO_VERSION=1.26
ARG BASE=gcr.io/distroless/static-debian12:nonroot

# Go compiles for every platform, so the compiler itself runs on the builder's, without emulation.
FROM --platform=$BUILDPLATFORM docker.io/library/golang:${GO_VERSION} AS build
WORKDIR /src
# Modules come before the sources: their layer is good until go.sum changes.
COPY go.mod go.sum ./
ARG GOPROXY
RUN --mount=type=cache,target=/go/pkg/mod go mod download
COPY . .
ARG TARGETOS
ARG TARGETARCH
ARG VERSION=0.0.0-dev
ARG REVISION=unknown
# Nothing of the place or the time of the build goes into the binary: the same sources and the same Go make the same bytes.
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    CGO_ENABLED=0 GOTOOLCHAIN=local GOOS=$TARGETOS GOARCH=$TARGETARCH \
    go build -tags nodev -trimpath -buildvcs=false -ldflags "-s -w -buildid= -X main.version=$VERSION -X main.commit=$REVISION" -o /out/headgate .

FROM ${BASE}
ARG VERSION=0.0.0-dev
ARG REVISION=unknown
ARG SOURCE=
ARG CREATED=1970-01-01T00:00:00Z
# https://github.com/opencontainers/image-spec/blob/main/annotations.md
LABEL org.opencontainers.image.title="headgate" \
      org.opencontainers.image.description="NATS subjects, streams and buckets to browsers as server-sent events" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="$SOURCE" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.created="$CREATED"
COPY --from=build --chmod=0555 /out/headgate /headgate
# A number, so that Kubernetes can see that it is not root (runAsNonRoot).
USER 65532:65532
EXPOSE 8080 9090
STOPSIGNAL SIGTERM
# For plain Docker and podman; Kubernetes has probes of its own and ignores it.
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s --retries=3 CMD ["/headgate", "-healthcheck"]
ENTRYPOINT ["/headgate"]
