package auth

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

const (
	fetchTimeout = 5 * time.Second
	believed     = 5 * time.Minute           // how long a key is good at most that its issuer, which answers, has withdrawn
	refreshURL   = believed - 2*fetchTimeout // it may be withdrawn while an answer is on its way, and the next one takes as long
	refreshFile  = 10 * time.Second          // mounted secrets change by symbolic links, so files are read rather than watched
	retryFirst   = time.Second               // after a failure; doubled up to retryMost
	retryMost    = time.Minute
	maxWaiters   = 64               // requests that wait for the keys of one issuer; whoever comes beside them is told at once that they are not there
	apart        = 10 * time.Second // between two fetches because of unknown keys: whoever makes up names gets no more
)

// Load reads the files with keys, for the start to fail when one is not good. URLs are left to Run: their servers may be down.
func (v *Verifier) Load() error {
	var errs []error
	for _, i := range v.issuers {
		if !i.remote {
			errs = append(errs, i.attempt(context.Background()))
		}
	}
	return errors.Join(errs...)
}

// Run keeps the keys as they are at the issuers of the rules in force, and forgets revocations that have expired, until the context ends.
// One Run is enough for a verifier and its successors.
func (v *Verifier) Run(ctx context.Context) error {
	var group sync.WaitGroup
	defer group.Wait()
	if v.revoked != nil {
		group.Go(func() { v.revoked.run(ctx) })
	}
	running := map[*issuer]context.CancelFunc{}
	for {
		wanted := v.line.current.Load().issuers
		for i, stop := range running {
			if !slices.Contains(wanted, i) {
				stop()
				delete(running, i)
			}
		}
		for _, i := range wanted {
			if running[i] == nil {
				own, stop := context.WithCancel(ctx)
				running[i] = stop
				group.Go(func() { i.run(own) })
			}
		}
		select {
		case <-ctx.Done():
			for _, stop := range running {
				stop()
			}
			return nil
		case <-v.line.changed:
		}
	}
}

func (i *issuer) run(ctx context.Context) {
	wait := time.Duration(0)
	if read := i.lastRead(); !read.IsZero() { // before the reload that has brought the issuer
		wait = max(0, i.every()-time.Since(read))
	}
	retry := retryFirst
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-i.wake:
			if !i.due() {
				continue
			}
		}
		if err := i.attempt(ctx); ctx.Err() != nil {
			return
		} else if err != nil {
			i.log.Warn("the keys of an issuer cannot be read; those that are there stay in use", "error", err)
			wait, retry = retry, min(2*retry, retryMost)
		} else {
			wait, retry = i.every(), retryFirst
		}
		timer.Reset(wait - rand.N(wait/10)) // earlier, for what is promised of keys to hold
	}
}

// every is how long keys are used before they are read again.
func (i *issuer) every() time.Duration {
	if i.remote {
		return refreshURL
	}
	return refreshFile
}

// due says whether the last attempt is long enough ago for another one on demand.
func (i *issuer) due() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return time.Since(i.attempted) >= apart
}

// refreshed returns when the keys have been fetched a moment ago, or again now, so that a kid that is still unknown is a wrong one. It
// fails when they could not be fetched.
func (i *issuer) refreshed(ctx context.Context) error {
	i.mu.Lock()
	recent, fetching, failed, done := time.Since(i.attempted) < apart, i.fetching, i.failed != nil || i.keys == nil, i.done
	waits := i.remote && (!recent || fetching)
	if waits && i.waiters >= maxWaiters {
		i.mu.Unlock()
		return ErrUnavailable
	}
	if waits {
		i.waiters++
		defer func() {
			i.mu.Lock()
			i.waiters--
			i.mu.Unlock()
		}()
	}
	i.mu.Unlock()
	if !waits {
		if failed {
			return ErrUnavailable
		}
		return nil
	}
	select {
	case i.wake <- struct{}{}:
	default: // somebody has asked already
	}
	timeout := time.NewTimer(fetchTimeout)
	defer timeout.Stop()
	select {
	case <-done:
	case <-timeout.C:
		return ErrUnavailable
	case <-ctx.Done():
		return ctx.Err()
	}
	i.mu.Lock()
	failed = i.failed != nil
	i.mu.Unlock()
	if failed {
		return ErrUnavailable
	}
	return nil
}
