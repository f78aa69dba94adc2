package delivery

import (
	"strconv"

	"headgate/internal/flow"
	"headgate/internal/sse"
)

// Reason says why a stream ended. The same word stands in $end, in the log and in the metrics.
type Reason uint8

// The reasons. None of them is ever sent for a stream that goes on.
const (
	None         Reason = iota
	Done                // the source's end condition was met
	Draining            // this process is going away
	Lifetime            // SSE_MAX_AGE
	TokenExpired        // the identity ended
	Revoked             // the identity was withdrawn
	Kicked              // by an operator
	SlowConsumer        // fell behind the bounds of its buffer
	RouteRemoved        // by a reload
	RouteChanged        // by a reload
	SourceLost          // what it followed is gone
	Overloaded          // never opened: turned away
	Rate                // over its budget
	Shutdown            // the process stops at once
	Internal            // our own fault
	ClientGone          // it closed the connection
	ClientData          // it kept sending after its request
	WriteTimeout        // it took nothing for SSE_WRITE_TIMEOUT
	WriteError          // the network failed
	reasons
)

var reasonNames = [reasons]string{None: "none", Done: "done", Draining: "draining", Lifetime: "lifetime",
	TokenExpired: "token-expired", Revoked: "revoked", Kicked: "kicked", SlowConsumer: "slow-consumer",
	RouteRemoved: "route-removed", RouteChanged: "route-changed", SourceLost: "source-lost", Overloaded: "overloaded",
	Rate: "rate", Shutdown: "shutdown", Internal: "internal", ClientGone: "client-gone", ClientData: "client-data",
	WriteTimeout: "write-timeout", WriteError: "write-error"}

// String is the word for it.
func (r Reason) String() string { return reasonNames[r] }

// Reconnect says whether a client should come back. Native clients come back anyway; the next answer decides then.
func (r Reason) Reconnect() bool {
	return r != Done && r != Revoked && r != Kicked && r != RouteRemoved
}

// sendable says whether the client can still be told.
func (r Reason) sendable() bool { return r < ClientGone && r != SlowConsumer }

// Reasons lists them all, for counters that exist before the first stream ends.
func Reasons() []Reason {
	all := make([]Reason, 0, reasons-1)
	for r := Done; r < reasons; r++ {
		all = append(all, r)
	}
	return all
}

// endReason is how a source's end is called.
func endReason(e flow.End) Reason {
	switch e {
	case flow.Done:
		return Done
	case flow.Lost:
		return SourceLost
	}
	return None
}

var endFrames = func() (f [reasons]*sse.Frame) {
	for r := range f {
		f[r] = sse.NewFrame("$end", []byte(`{"reason":"`+Reason(r).String()+`","reconnect":`+
			strconv.FormatBool(Reason(r).Reconnect())+`}`))
	}
	return f
}()

// EndFrame is the $end event for a reason.
func EndFrame(r Reason) *sse.Frame { return endFrames[r] }
