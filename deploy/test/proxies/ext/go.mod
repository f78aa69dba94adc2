// What Traefik's configuration extends here, and publishes nowhere: empty in its own sources too.
module github.com/traefik/traefik/dynamic/ext

go 1.26.0
