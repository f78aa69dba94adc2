//go:build !nodev

package main

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// once runs the program to its end.
func once(t *testing.T, environ []string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	p := start(t, environ, args...)
	code = p.wait()
	return code, p.stdout.String(), p.stderr.String()
}

func TestCheck_TellsEveryErrorAtOnce(t *testing.T) {
	code, _, stderr := once(t, []string{"AUTH_MODE=none", "SSE_HEARTBEAT=soon", "SUBJECTS_ALLOW=>", "LOG_LEVEL=loud"}, "-check")
	if code != exitUsage {
		t.Errorf("exit code %d", code)
	}
	for _, want := range []string{"SSE_HEARTBEAT", "SUBJECTS_ALLOW", "LOG_LEVEL", "3 errors"} {
		if !strings.Contains(stderr, want) {
			t.Errorf("%q is missing in:\n%s", want, stderr)
		}
	}
}

func TestCheck_TellsWarningsBesideErrors(t *testing.T) {
	for _, args := range [][]string{{"-check"}, nil} {
		code, _, stderr := once(t, []string{"AUTH_MODE=none", "SUBJECTS_ALLOW=a", "LOG_LEVEL=loud", "SSE_FOO=1"}, args...)
		if code != exitUsage || !strings.Contains(stderr, "LOG_LEVEL") || !strings.Contains(stderr, "warning: SSE_FOO: ") {
			t.Errorf("%v: exit code %d:\n%s", args, code, stderr)
		}
	}
}

func TestStart_DevListensOnThisMachineAlone(t *testing.T) {
	code, _, stderr := once(t, []string{"HTTP_ADDR=:18085", "ADMIN_ADDR=:19095"}, "-dev")
	if code != exitUsage || !strings.Contains(stderr, "HTTP_ADDR=127.0.0.1:18085") || !strings.Contains(stderr, "ADMIN_ADDR=127.0.0.1:19095") {
		t.Errorf("exit code %d:\n%s", code, stderr)
	}
}

func TestCheck_FindsPathsThatNeitherRouteCanWin(t *testing.T) {
	file := filepath.Join(t.TempDir(), "routes.yaml")
	routes := "version: 1\nroutes:\n  - {name: a, path: \"/{x}/b\", source: {type: core, subject: \"a.{x}\"}}\n  - {name: b, path: \"/a/{y}\", source: {type: core, subject: \"a.{y}\"}}\n"
	if err := os.WriteFile(file, []byte(routes), 0o600); err != nil {
		t.Fatal(err)
	}
	code, _, stderr := once(t, []string{"AUTH_MODE=none", "ROUTES_FILE=" + file}, "-check")
	if code != exitUsage || !strings.Contains(stderr, "/{x}/b") {
		t.Errorf("exit code %d:\n%s", code, stderr)
	}
}

func TestCheck_AGoodConfigurationIsGood(t *testing.T) {
	code, stdout, stderr := once(t, []string{"AUTH_MODE=none", "SUBJECTS_ALLOW=feed.>"}, "-check")
	if code != exitOK || !strings.Contains(stdout, "good") {
		t.Errorf("exit code %d: %s%s", code, stdout, stderr)
	}
}

func TestStart_RefusesToGuessWhoMayRead(t *testing.T) {
	code, _, stderr := once(t, []string{"SUBJECTS_ALLOW=feed.>"})
	if code != exitUsage || !strings.Contains(stderr, "AUTH_MODE") {
		t.Errorf("exit code %d:\n%s", code, stderr)
	}
}

func TestStart_ATakenPortIsNamedWithARemedy(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	code, _, stderr := once(t, base("AUTH_MODE=none", "SUBJECTS_ALLOW=feed.>", "HTTP_ADDR="+ln.Addr().String()))
	if code != exitFailed || !strings.Contains(stderr, "another process has this port") || !strings.Contains(stderr, "HTTP_ADDR") {
		t.Errorf("exit code %d:\n%s", code, stderr)
	}
}

func TestHealthcheck_AsksTheProcessOfItsEnvironment(t *testing.T) {
	p := start(t, base(), "-dev").listening()
	environ := []string{"ADMIN_ADDR=" + strings.TrimPrefix(p.admin, "http://")}
	if code, stdout, stderr := once(t, environ, "-healthcheck"); code != exitOK || !strings.Contains(stdout, "alive") {
		t.Errorf("exit code %d: %s%s", code, stdout, stderr)
	}
	p.signals <- os.Interrupt
	p.wait()
	if code, _, stderr := once(t, environ, "-healthcheck"); code != exitFailed || !strings.Contains(stderr, "not alive") {
		t.Errorf("after the end: exit code %d: %s", code, stderr)
	}
}

func TestFlags_ThatOnlyTell(t *testing.T) {
	for _, tc := range []struct {
		name, flag string
		code       int
		want       string
	}{
		{"version", "-version", exitOK, "headgate "},
		{"help lists flags", "-help", exitOK, "-dev"},
		{"help lists settings", "-h", exitOK, "SSE_HEARTBEAT"},
		{"an unknown flag", "-deev", exitUsage, "-deev"},
		{"an argument", "serve", exitUsage, `"serve"`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			code, stdout, stderr := once(t, nil, tc.flag)
			if code != tc.code || !strings.Contains(stdout+stderr, tc.want) {
				t.Errorf("exit code %d, wanted %q in:\n%s%s", code, tc.want, stdout, stderr)
			}
		})
	}
}

func TestPrintConfig_ShowsEverythingButSecrets(t *testing.T) {
	code, stdout, stderr := once(t, []string{"AUTH_MODE=none", "SUBJECTS_ALLOW=feed.>", "NATS_USER=gate", "NATS_PASSWORD=hunter2"}, "-print-config")
	if code != exitOK || !strings.Contains(stdout, "NATS_USER=gate") || strings.Contains(stdout+stderr, "hunter2") {
		t.Errorf("exit code %d:\n%s%s", code, stdout, stderr)
	}
}
