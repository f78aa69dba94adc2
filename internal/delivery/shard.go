package delivery

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"headgate/internal/cursor"
	"headgate/internal/flow"
)

// shard is one goroutine and the clients it owns. Only this goroutine touches their sockets and anything below but the mailbox.
type shard struct {
	server *Server
	mail   mailbox       // anybody -> shard loop
	bell   chan struct{} // mailbox, watcher -> shard loop, while it is parked

	slowest atomic.Int64 // how far the slowest client was behind when the sides were last looked at; written by the shard loop

	// owned by the shard loop
	poll     poller
	slots    slots
	sides    map[uint32]*side
	groups   groups
	wheel    wheel
	buffers  buffers
	small    []*group // groups with something to send
	large    []*group
	joins    []*joining
	early    []turn              // reading clients that are ahead of their group, see hold.go
	again    map[*group][]*again // where sources began again, in the order of the log, while somebody may pass over it
	states   map[*group][]stated // of the groups whose clients may jump over changes of them
	budgets  budgets
	paced    []turn // clients that wait for their budget, see rate.go
	stats    stats
	stopping bool
	stopBy   int64

	now        int64  // nanoseconds since the server was made
	wall       int64  // Unix nanoseconds
	tick       uint32 // now in ticks
	skew       int64  // how far the two clocks were apart when that was last looked at
	sidesAt    int64  // when the sides were last looked at
	dropLogged int64
	pacedAt    int64 // when the paced were last looked at
	heldAt     int64 // when those that are early were last retried

	// scratch
	inbox       []op
	reads       uint64 // how often the mailbox has been emptied; what is pushed later is in the next reading
	scratch     []byte
	runBytes    []byte
	idText      []byte
	gathered    [][]byte
	spareGroups []*group
	spareSlots  []uint32
	sparePaced  []turn
	progress    []cursor.Entry
	recvBuf     [4096]byte
}

func newShard(s *Server) *shard {
	sh := &shard{server: s, sides: map[uint32]*side{}, again: map[*group][]*again{}, states: map[*group][]stated{}, bell: make(chan struct{}, 1)}
	sh.groups.byKey = map[string]*group{}
	sh.slots.free = none
	sh.wheel.init()
	sh.mail.wake = sh.ring
	sh.stats.metrics = s.metrics
	return sh
}

// run is the shard loop.
func (s *shard) run() {
	var watcher sync.WaitGroup
	defer watcher.Wait()
	defer s.poll.close()
	watcher.Go(func() { s.poll.watch(s.ring) })
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for !s.finished() {
		if s.step() {
			runtime.Gosched()
			continue
		}
		s.stats.publish()
		s.mail.parked.Store(true)
		if s.mail.empty() {
			timer.Reset(s.patience())
			select {
			case <-s.bell:
			case <-timer.C:
			}
		}
		s.mail.parked.Store(false)
	}
	s.abandon()
	s.stats.publish()
}

// patience is how long there is certainly nothing to do.
func (s *shard) patience() time.Duration {
	d := time.Duration(s.wheel.idle()) * tickLength
	if len(s.early) > 0 {
		return heldRetry
	}
	if len(s.paced) > 0 {
		return min(d, time.Duration(pacedStep))
	}
	if s.stopping {
		return min(d, tickLength)
	}
	if len(s.sides)+len(s.again) > 0 {
		return min(d, time.Second)
	}
	return d
}

// ring wakes the shard, now or when it next parks. Anybody may call it.
func (s *shard) ring() {
	select {
	case s.bell <- struct{}{}:
	default:
	}
}

// step does a slice of everything there is to do and says whether there was anything.
func (s *shard) step() bool {
	worked := s.look()
	s.checkClock()
	worked = s.takeTurns() || worked
	worked = s.runPaced() || worked
	worked = s.runJoins() || worked
	if len(s.small)+len(s.large) > 0 {
		s.runRounds()
		worked = true
	}
	if len(s.sides) == 0 && s.slowest.Load() > 0 {
		s.slowest.Store(0)
	}
	if len(s.sides)+len(s.again) > 0 && s.now-s.sidesAt > int64(time.Second) {
		s.sidesAt = s.now
		s.checkSides()
		s.forgetAgain()
	}
	return worked
}

// look takes in what the mailbox and the sockets have.
func (s *shard) look() bool {
	s.readTime()
	worked := s.readMail()
	if n := s.poll.poll(); n > 0 {
		s.sockets(n)
		worked = true
	}
	return worked
}

// clock is the time since the server was made.
func (s *shard) clock() int64 { return int64(s.server.cfg.Now().Sub(s.server.start)) }

func (s *shard) readTime() {
	t := s.server.cfg.Now()
	s.now = int64(t.Sub(s.server.start))
	s.wall = t.UnixNano()
	s.tick = uint32(s.now/int64(tickLength)) + 1
}

func ticks(d time.Duration) uint32 { return uint32(d / tickLength) }

func (s *shard) readMail() bool {
	ops := s.mail.take(s.inbox)
	s.reads++
	for n := range ops {
		s.handle(&ops[n])
	}
	worked := len(ops) > 0
	clear(ops)
	s.retryHeld(worked)
	s.inbox = ops
	if cap(ops) > fullOps/4 {
		s.inbox = nil // a burst is over; do not keep its room for ever
	}
	return worked
}

func (s *shard) handle(o *op) {
	switch o.kind {
	case opEvent:
		if g := s.groups.get(o.group, o.gen); g != nil {
			g.append(s, o.event)
		}
	case opJoin:
		s.joins = append(s.joins, o.arg.(*joining))
	case opRead:
		if s.slots.at(o.group).gen == o.gen {
			s.read(o.group, o.arg.(flow.Batch))
		}
	case opWrote:
		a := o.arg.(wrote)
		if s.slots.at(a.writer.slot).gen == a.writer.gen {
			s.wrote(a.writer.slot, o.n, a.err)
		}
	case opGone:
		s.gone(o.arg.(*writer))
	case opEnd:
		s.endWhere(o.arg.(*ending))
	case opCheck:
		s.check(o.arg.(*checking))
	case opStop:
		s.stopAll()
	}
}

// gone handles a ResponseWriter whose client went away, perhaps before it was taken.
func (s *shard) gone(w *writer) {
	if !isClosed(w.taken) {
		// It waits to be taken: it ends as soon as it is.
		w.left = true
		return
	}
	if s.slots.at(w.slot).gen == w.gen {
		s.end(w.slot, ClientGone)
	}
}

// runJoins takes a slice of the waiting clients in.
func (s *shard) runJoins() bool {
	n := min(len(s.joins), sliceSends)
	for _, j := range s.joins[:n] {
		s.join(j)
	}
	clear(s.joins[:n])
	if s.joins = s.joins[n:]; len(s.joins) == 0 {
		s.joins = nil
	}
	return n > 0
}

func (s *shard) runAllJoins() {
	s.retryHeld(true)
	for s.runJoins() {
	}
}
