//go:build !nodev

package devnats

import (
	"errors"
	"fmt"
	"sync"
)

// fatalLog is a nats-server logger that says nothing and keeps the last reason why a start failed.
type fatalLog struct {
	mu   sync.Mutex
	last error
	gone bool // it was fatal
}

func (l *fatalLog) keep(fatal bool, format string, v []any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last, l.gone = fmt.Errorf(format, v...), l.gone || fatal
}

func (l *fatalLog) failed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.gone
}

func (l *fatalLog) err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.last == nil {
		return errors.New("no reason given")
	}
	return l.last
}

func (l *fatalLog) Noticef(string, ...any)         {}
func (l *fatalLog) Warnf(string, ...any)           {}
func (l *fatalLog) Debugf(string, ...any)          {}
func (l *fatalLog) Tracef(string, ...any)          {}
func (l *fatalLog) Errorf(format string, v ...any) { l.keep(false, format, v) }
func (l *fatalLog) Fatalf(format string, v ...any) { l.keep(true, format, v) }
