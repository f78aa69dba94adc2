package config

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestBytes_AreReadWithAndWithoutUnits(t *testing.T) {
	for text, want := range map[string]Bytes{"0": 0, "65536": 65536, "64KiB": 64 << 10, "64kib": 64 << 10, "1 MiB": 1 << 20, "1.5GiB": 3 << 29, "1KB": 1000,
		"2MB": 2e6, "3GB": 3e9, "7B": 7, "0.5KiB": 512, "9223372036854775807": math.MaxInt64} {
		if got, err := ParseBytes(text); err != nil || got != want {
			t.Errorf("%s: %d %v", text, got, err)
		}
	}
	for _, text := range []string{"", "KiB", "-1", "-1KiB", "1e3", "0x10", "1TiB", "1 Mo", "NaN", "Inf", "1..2", ".", "9223372036854775808", "99999999999GiB", "1_000"} {
		if got, err := ParseBytes(text); err == nil {
			t.Errorf("%q is read as %d", text, got)
		}
	}
}

func TestBytesAndDurations_WhatIsPrintedIsReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := Bytes(rapid.Int64Range(0, math.MaxInt64).Draw(t, "bytes"))
		if got, err := ParseBytes(b.String()); err != nil || got != b {
			t.Errorf("%d -> %s -> %d %v", b, b, got, err)
		}
		d := Duration(rapid.Int64Range(0, math.MaxInt64).Draw(t, "duration"))
		if got, err := ParseDuration(durationText(d)); err != nil || got != d {
			t.Errorf("%d -> %s -> %d %v", d, durationText(d), got, err)
		}
	})
	for d, want := range map[Duration]string{0: "0s", time.Minute: "1m", time.Hour: "1h", 90 * time.Second: "1m30s", 10 * time.Minute: "10m", 61 * time.Minute: "1h1m", 100 * time.Hour: "100h", 500 * time.Millisecond: "500ms"} {
		if got := durationText(d); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

func TestDistance_CountsLetters(t *testing.T) {
	for _, test := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"a", "", 1}, {"heartbeet", "heartbeat", 1}, {"jsn", "json", 1}, {"abcd", "acbd", 1}, {"kitten", "sitting", 3}} {
		if got := distance(test.a, test.b); got != test.want {
			t.Errorf("%s %s: %d", test.a, test.b, got)
		}
	}
}
