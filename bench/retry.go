//go:build linux

package main

import (
	"math/rand/v2"
	"slices"
	"time"
)

// A client that is refused, or whose stream ends, comes again as a careful program does: after a second, then after twice as long each
// time up to eight, give or take a quarter. What that costs belongs to the server that makes it necessary.
const (
	firstRetry   = time.Second
	longestRetry = 8 * time.Second
	mostComing   = 4 * maxDialing // that are on their way again at a time
)

// retries are of clients that are to come again.
type retries struct {
	due    []retryDue
	tries  map[int]int // by client
	made   int
	coming int // on their way
}

type retryDue struct {
	client int
	at     int64
}

// later makes a client that was just closed come again, where clients do.
func (s *Swarm) later(i int) {
	if !s.retry {
		return
	}
	if s.tries == nil {
		s.tries = map[int]int{}
	}
	wait := float64(min(longestRetry, firstRetry<<min(s.tries[i], 10)))
	s.tries[i]++
	s.due = append(s.due, retryDue{i, now() + int64(wait*(0.75+rand.Float64()/2))})
}

// again connects those whose time has come, as far as connects are allowed.
func (s *Swarm) again() error {
	at := now()
	var err error
	s.due = slices.DeleteFunc(s.due, func(d retryDue) bool {
		if err != nil || d.at > at || s.coming >= mostComing {
			return false
		}
		if c := &s.clients[d.client]; c.state == clientClosed {
			s.made++
			s.coming++
			c.again = true
			err = s.dial(d.client)
		}
		return true
	})
	return err
}

func (s *Swarm) forgetRetries() { s.retries = retries{} }
