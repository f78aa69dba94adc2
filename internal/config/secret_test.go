package config

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The secrets of these tests all hold this word, which no output may have.
const word = "hunter2"

func TestSecrets_AreTakenFromFilesWithoutTheLineEnd(t *testing.T) {
	c, _, err := Load(Options{Environ: []string{"AUTH_MODE=none", "SUBJECTS_ALLOW=a", "NATS_TOKEN_FILE=/run/token"},
		ReadFile: files(map[string]string{"/run/token": "  " + word + "\r\n"})})
	if err != nil || c.NATS.Token != word {
		t.Fatal(err, c.NATS.Token)
	}
}

func TestSecrets_AreReadAgainWhenTheFileChanges(t *testing.T) {
	file := filepath.Join(t.TempDir(), "password")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("one\n")
	c, _, err := Load(Options{Environ: []string{"AUTH_MODE=none", "SUBJECTS_ALLOW=a", "NATS_USER=u", "NATS_PASSWORD_FILE=" + file}})
	if err != nil || c.NATS.Password != "one" {
		t.Fatal(err)
	}
	write("two\n")
	if p, err := c.NATS.ReadPassword(); err != nil || p != "two" {
		t.Error(p, err)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if p, err := c.NATS.ReadPassword(); err == nil || p != "one" {
		t.Error("without the file the last password must stay, with an error:", p, err)
	}
	if p, err := (NATS{Token: "t"}).ReadToken(); err != nil || p != "t" {
		t.Error(p, err)
	}
}

func TestSecrets_NeverAppearInErrorsOrOutput(t *testing.T) {
	denied := func(name string) ([]byte, error) {
		if strings.Contains(name, "denied") {
			return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrPermission}
		}
		return files(map[string]string{"/run/secret": word, "/run/empty": "\n"})(name)
	}
	for _, env := range [][]string{
		{"NATS_USER=u", "NATS_PASSWORD=" + word},
		{"NATS_USER=u", "NATS_PASSWORD=" + word + "\x00"},
		{"NATS_PASSWORD=" + word, "NATS_TOKEN=" + word},
		{"NATS_TOKEN=" + word, "NATS_TOKEN_FILE=/run/secret"},
		{"NATS_TOKEN_FILE=" + word},
		{"NATS_TOKEN_FILE=/run/secret"},
		{"NATS_TOKEN_FILE=/run/empty"},
		{"NATS_TOKEN_FILE=/run/denied"},
		{"NATS_PASWORD=" + word, "NATS_PASS=" + word, "NATS_SECRET=" + word},
		{"NATS_URL=nats://user:" + word + "@a:4222," + word + "@b:4222"},
		{"NATS_URL=nats://user:" + word + "@a:4222", "NATS_USER=u"},
		{"NATS_URL=http://user:" + word + "@a:4222"},
		{"NATS_URL=nats://user:" + word + "@a:x"},
		{"NATS_URL=nats://user:" + word + "%zz@a:4222"},
		{"NATS_URL=nats://user:" + word + "/slash@a:4222"},
		{"NATS_URL=nats://user:" + word + ",comma@a:4222"},
		{"NATS_URL=nats://user:" + word + ",two,commas@a:4222"},
		{"NATS_URL=nats://user:1/" + word + "@a:4222"},
		{"NATS_URL=nats://user:" + word + "#@a:4222"},
		{"NATS_URL=nats://user:" + word + " @a:4222"},
		{"NATS_CREDS_FILE=" + word},
		{"NATS_PASSWORD_FILE=/" + word + "+x=", "NATS_USER=u"},
		{"NATS_PASSWORD_FILE=Ab/" + word, "NATS_USER=u"},
		{"NATS_NKEY_FILE=" + word},
		{"NATS_CREDS_FILE=-----BEGIN NATS USER JWT-----\n" + word},
		{"HTTP_TLS_KEY_FILE=-----BEGIN PRIVATE KEY-----\n" + word},
		{"NATS_TLS_KEY_FILE=-----BEGIN PRIVATE KEY----- " + word},
	} {
		c, warnings, err := Load(Options{Environ: append(env, "AUTH_MODE=none", "SUBJECTS_ALLOW=a"), ReadFile: denied})
		var b strings.Builder
		if e := Print(&b, c); e != nil {
			t.Fatal(e)
		}
		fmt.Fprintf(&b, "%v %+v %#v %s", c, c, c, c.NATS)
		if err != nil {
			b.Reset() // only a good configuration is printed or logged
			b.WriteString(err.Error())
		}
		for _, w := range warnings {
			b.WriteString(w.String())
		}
		if strings.Contains(b.String(), word) {
			t.Errorf("%v shows the secret:\n%s", env, b.String())
		}
	}
}

func TestSecrets_PathsOfFilesAreShown(t *testing.T) {
	for _, env := range []string{
		"ROUTES_FILE=cfg/missing.yaml", "ROUTES_FILE=missing", "HTTP_TLS_CERT_FILE=tls.crt", "HTTP_TLS_KEY_FILE=TLS/key", "NATS_TLS_CA_FILE=ca",
		"NATS_CREDS_FILE=headgate.creds", "NATS_CREDS_FILE=Secrets/headgate.creds", "NATS_NKEY_FILE=./nkey", "NATS_NKEY_FILE=/run/secrets/..data/nkey",
		"NATS_TOKEN_FILE=secrets/token", "NATS_TOKEN_FILE=/run/secrets/token", "NATS_TOKEN_FILE=C:\\secrets\\token",
	} {
		_, _, err := Load(Options{Environ: []string{"AUTH_MODE=none", "SUBJECTS_ALLOW=a", env}, ReadFile: files(nil)})
		variable, path, _ := strings.Cut(env, "=")
		if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%s=%q: cannot be read", variable, path)) {
			t.Errorf("%s: %v", env, err)
		}
	}
}

func TestSecrets_UnreadableFilesComeWithARemedy(t *testing.T) {
	for _, file := range []string{"/run/none", "/run/denied", "/run/empty", "bare"} {
		_, _, err := Load(Options{Environ: []string{"AUTH_MODE=none", "SUBJECTS_ALLOW=a", "NATS_TOKEN_FILE=" + file}, ReadFile: func(name string) ([]byte, error) {
			switch name {
			case "/run/denied":
				return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrPermission}
			case "/run/empty":
				return []byte(" \n"), nil
			}
			return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
		}})
		list, _ := err.(Errors)
		if len(list) != 1 || list[0].Hint == "" || list[0].Variable != "NATS_TOKEN_FILE" {
			t.Errorf("%s: %v", file, err)
		}
	}
}

// The URL of a JWK set may hold a key of its own.
func TestPrint_HidesTheQueryOfAJWKSURL(t *testing.T) {
	c := DefaultConfig()
	c.Auth.JWKSURL = "https://i.example/k?api_key=hunter2"
	c.Auth.Issuers = []Issuer{{Issuer: "i", Audience: []string{"a"}, JWKSURL: "https://j.example/k?api_key=hunter2"}}
	var b strings.Builder
	if err := Print(&b, c); err != nil {
		t.Fatal(err)
	}
	if text := b.String(); strings.Contains(text, "hunter2") || !strings.Contains(text, "https://i.example/k?***") || !strings.Contains(text, "https://j.example/k?***") {
		t.Error(text)
	}
}

// A line of the routes file is shown with what is wrong in it, and not with the secrets that it may hold beside that.
func TestSecrets_OfTheRoutesFileAreInNoExcerpt(t *testing.T) {
	const word = "hunter2"
	for _, block := range []string{
		`auth: {issuers: [{issuer: a, audience: [h], jwks_url: "http://a.example/k?api_key=hunter2"}]}`,
		`auth: {issuers: [{issuer: a, audience: [h], jwks_url: "/k?api_key=hunter2"}]}`,
		`auth: {issuers: [{issuer: a, audience: [h], jwks_url: 'https://a.example/k?api="a", x= hunter2', algorithms: [none]}]}`,
		`auth: {issuers: [{issuer: a, audience: [], jwks_url: "https://a.example/k?api_key=hunter2"}]}`,
		`auth: {issuers: [{issuer: a, audience: [h], jwks_url: "https://a.example/k?api_key=hunter2", algorithms: [none]}]}`,
		`auth: {issuers: [{issuer: a, audience: [h], jwks_url: "https://a.example/k?api_key=hunter2", jwksurl: x}]}`,
		`auth: {issuers: [{issuer: a, audience: [h], jwks_url: "https://a.example/k?api_key=hunter2"]}`,
		`auth: {issuers: [{issuer: a, audience: [h], jwks_url: ["https://a.example/k?api_key=hunter2"]}]}`,
		`auth: {issuers: [{issuer: a, audience: [h], jwks_url: "https://u:hunter2@a.example/k"}]}`,
		`auth: {issuers: [{issuer: a, audience: [h], jwks_url: "https://u:/?#hunter2@a.example/k", algorithms: [none]}]}`,
		`auth: {issuers: [{issuer: a, audience: [h], jwks_url: "https://u:hunter2@a.example/k", algorithms: [HS256]}]}`,
		"auth:\n  issuers:\n    - issuer: a\n      audience: [h]\n      jwks_url: http://a.example/k?api_key=hunter2\n",
		`auth: {issuers: [{issuer: a, audience: [h], secret_file: hunter2}]}`,
		`auth: {issuers: [{issuer: a, audience: [], secret_file: hunter2}]}`,
		`auth: {issuers: [{issuer: a, audience: [h], secret_file: "x,hunter2", algorithms: [RS256]}]}`,
		`auth: {issuers: [{issuer: a, audience: [h], "secret_file" : 'x hunter2', algorithms: [RS256]}]}`,
	} {
		_, list := loadJWT(t, "version: 1\n"+block+"\nroutes: [{name: a, path: /a, source: {type: core, subject: a}}]\n")
		if text := list.Error(); len(list) == 0 || strings.Contains(text, word) {
			t.Errorf("%s:\n%s", block, text)
		}
	}
	line := `{jwks_url: "https://ü:pw@a/k?x=1", a: 2}`
	if got := hideSecrets(line); len([]rune(got)) != len([]rune(line)) || got != `{jwks_url: "https://****@a/k?***********` {
		t.Errorf("%s", got)
	}
	for _, harmless := range []string{`cors: {origins: ["https://app.example"]}`, `{secret_file: /run/secrets/hs, algorithms: [XX]}`, `event: {type: "a?b"}`} {
		if got := hideSecrets(harmless); got != harmless {
			t.Errorf("%s became %s", harmless, got)
		}
	}
}

// The message names the variable that was given, not its sibling.
func TestSecrets_TwoKindsOfCredentialsAreNamedAsTheyWereGiven(t *testing.T) {
	for given, want := range map[string]string{"NATS_TOKEN_FILE=/run/token": "NATS_TOKEN_FILE", "NATS_TOKEN=t": "NATS_TOKEN"} {
		_, _, err := Load(Options{Environ: []string{"AUTH_MODE=none", "SUBJECTS_ALLOW=a", "NATS_USER=u", given},
			ReadFile: func(string) ([]byte, error) { return []byte("t"), nil }})
		list, _ := err.(Errors)
		if len(list) != 1 || list[0].Variable != "NATS_USER" || list[0].Message != "given together with "+want {
			t.Errorf("%s: %v", given, err)
		}
	}
}
