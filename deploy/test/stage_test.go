package deploy_test

import (
	"bufio"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// stageRoutes are what the stage serves. The version makes one file differ from another.
const stageRoutes = `
version: 1
routes:
  - {name: prices, path: "/v1/prices/{symbol}", source: {type: core, subject: "prices.{symbol}"}, auth: {required: false}}
  - {name: orders, path: /v1/orders, source: {type: stream, stream: ORDERS, subject: "orders.>"}, auth: {required: false}, resume: {max_events: %d}}
  - {name: flags, path: /v1/flags, source: {type: kv, bucket: FLAGS}, auth: {required: false}}
  - {name: logs, path: /v1/logs, source: {type: core, subject: "logs.web"}, auth: {required: false}, slow_consumer: drop_oldest}
  - {name: own, path: /v1/own, source: {type: core, subject: "own.{claims.sub}"}}
  - {name: few, path: /v1/few, source: {type: core, subject: "few.a"}, auth: {required: false}, on_overload: status, limits: {connections: 3}}
`

const stageSecret = "a secret of at least thirty-two bytes"

// stage is NATS, replicas of headgate and clients of all kinds, on which everything happens that a dashboard should show.
type stage struct {
	t        *testing.T
	dir      string
	natsAddr string
	nats     *killable
	replicas []*replica
	ended    context.Context
	clients  sync.WaitGroup
	opened   atomic.Int64
	last     atomic.Value // an id of the stream from a while ago
}

// replica is a headgate that can be ended and started again.
type replica struct {
	addrs
	pod  string
	tls  bool // its listener has the stage's certificate
	proc *killable
}

// killable is a program that does not live as long as its test.
type killable struct {
	cmd   *exec.Cmd
	ended chan struct{}
}

func (s *stage) spawn(name, path string, env []string, args ...string) *killable {
	s.t.Helper()
	cmd := exec.Command(path, args...)
	cmd.Env = env
	log, err := os.OpenFile(filepath.Join(s.dir, name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		s.t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	k := &killable{cmd, make(chan struct{})}
	go func() { _ = cmd.Wait(); _ = log.Close(); close(k.ended) }()
	s.t.Cleanup(func() { k.stop(syscall.SIGKILL) })
	return k
}

func (k *killable) stop(how os.Signal) {
	_ = k.cmd.Process.Signal(how)
	<-k.ended
}

func newStage(t *testing.T, replicas int) *stage {
	t.Helper()
	s := &stage{t: t, dir: t.TempDir(), natsAddr: freeAddr(t)}
	t.Cleanup(func() {
		if t.Failed() {
			for _, name := range []string{"headgate-0", "nats", "prometheus"} {
				text, _ := os.ReadFile(filepath.Join(s.dir, name+".log"))
				t.Logf("%s, the end of its log:\n%s", name, text[max(0, len(text)-3000):])
			}
		}
	})
	s.startNATS()
	s.ask("$JS.API.STREAM.CREATE.ORDERS", `{"name":"ORDERS","subjects":["orders.>"],"retention":"limits","storage":"file","max_msgs":600,"allow_direct":true}`)
	s.ask("$JS.API.STREAM.CREATE.KV_FLAGS", `{"name":"KV_FLAGS","subjects":["$KV.FLAGS.>"],"max_msgs_per_subject":1,"allow_rollup_hdrs":true,"deny_delete":true,"allow_direct":true,"discard":"new"}`)
	s.ask("$JS.API.STREAM.CREATE.KV_REVOKED", `{"name":"KV_REVOKED","subjects":["$KV.REVOKED.>"],"max_msgs_per_subject":1,"allow_rollup_hdrs":true,"deny_delete":true,"allow_direct":true,"discard":"new","max_age":3600000000000}`)
	s.routes(fmt.Sprintf(stageRoutes, 200))
	if err := os.WriteFile(filepath.Join(s.dir, "secret"), []byte(stageSecret), 0o600); err != nil {
		t.Fatal(err)
	}
	s.certify(20 * 24 * time.Hour)
	for n := range replicas {
		r := &replica{addrs: addrs{freeAddr(t), freeAddr(t)}, pod: fmt.Sprintf("edge-headgate-%d", n), tls: n == replicas-1}
		s.replicas = append(s.replicas, r)
		s.startReplica(n)
	}
	return s
}

func (s *stage) startNATS() {
	_, port, _ := net.SplitHostPort(s.natsAddr)
	s.nats = s.spawn("nats", built(s.t, bin.nats), nil, "-a", "127.0.0.1", "-p", port, "-js", "-sd", filepath.Join(s.dir, "js"))
	for end := time.Now().Add(30 * time.Second); ; {
		if conn, err := net.Dial("tcp", s.natsAddr); err == nil {
			_ = conn.Close()
			return
		}
		if time.Now().After(end) {
			s.t.Fatal("NATS does not start")
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (s *stage) routes(text string) {
	next := filepath.Join(s.dir, "routes.next")
	if err := os.WriteFile(next, []byte(text), 0o644); err != nil {
		s.t.Error(err)
	}
	if err := os.Rename(next, filepath.Join(s.dir, "routes.yaml")); err != nil {
		s.t.Error(err)
	}
}

func (s *stage) startReplica(n int) {
	r := s.replicas[n]
	env := []string{"HTTP_ADDR=" + r.public, "ADMIN_ADDR=" + r.admin, "NATS_URL=nats://" + s.natsAddr,
		"AUTH_MODE=jwt", "AUTH_ISSUER=stage", "AUTH_AUDIENCE=headgate", "AUTH_SECRET_FILE=" + filepath.Join(s.dir, "secret"), "ROUTES_FILE=" + filepath.Join(s.dir, "routes.yaml"),
		"JETSTREAM_PREFILL_TIMEOUT=5s", "GOMEMLIMIT=268435456", "AUTH_REVOCATION_BUCKET=REVOKED", "AUTH_REVOCATION_TTL=1h", "ROUTES_RELOAD=1s", "ROUTES_SPREAD=3s",
		"SHUTDOWN_DELAY=1s", "SHUTDOWN_DRAIN=8s", "SSE_RETRY=1s", "SSE_RETRY_JITTER=2s", "SSE_HEARTBEAT=5s", "SSE_BUFFER_BYTES=64KiB", "SSE_BUFFER_AGE=8s", "SSE_MAX_AGE=2m"}
	if r.tls {
		env = append(env, "HTTP_TLS_CERT_FILE="+filepath.Join(s.dir, "tls.crt"), "HTTP_TLS_KEY_FILE="+filepath.Join(s.dir, "tls.key"))
	}
	r.proc = s.spawn(fmt.Sprintf("headgate-%d", n), built(s.t, bin.headgate), env)
	for end := time.Now().Add(60 * time.Second); ; {
		if status, _, err := get(s.t.Context(), "http://"+r.admin+"/readyz"); err == nil && status == http.StatusOK {
			return
		}
		if time.Now().After(end) {
			s.t.Fatalf("%s does not become ready", r.pod)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// ask speaks the text protocol of NATS: one message, and when it has an answer, that.
func (s *stage) ask(subject, body string) {
	s.t.Helper()
	conn, err := net.Dial("tcp", s.natsAddr)
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	fmt.Fprintf(conn, "CONNECT {\"verbose\":false}\r\nSUB answer 1\r\nPUB %s answer %d\r\n%s\r\n", subject, len(body), body)
	r := bufio.NewReader(conn)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			s.t.Fatalf("%s: %v", subject, err)
		}
		if strings.HasPrefix(line, "MSG ") {
			answer, _ := r.ReadString('\n')
			if strings.Contains(answer, `"error"`) {
				s.t.Fatalf("%s: %s", subject, answer)
			}
			return
		}
	}
}

// publish sends messages of every kind, and goes on when NATS was away. busy makes waves.
func (s *stage) publish(perSecond int) {
	began, n := time.Now(), 0
	line := strings.Repeat("x", 1500)
	for s.ended.Err() == nil {
		conn, err := net.Dial("tcp", s.natsAddr)
		if err != nil {
			time.Sleep(100 * time.Millisecond)
			continue
		}
		go func() { _, _ = io.Copy(io.Discard, conn) }() // PING is answered below, in any case
		w := bufio.NewWriter(conn)
		fmt.Fprint(w, "CONNECT {\"verbose\":false}\r\n")
		send := func(subject, body string) { fmt.Fprintf(w, "PUB %s %d\r\n%s\r\n", subject, len(body), body) }
		tick := time.NewTicker(20 * time.Millisecond)
		for err == nil && s.ended.Err() == nil {
			<-tick.C
			wave := 1 + int(time.Since(began).Seconds()/7)%4 // of the load
			for range perSecond * wave / 50 / 2 {
				n++
				send(fmt.Sprintf("prices.S%d", rand.IntN(20)), fmt.Sprintf(`{"n":%d,"price":%.2f}`, n, 100*rand.Float64()))
				if n%4 == 0 {
					send(fmt.Sprintf("orders.eu.%d", n%7), fmt.Sprintf(`{"order":%d}`, n))
				}
				if n%40 == 0 {
					send(fmt.Sprintf("$KV.FLAGS.flag%d", n%9), "on")
					send(fmt.Sprintf("own.user%d", rand.IntN(20)), "hello")
				}
			}
			for range 3 {
				send("logs.web", line)
			}
			fmt.Fprint(w, "PONG\r\n")
			err = w.Flush()
		}
		tick.Stop()
		_ = conn.Close()
	}
}

// token is one of a user, that is good for so long (RFC 7515, appendix A.1).
func stageToken(user string, life time.Duration) string {
	encode := base64.RawURLEncoding.EncodeToString
	signed := encode([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + encode(fmt.Appendf(nil, `{"iss":"stage","aud":"headgate","sub":%q,"exp":%d}`, user, time.Now().Add(life).Unix()))
	mac := hmac.New(sha256.New, []byte(stageSecret))
	mac.Write([]byte(signed))
	return signed + "." + encode(mac.Sum(nil))
}

// visitor is a kind of client.
type visitor struct {
	path  func() string
	token func() string
	stay  time.Duration // on average; 0 = as long as it can
	slow  bool          // reads next to nothing
	stale bool          // shows an id from long ago
}

// visit behaves as an EventSource does, at whichever replica is there.
func (s *stage) visit(v visitor) {
	id := ""
	for s.ended.Err() == nil {
		r := s.replicas[rand.IntN(len(s.replicas))]
		id = s.stream(r, v, id)
		pause := time.Second + rand.N(2*time.Second)
		select {
		case <-time.After(pause):
		case <-s.ended.Done():
		}
	}
}

// stream reads one stream to its end, and returns the last id.
func (s *stage) stream(r *replica, v visitor, id string) string {
	conn, err := net.DialTimeout("tcp", r.public, 2*time.Second)
	if err != nil {
		return id
	}
	stop := context.AfterFunc(s.ended, func() { _ = conn.Close() })
	defer stop()
	defer conn.Close()
	if v.slow {
		_ = conn.(*net.TCPConn).SetReadBuffer(4096)
	}
	if r.tls {
		conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
	}
	if v.stale {
		id, _ = s.last.Load().(string)
	}
	var head strings.Builder
	fmt.Fprintf(&head, "GET %s HTTP/1.1\r\nHost: stage\r\nAccept: text/event-stream\r\n", v.path())
	if v.token != nil {
		fmt.Fprintf(&head, "Authorization: Bearer %s\r\n", v.token())
	}
	if id != "" {
		fmt.Fprintf(&head, "Last-Event-ID: %s\r\n", id)
	}
	if _, err := io.WriteString(conn, head.String()+"\r\n"); err != nil {
		return id
	}
	if v.stay > 0 {
		_ = conn.SetReadDeadline(time.Now().Add(v.stay/2 + rand.N(v.stay)))
	}
	if v.slow {
		for buffer := make([]byte, 256); ; time.Sleep(time.Second) {
			if _, err := conn.Read(buffer); err != nil {
				return id
			}
		}
	}
	s.opened.Add(1)
	for in := bufio.NewReaderSize(conn, 2048); ; {
		line, err := in.ReadSlice('\n')
		if now, ok := strings.CutPrefix(string(line), "id: "); ok {
			id = strings.TrimSpace(now)
		}
		if err != nil && err != bufio.ErrBufferFull {
			return id
		}
	}
}

// crowd lets visitors in, spread over a time.
func (s *stage) crowd(n int, over time.Duration, v visitor) {
	for i := range n {
		s.clients.Go(func() {
			select {
			case <-time.After(over * time.Duration(i) / time.Duration(n)):
			case <-s.ended.Done():
			}
			s.visit(v)
		})
	}
}

func path(text string) func() string { return func() string { return text } }
