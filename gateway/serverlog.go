package gateway

import (
	"bytes"
	"log"
	"log/slog"
)

// serverLog gives net/http's own words to the log at their weight. Most of them say that a client has hung up in a handshake.
type serverLog struct{ log *slog.Logger }

func newServerLog(l *slog.Logger) *log.Logger { return log.New(serverLog{l}, "", 0) }

// Write takes one line, as package log promises.
func (l serverLog) Write(line []byte) (int, error) {
	text := string(bytes.TrimSpace(line))
	switch {
	case bytes.Contains(line, []byte("panic serving")):
		l.log.Error("panic in a request", "text", text)
	case bytes.HasPrefix(line, []byte("http: Accept error")):
		l.log.Warn("a connection could not be accepted; is the limit of open files too low?", "text", text)
	default:
		l.log.Debug("http server", "text", text)
	}
	return len(line), nil
}
