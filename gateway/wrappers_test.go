package gateway_test

import (
	"errors"
	"net"
	"time"

	"headgate/gateway"
	"headgate/internal/delivery"
)

type gatewayDelivery = gateway.Delivery

// held holds back the ends it is asked for.
type held struct {
	*delivery.Server
	until <-chan struct{}
}

func (h held) EndWhere(match func(uint64) bool, r delivery.Reason, over time.Duration) {
	select {
	case <-h.until:
		h.Server.EndWhere(match, r, over)
	default:
		go func() { // gone when the test closes until
			<-h.until
			h.Server.EndWhere(match, r, over)
		}()
	}
}

// slowHandover stops before the hand-over until it may go on.
type slowHandover struct {
	*delivery.Server
	began chan<- struct{}
	until <-chan struct{}
}

func (h slowHandover) Handover(conn net.Conn, c delivery.Client) error {
	close(h.began)
	<-h.until
	return h.Server.Handover(conn, c)
}

var errNoDescriptors = errors.New("dup: too many open files")

// full has no descriptor left for a hand-over.
type full struct{ *delivery.Server }

func (full) Handover(net.Conn, delivery.Client) error { return errNoDescriptors }

// panicking breaks in the hand-over.
type panicking struct{ *delivery.Server }

func (panicking) Handover(net.Conn, delivery.Client) error { panic("broken") }
func (panicking) Serve(_ <-chan struct{}, _ delivery.Writer, c *delivery.Client) delivery.Reason {
	c.Source.Close()
	panic("broken")
}
