package stream

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestRetries_AreMadeWhenTheyAreDueAndAllOfThemAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &retries{wake: make(chan struct{}, 1)}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			if err := r.run(ctx); err != nil {
				t.Error(err)
			}
		}()
		began := time.Now()
		var made []time.Duration // by the loop, and looked at when that is idle
		note := func() { made = append(made, time.Since(began)) }
		for _, d := range []time.Duration{awayPause, againPause, time.Hour} {
			r.later(d, note)
		}
		time.Sleep(awayPause + retryStep)
		synctest.Wait()
		if len(made) != 2 || made[0] < againPause || made[0] > againPause+retryStep || made[1] < awayPause || made[1] > awayPause+retryStep {
			t.Errorf("made after %v, want one after %v and one after %v, at most %v later", made, againPause, awayPause, retryStep)
		}
		cancel()
		<-ended
		if len(made) != 3 || made[2] != time.Since(began) {
			t.Errorf("made after %v: the one that was not due must be made at the end, %v", made, time.Since(began))
		}
		r.later(time.Hour, note)
		if !slices.Equal(made[3:], []time.Duration{time.Since(began)}) {
			t.Errorf("made after %v: who comes behind the end must not wait", made)
		}
	})
}
