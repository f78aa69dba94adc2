// Package lsp talks to a language server as an editor does: the Language Server Protocol 3.17, base protocol, over the server's standard input
// and output.
package lsp

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/textproto"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// Position is a place in a document: line and character, both from 0.
type Position struct {
	Line      int `json:"line"`
	Character int `json:"character"`
}

// Diagnostic is what the server finds wrong in a document.
type Diagnostic struct {
	Range   struct{ Start, End Position } `json:"range"`
	Message string                        `json:"message"`
}

// Server is a running language server. Its methods are for one goroutine.
type Server struct {
	writing sync.Mutex // requests of the caller, and answers to the server's
	in      io.Writer
	next    int // id of a request
	answers chan message
	reports chan report // diagnostics, as they come; the newest one of a document counts
}

type report struct {
	URI         string       `json:"uri"`
	Version     *int         `json:"version"`
	Diagnostics []Diagnostic `json:"diagnostics"`
}

type message struct {
	Version string          `json:"jsonrpc"`
	ID      json.RawMessage `json:"id,omitempty"`
	Method  string          `json:"method,omitempty"`
	Params  any             `json:"params,omitempty"`
	Result  json.RawMessage `json:"result,omitempty"`
	Error   json.RawMessage `json:"error,omitempty"`
}

// Start runs the server for the length of the test, and greets it as an editor without settings does.
func Start(t testing.TB, ctx context.Context, cmd *exec.Cmd) *Server {
	t.Helper()
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{in: in, answers: make(chan message, 100), reports: make(chan report, 100)}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var reading sync.WaitGroup
	reading.Go(func() { s.read(out) })
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		reading.Wait()
		_ = cmd.Wait()
	})
	hello := map[string]any{"processId": nil, "rootUri": nil, "capabilities": map[string]any{
		"textDocument": map[string]any{"publishDiagnostics": map[string]any{}, "completion": map[string]any{}, "hover": map[string]any{}}}}
	if err := s.ask(ctx, "initialize", hello, nil); err != nil {
		t.Fatal(err)
	}
	if err := s.send(message{Method: "initialized", Params: map[string]any{}}); err != nil {
		t.Fatal(err)
	}
	return s
}

// Open shows a document to the server. A document of the same URI that is open is replaced.
func (s *Server) Open(uri, text string, version int) error {
	if version > 1 {
		return s.send(message{Method: "textDocument/didChange", Params: map[string]any{
			"textDocument": map[string]any{"uri": uri, "version": version}, "contentChanges": []any{map[string]any{"text": text}}}})
	}
	return s.send(message{Method: "textDocument/didOpen", Params: map[string]any{
		"textDocument": map[string]any{"uri": uri, "languageId": "yaml", "version": version, "text": text}}})
}

// Diagnostics waits for what the server says of a document, until it says what good accepts.
func (s *Server) Diagnostics(ctx context.Context, uri string, good func([]Diagnostic) bool) ([]Diagnostic, error) {
	var last []Diagnostic
	for {
		select {
		case r, ok := <-s.reports:
			if !ok {
				return last, errors.New("the server has ended")
			}
			if r.URI != uri {
				continue
			}
			if last = r.Diagnostics; good(last) {
				return last, nil
			}
		case <-ctx.Done():
			return last, ctx.Err()
		}
	}
}

// Completion gives the labels that the server offers at a place.
func (s *Server) Completion(ctx context.Context, uri string, at Position) (labels []string, err error) {
	var list struct{ Items []struct{ Label string } }
	err = s.ask(ctx, "textDocument/completion", place(uri, at), &list)
	for _, item := range list.Items {
		labels = append(labels, item.Label)
	}
	return labels, err
}

// Hover gives what the server says about a place.
func (s *Server) Hover(ctx context.Context, uri string, at Position) (string, error) {
	var hover struct{ Contents struct{ Value string } }
	err := s.ask(ctx, "textDocument/hover", place(uri, at), &hover)
	return hover.Contents.Value, err
}

func place(uri string, at Position) any {
	return map[string]any{"textDocument": map[string]any{"uri": uri}, "position": at}
}

func (s *Server) ask(ctx context.Context, method string, params, out any) error {
	s.next++
	id := strconv.Itoa(s.next)
	if err := s.send(message{ID: json.RawMessage(id), Method: method, Params: params}); err != nil {
		return err
	}
	for {
		select {
		case m, ok := <-s.answers:
			switch {
			case !ok:
				return fmt.Errorf("%s: the server has ended", method)
			case string(m.ID) != id: // of one that was given up
			case len(m.Error) > 0:
				return fmt.Errorf("%s: %s", method, m.Error)
			case out == nil:
				return nil
			default:
				return json.Unmarshal(m.Result, out)
			}
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", method, ctx.Err())
		}
	}
}

func (s *Server) send(m message) error {
	m.Version = "2.0"
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	_, err = fmt.Fprintf(s.in, "Content-Length: %d\r\n\r\n%s", len(text), text)
	return err
}

// read takes apart what the server writes: answers, diagnostics, and requests of its own, which all get nothing for an answer.
func (s *Server) read(out io.Reader) {
	defer close(s.answers)
	defer close(s.reports)
	r := textproto.NewReader(bufio.NewReader(out))
	for {
		head, err := r.ReadMIMEHeader()
		if err != nil {
			return
		}
		size, err := strconv.Atoi(strings.TrimSpace(head.Get("Content-Length")))
		if err != nil {
			return
		}
		text := make([]byte, size)
		if _, err := io.ReadFull(r.R, text); err != nil {
			return
		}
		var m message
		var note struct{ Params report }
		if json.Unmarshal(text, &m) != nil {
			return
		}
		switch {
		case m.Method == "textDocument/publishDiagnostics":
			if json.Unmarshal(text, &note) == nil {
				offer(s.reports, note.Params)
			}
		case m.Method != "" && len(m.ID) > 0:
			_ = s.send(message{ID: m.ID, Result: json.RawMessage("null")})
		case len(m.ID) > 0:
			offer(s.answers, m)
		}
	}
}

// offer puts a value into a channel, in the place of the oldest one when it is full.
func offer[T any](c chan T, v T) {
	for {
		select {
		case c <- v:
			return
		default:
		}
		select {
		case <-c:
		default:
		}
	}
}
