package gateway_test

import (
	"net/netip"
	"reflect"
	"testing"

	"headgate/gateway"
)

func TestStreams_GiveEveryAdmissionBackOnce(t *testing.T) {
	table := gateway.NewTable()
	addr := netip.MustParseAddr("2001:db8::1")
	tags := map[uint64]uint64{}
	for n := uint64(1); n <= 3000; n++ {
		tag := table.Take(7, n, addr)
		if _, twice := tags[tag]; twice || tag == 0 {
			t.Fatalf("tag %x was there before, or is zero", tag)
		}
		tags[tag] = n
	}
	if table.Count() != 3000 {
		t.Fatalf("%d streams", table.Count())
	}
	for tag, n := range tags {
		if got, ok := table.Give(tag); !ok || got != n {
			t.Fatalf("tag %x gave %d, %v; want %d", tag, got, ok, n)
		}
		if _, ok := table.Give(tag); ok {
			t.Fatalf("tag %x gave twice", tag)
		}
	}
	if table.Count() != 0 {
		t.Errorf("%d streams are left", table.Count())
	}
}

func TestStreams_OldTagsMissNewStreams(t *testing.T) {
	table := gateway.NewTable()
	old := table.Take(0, 1, netip.IPv6Unspecified())
	table.Give(old)
	now := table.Take(0, 2, netip.IPv6Unspecified())
	if now == old {
		t.Fatal("a tag was used again")
	}
	if _, ok := table.Give(old); ok {
		t.Error("the old tag took the new stream")
	}
	for _, made := range []uint64{0, 1, 1 << 32, ^uint64(0), now + 1, now ^ 1<<32} {
		if _, ok := table.Give(made); ok {
			t.Errorf("tag %x, which nobody had, took a stream", made)
		}
	}
	if _, ok := table.Give(now); !ok {
		t.Error("the new stream is gone")
	}
}

func TestStreams_CostLittleAndNothingToCollect(t *testing.T) {
	if gateway.StreamSize > 48 {
		t.Errorf("a stream takes %d bytes here", gateway.StreamSize)
	}
	for i := range gateway.StreamType.NumField() {
		switch f := gateway.StreamType.Field(i); f.Type.Kind() {
		case reflect.Uint64, reflect.Uint32, reflect.Uint8:
		case reflect.Array:
			if f.Type.Elem().Kind() != reflect.Uint8 {
				t.Errorf("field %s is %v", f.Name, f.Type)
			}
		default:
			t.Errorf("field %s is %v: the collector would look at every stream", f.Name, f.Type)
		}
	}
}
