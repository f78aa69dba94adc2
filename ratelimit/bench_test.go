package ratelimit

import (
	"net/netip"
	"runtime"
	"sync/atomic"
	"testing"
	"time"
)

func everything() Config {
	return Config{Streams: 1 << 30, StreamsPerAddress: 1 << 30, ConnectRate: 5, ConnectBurst: 1 << 30, GlobalConnectRate: 1e9,
		Addresses: 100_000, Routes: map[string]Route{"r": {Streams: 1 << 30}}}
}

// BenchmarkAdmit is one admission and its release. In parallel it shows what the one mutex costs: a connect takes about 100 µs of CPU
// besides, so even at 1 µs for everybody together the limiter is a hundredth of it, and shards would only make the caps inexact.
func BenchmarkAdmit(b *testing.B) {
	b.Run("one address", func(b *testing.B) {
		l := New(everything())
		b.ReportAllocs()
		for b.Loop() {
			l.both(alice, "r")
			l.giveBack(alice, "r")
		}
	})
	b.Run("20000 addresses", func(b *testing.B) {
		l := New(everything())
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			a := numbered(i % 20_000)
			l.both(a, "r")
			l.giveBack(a, "r")
		}
	})
	b.Run("parallel", func(b *testing.B) {
		l := New(everything())
		var n atomic.Int64
		b.SetParallelism(16)
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			a := numbered(int(n.Add(1)))
			for pb.Next() {
				l.both(a, "r")
				l.giveBack(a, "r")
			}
		})
	})
	b.Run("refused", func(b *testing.B) {
		cfg := everything()
		cfg.ConnectRate, cfg.ConnectBurst = 1e-9, 1
		l := New(cfg)
		l.both(alice, "r")
		b.ReportAllocs()
		for b.Loop() {
			l.both(alice, "r")
		}
	})
	b.Run("table full", func(b *testing.B) {
		cfg := everything()
		cfg.ConnectRate = 1e-9
		l := New(cfg)
		for i := range cfg.Addresses {
			l.both(numbered(i), "r")
		}
		b.ReportAllocs()
		for i := cfg.Addresses; b.Loop(); i++ {
			l.both(numbered(i), "r")
		}
	})
}

// used is the heap that l takes after f.
func used(f func() *Limiter) (l *Limiter, bytes uint64) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&before)
	l = f()
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&after)
	return l, after.HeapAlloc - min(before.HeapAlloc, after.HeapAlloc)
}

func TestMemory_OfManyStreams(t *testing.T) {
	const streams = 19_000
	c := newClock()
	fill := func(addr func(i int) netip.Addr) func() *Limiter {
		return func() *Limiter {
			cfg := everything()
			cfg.Now = c.now
			l := New(cfg)
			for i := range streams {
				mustAdmit(t, l, addr(i), "r")
			}
			return l
		}
	}
	check := func(name string, most uint64, f func() *Limiter) {
		l, bytes := used(f)
		t.Logf("%s: %d B in all, %d B each", name, bytes, bytes/streams)
		if bytes/streams > most {
			t.Errorf("%s: %d B each, want at most %d", name, bytes/streams, most)
		}
		runtime.KeepAlive(l)
	}
	check("streams from one address", 3, fill(func(int) netip.Addr { return alice }))
	check("a stream per address, its bucket in use", 160, fill(numbered))
	check("a stream per address, its bucket full again", 90, func() *Limiter {
		l := fill(numbered)()
		c.advance(time.Hour)
		l.connects.sweep(c.t, streams)
		return l
	})
}
