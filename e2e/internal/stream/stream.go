// Package stream reads text/event-stream responses block by block, exactly as they came over the wire: the tests look at comments,
// retry fields and blocks without data too, which an EventSource hides. It shares no code with headgate, so that an error in its
// encoder cannot hide behind the same error here.
package stream

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// Block is what stands between two blank lines.
type Block struct {
	Lines []string
}

// String is the block as it came.
func (b Block) String() string { return strings.Join(b.Lines, "\n") }

// Field returns the values of a field, in order (HTML standard, section 9.2.6: one space after the colon is not part of the value).
func (b Block) Field(name string) []string {
	var out []string
	for _, line := range b.Lines {
		field, value, _ := strings.Cut(line, ":")
		if field == name {
			out = append(out, strings.TrimPrefix(value, " "))
		}
	}
	return out
}

// Event is the event type, "message" when the block names none.
func (b Block) Event() string {
	if v := b.last("event"); v != "" {
		return v
	}
	return "message"
}

// Data is the data as an EventSource gives it.
func (b Block) Data() string { return strings.Join(b.Field("data"), "\n") }

// HasData says whether an EventSource would dispatch an event.
func (b Block) HasData() bool { return len(b.Field("data")) > 0 }

// ID is the block's id, "" when it has none.
func (b Block) ID() string { return b.last("id") }

// Retry is the block's retry field, "" when it has none.
func (b Block) Retry() string { return b.last("retry") }

func (b Block) last(name string) string {
	v := b.Field(name)
	if len(v) == 0 {
		return ""
	}
	return v[len(v)-1]
}

// Stream is one open response.
type Stream struct {
	Response *http.Response

	body   *bufio.Reader
	cancel context.CancelFunc
	blocks chan Block
	err    error // why blocks was closed
	lastID string
}

// Client makes one TCP connection per stream, as separate browsers do.
var Client = &http.Client{Transport: &http.Transport{
	DisableKeepAlives:  true,
	DisableCompression: true,
	DialContext:        (&net.Dialer{Timeout: 20 * time.Second}).DialContext,
}}

// Open requests url. header is alternating names and values. The stream ends with ctx or by Close.
func Open(ctx context.Context, url string, header ...string) (*Stream, error) {
	return OpenWith(ctx, Client, url, header...)
}

// OpenWith is Open with a client of the caller's.
func OpenWith(ctx context.Context, client *http.Client, url string, header ...string) (*Stream, error) {
	ctx, cancel := context.WithCancel(ctx)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		cancel()
		return nil, err
	}
	req.Header.Set("Accept", "text/event-stream")
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := client.Do(req)
	if err != nil {
		cancel()
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		defer cancel()
		defer resp.Body.Close()
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
		return nil, &StatusError{resp.StatusCode, resp.Header, string(text)}
	}
	s := &Stream{Response: resp, body: bufio.NewReaderSize(resp.Body, 4<<10), cancel: cancel, blocks: make(chan Block, 64)}
	go s.read(ctx)
	return s, nil
}

// StatusError is an answer other than 200.
type StatusError struct {
	Status int
	Header http.Header
	Body   string
}

func (e *StatusError) Error() string { return fmt.Sprintf("status %d: %s", e.Status, e.Body) }

// Next returns the next block. After the end of the response the error is io.EOF, or what broke it.
func (s *Stream) Next(ctx context.Context) (Block, error) {
	select {
	case b, ok := <-s.blocks:
		if !ok {
			return Block{}, s.err
		}
		if id := b.ID(); id != "" {
			s.lastID = id
		}
		return b, nil
	case <-ctx.Done():
		return Block{}, ctx.Err()
	}
}

// Until returns the next block whose event type is one of types; blocks before it are passed over.
func (s *Stream) Until(ctx context.Context, types ...string) (Block, error) {
	var passed []string
	for {
		b, err := s.Next(ctx)
		if err != nil {
			return b, fmt.Errorf("waiting for %v, after %q: %w", types, passed, err)
		}
		for _, want := range types {
			if b.HasData() && b.Event() == want {
				return b, nil
			}
		}
		passed = append(passed, b.String())
	}
}

// LastID is the id an EventSource would reconnect with.
func (s *Stream) LastID() string { return s.lastID }

// Close ends the stream from the client's side.
func (s *Stream) Close() {
	s.cancel()
	s.Response.Body.Close()
	for range s.blocks { // the reader is gone when the channel is closed
	}
}

func (s *Stream) read(ctx context.Context) {
	defer close(s.blocks)
	for {
		b, err := ReadBlock(s.body)
		if err != nil {
			s.err = err
			return
		}
		select {
		case s.blocks <- b:
		case <-ctx.Done():
			s.err = ctx.Err()
			return
		}
	}
}

// ReadBlock reads one block. A block that the end of the input cuts off is lost, as in an EventSource.
func ReadBlock(r *bufio.Reader) (Block, error) {
	var b Block
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			if errors.Is(err, io.EOF) && line != "" {
				err = io.ErrUnexpectedEOF
			}
			return b, err
		}
		line = strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")
		if line != "" {
			b.Lines = append(b.Lines, line)
		} else if len(b.Lines) > 0 {
			return b, nil
		}
	}
}
