package sse

import (
	"bufio"
	"bytes"
	"io"
	"strconv"
	"strings"
)

// Event is one block of a stream as a client understands it.
type Event struct {
	ID       string   // the client's last event id behind this block, also when the block has no id line
	Type     string   // "message" when the block names none
	Data     string   // lines joined by LF
	Comments []string // text behind the colon of each comment line
	Retry    int64    // milliseconds, when HasRetry
	HasRetry bool
	HasID    bool // the block itself has an id line that counts
	Silent   bool // the block has no data: a client dispatches nothing, but takes over id and retry
}

// Decoder reads a stream by the rules of the HTML Living Standard, sections 9.2.5 (parsing) and 9.2.6 (interpreting), which are
// those of every EventSource. It returns a block as soon as its blank line is there. It is for one goroutine, and trusts its peer
// with the length of a line.
type Decoder struct {
	r       *bufio.Reader
	line    []byte
	skipLF  bool // the last line ended with CR: an LF that follows belongs to it
	started bool // the byte order mark has been looked for

	idBuffer string // the standard's last event ID buffer: set by id lines, never reset by a block
	lastID   string // the standard's last event ID string: what a reconnect sends
	retry    int64
	hasRetry bool
}

// NewDecoder reads from r.
func NewDecoder(r io.Reader) *Decoder { return &Decoder{r: bufio.NewReader(r)} }

// LastEventID is what a client that loses its connection now would send in Last-Event-ID, none when it is empty.
func (d *Decoder) LastEventID() string { return d.lastID }

// Retry is the reconnection time in milliseconds, and whether the stream has set one.
func (d *Decoder) Retry() (int64, bool) { return d.retry, d.hasRetry }

// Next returns the next event that a client dispatches. An incomplete block at the end of the stream is dropped, and the error is
// io.EOF.
func (d *Decoder) Next() (Event, error) {
	for {
		e, err := d.NextBlock()
		if err != nil || !e.Silent {
			return e, err
		}
	}
}

// NextBlock returns the next block that has any line, also one that dispatches nothing: an id alone, retry, comments.
func (d *Decoder) NextBlock() (Event, error) {
	var e Event
	var data []byte
	lines := 0
	for {
		if err := d.readLine(); err != nil {
			return Event{}, err
		}
		if len(d.line) > 0 {
			data = d.field(&e, data)
			lines++
			continue
		}
		// The id counts even when nothing is dispatched.
		d.lastID = d.idBuffer
		if lines > 0 {
			break
		}
	}
	e.ID = d.lastID
	if len(data) == 0 {
		e.Silent, e.Type = true, ""
		return e, nil
	}
	e.Data = string(data[:len(data)-1])
	if e.Type == "" {
		e.Type = Message
	}
	return e, nil
}

// field takes one line that is not empty, and returns data with what the line adds.
func (d *Decoder) field(e *Event, data []byte) []byte {
	name, value, _ := bytes.Cut(d.line, []byte(":"))
	if len(name) == 0 && len(d.line) > 0 && d.line[0] == ':' {
		e.Comments = append(e.Comments, string(value))
		return data
	}
	value = bytes.TrimPrefix(value, []byte(" "))
	switch string(name) {
	case "data":
		data = append(data, value...)
		return append(data, '\n')
	case "event":
		e.Type = string(value)
	case "id":
		if bytes.IndexByte(value, 0) < 0 {
			d.idBuffer, e.HasID = string(value), true
		}
	case "retry":
		if ms, ok := parseRetry(string(value)); ok {
			d.retry, d.hasRetry = ms, true
			e.Retry, e.HasRetry = ms, true
		}
	}
	return data
}

// parseRetry takes ASCII digits only. A number beyond 64 bits is no time anybody waits for, and ignored.
func parseRetry(s string) (int64, bool) {
	if s == "" || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	ms, err := strconv.ParseInt(s, 10, 64)
	return ms, err == nil
}

// readLine puts the next line into d.line, without its end, decoded as UTF-8. A line that the stream ends in is dropped.
func (d *Decoder) readLine() error {
	d.line = d.line[:0]
	for {
		if _, err := d.r.Peek(1); err != nil {
			return err
		}
		b, _ := d.r.Peek(d.r.Buffered())
		if d.skipLF {
			d.skipLF = false
			if b[0] == '\n' {
				d.discard(1)
				continue
			}
		}
		end := lineEnd(b)
		if end < 0 {
			d.line = append(d.line, b...)
			d.discard(len(b))
			continue
		}
		// The next read must not wait for an LF that may never come.
		d.skipLF = b[end] == '\r'
		d.line = append(d.line, b[:end]...)
		d.discard(end + 1)
		break
	}
	if !d.started {
		d.started = true
		d.line = bytes.TrimPrefix(d.line, []byte("\uFEFF"))
	}
	d.line = toValidUTF8(d.line)
	return nil
}

// lineEnd is the place of the first CR or LF, or -1.
func lineEnd(b []byte) int {
	lf := bytes.IndexByte(b, '\n')
	if lf >= 0 {
		b = b[:lf]
	}
	if cr := bytes.IndexByte(b, '\r'); cr >= 0 {
		return cr
	}
	return lf
}

// discard drops bytes that have been peeked, which cannot fail.
func (d *Decoder) discard(n int) { _, _ = d.r.Discard(n) }
