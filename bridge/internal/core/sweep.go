package core

import "time"

const (
	sweepChunk = 256             // rings looked at under one hold of the lock
	ringsEvery = 2 * time.Second // rings are looked at so often at most, or four times within the age of the shortest-lived
)

// sweep ends what has grown old: idle topics after their linger, messages after the age of their ring. One sweep per connection
// costs less than a timer per topic.
func (d *dataConn) sweep(now time.Time) {
	d.losses.flush(now)
	d.core.losses.flush(now)
	d.mu.Lock()
	for e := d.idle.Front(); e != nil; e = d.idle.Front() {
		i := e.Value.(idleSince)
		if now.Sub(i.since) < d.linger {
			break
		}
		d.remove(i.topic)
	}
	due := now.Sub(d.swept) >= min(ringsEvery, d.ringAge/4)
	if due {
		d.swept = now
	}
	d.mu.Unlock()
	if !due {
		return
	}
	for next := 0; ; {
		if next = d.sweepRings(next, now); next < 0 {
			return
		}
	}
}

// sweepRings looks at some rings from a place on, and says where to go on; -1 at the end. A topic that moves to an earlier place
// meanwhile waits for the next sweep.
func (d *dataConn) sweepRings(from int, now time.Time) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	end := min(from+sweepChunk, len(d.ringed))
	for i := end - 1; i >= from; i-- {
		t := d.ringed[i]
		t.expire(now.Add(-t.age).UnixNano(), &d.budget)
		if t.items == nil {
			d.unlist(t)
		}
	}
	if end >= len(d.ringed) {
		return -1
	}
	return end
}

// list takes note that a topic has something in its ring. It needs mu, and so does unlist.
func (d *dataConn) list(t *topic) {
	d.ringed = append(d.ringed, t)
	t.listed = int32(len(d.ringed))
}

func (d *dataConn) unlist(t *topic) {
	if t.listed == 0 {
		return
	}
	last := len(d.ringed) - 1
	moved := d.ringed[last]
	d.ringed[t.listed-1] = moved
	moved.listed = t.listed
	d.ringed[last] = nil
	d.ringed = d.ringed[:last]
	t.listed = 0
}
