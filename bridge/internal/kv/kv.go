// Package kv is how a Key-Value bucket lies in its stream: names, and what a message says about its key.
//
// Source: ADR-8 (JetStream based Key-Value Stores) and ADR-43 (per-message TTL) of https://github.com/nats-io/nats-architecture-and-design.
package kv

import (
	"strings"

	"github.com/nats-io/nats.go/jetstream"
)

const prefix = "$KV."

// Stream is the name of a bucket's stream.
func Stream(bucket string) string { return "KV_" + bucket }

// Subject is where a bucket's key, or pattern of keys, is in its stream.
func Subject(bucket, key string) string { return prefix + bucket + "." + key }

// Key is the key of a message; "" when it is not one of a bucket.
func Key(subject string) string {
	rest, ok := strings.CutPrefix(subject, prefix)
	if !ok {
		return ""
	}
	_, key, _ := strings.Cut(rest, ".")
	return key
}

// Mirrored is the bucket whose subjects the messages of a stream have, where the stream is another bucket's: of a mirror that does not change
// them. No key of the bucket itself is ever found there. Else it is "".
func Mirrored(stream string, c jetstream.StreamConfig) string {
	if c.Mirror == nil || c.Mirror.Name == stream || len(c.Mirror.SubjectTransforms) > 0 {
		return ""
	}
	bucket, ok := strings.CutPrefix(c.Mirror.Name, "KV_")
	if !ok {
		return ""
	}
	return bucket
}

// The operations, which are the event types that clients see.
const (
	Put    = "put"
	Delete = "delete"
	Purge  = "purge"
	Expire = "expire" // by age or by its TTL
)

// Operation is what a message does to its key.
func Operation(header map[string][]string) string {
	// A marker that the server left is told by its reason; one for a limit of age may say purge as well.
	switch first(header, "Nats-Marker-Reason") {
	case "MaxAge":
		return Expire
	case "Purge":
		return Purge
	case "Remove":
		return Delete
	}
	switch first(header, "KV-Operation") {
	case "DEL":
		return Delete
	case "PURGE":
		return Purge
	}
	return Put
}

// Gone says whether a message leaves its key without a value.
func Gone(header map[string][]string) bool { return Operation(header) != Put }

func first(header map[string][]string, name string) string {
	if v := header[name]; len(v) > 0 {
		return v[0]
	}
	return ""
}
