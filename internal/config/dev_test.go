package config

import (
	"slices"
	"strings"
	"testing"
)

func TestLoad_DevAcceptsItsOwnTokensWhereNobodyElseIsNamed(t *testing.T) {
	own := "version: 1\nroutes: [{name: a, path: /a, source: {type: core, subject: a}}]\n"
	named := "version: 1\nauth: {issuers: [{issuer: i, audience: [h], jwks_url: \"https://i.example/jwks.json\"}]}\nroutes: [{name: a, path: /a, source: {type: core, subject: a}}]\n"
	const key = "/cache/dev-token.pub"
	for name, tc := range map[string]struct {
		dev     bool
		key     string
		env     []string
		mode    string
		issuers []string
		private bool // the routes of the demo for callers with a token are there
	}{
		"the demo":                      {true, key, nil, "jwt", []string{DevIssuer}, true},
		"no key":                        {true, "", nil, "none", nil, false},
		"nobody is asked":               {true, key, []string{"AUTH_MODE=none"}, "none", nil, false},
		"routes of one's own":           {true, key, []string{"ROUTES_FILE=/own"}, "none", nil, false},
		"subjects of one's own":         {true, key, []string{"SUBJECTS_ALLOW=a.>"}, "none", nil, false},
		"routes of one's own, asked":    {true, key, []string{"ROUTES_FILE=/own", "AUTH_MODE=jwt"}, "jwt", []string{DevIssuer}, false},
		"an issuer in the file":         {true, key, []string{"ROUTES_FILE=/named", "AUTH_MODE=jwt"}, "jwt", []string{"i"}, false},
		"an issuer in the environment":  {true, key, []string{"AUTH_MODE=jwt", "AUTH_ISSUER=i", "AUTH_AUDIENCE=h", "AUTH_JWKS_URL=https://i.example/j"}, "jwt", []string{"i"}, true},
		"without -dev, an issuer named": {false, key, []string{"ROUTES_FILE=/named", "AUTH_MODE=jwt"}, "jwt", []string{"i"}, false},
	} {
		c, _, err := Load(Options{Dev: tc.dev, DevKeyFile: tc.key, Environ: tc.env, ReadFile: files(map[string]string{"/own": own, "/named": named, key: "a key"})})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var issuers []string
		for _, i := range c.Auth.Issuers {
			issuers = append(issuers, i.Issuer)
			if i.Issuer == DevIssuer && i.KeyFile != key {
				t.Errorf("%s: %+v", name, i)
			}
		}
		private := slices.ContainsFunc(c.Routes, func(r Route) bool { return r.Name == "mine" && r.AuthRequired })
		if c.Auth.Mode != tc.mode || !slices.Equal(issuers, tc.issuers) || private != tc.private {
			t.Errorf("%s: mode %s, issuers %q, private routes: %t", name, c.Auth.Mode, issuers, private)
		}
		for _, r := range c.Routes {
			if tc.dev && r.Name == "prices" && r.AuthRequired {
				t.Errorf("%s: prices needs a token", name)
			}
		}
	}
	if _, _, err := Load(Options{DevKeyFile: key, Environ: []string{"AUTH_MODE=jwt", "SUBJECTS_ALLOW=a.>"}}); err == nil || !strings.Contains(err.Error(), "AUTH_ISSUER") {
		t.Errorf("without -dev its key was taken: %v", err)
	}
}

// Whoever runs a gateway cannot open it to the tokens of a developer's machine, with any key.
func TestLoad_NobodyIsTheIssuerOfDev(t *testing.T) {
	file := "version: 1\nauth: {issuers: [{issuer: " + DevIssuer + ", audience: [h], key_file: /k}]}\nroutes: [{name: a, path: /a, source: {type: core, subject: a}}]\n"
	read := files(map[string]string{"/r": file, "/k": "a key"})
	for _, dev := range []bool{false, true} {
		for _, env := range [][]string{{"ROUTES_FILE=/r"}, {"SUBJECTS_ALLOW=a.>", "AUTH_ISSUER=" + DevIssuer, "AUTH_AUDIENCE=h", "AUTH_KEY_FILE=/k"}} {
			_, _, err := Load(Options{Dev: dev, DevKeyFile: "/k", Environ: append(env, "AUTH_MODE=jwt"), ReadFile: read})
			if err == nil || !strings.Contains(err.Error(), "headgate token") {
				t.Errorf("-dev %t, %q: %v", dev, env, err)
			}
		}
	}
}
