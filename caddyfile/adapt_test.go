// SPDX-License-Identifier: Apache-2.0

package caddyfile

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddytest"

	"github.com/popauth/caddy-popauth/popauth/fixture"
)

// golden is a file of testdata/adapt: a Caddyfile, a line of dashes, and what
// becomes of it: the JSON, or a part of the error message.
type golden struct {
	name, input, want string
}

func (g golden) isError() bool { return !strings.HasPrefix(g.want, "{") }

// goldens reads testdata/adapt.
func goldens(t *testing.T) []golden {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(fixture.Root(t), "testdata", "adapt", "*.caddyfiletest"))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Fatal("there are no goldens")
	}
	var all []golden
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimSuffix(filepath.Base(file), ".caddyfiletest")
		input, want, found := strings.Cut(string(text), "----------\n")
		want = strings.TrimSpace(want)
		if !found || want == "" {
			t.Fatalf("%s: no line of dashes, or nothing behind it", name)
		}
		all = append(all, golden{name, input, want})
	}
	return all
}

func TestCaddyfilesAdaptAsTheGoldensSay(t *testing.T) {
	t.Parallel()
	for _, g := range goldens(t) {
		t.Run(g.name, func(t *testing.T) {
			t.Parallel()
			if formatted := string(caddyfile.Format([]byte(g.input))); formatted != g.input {
				t.Errorf("the Caddyfile is not as caddy fmt has it:\n%s", formatted)
			}
			if g.isError() {
				_, err := adapt(g.input)
				if err == nil {
					t.Fatalf("got no error, want %s", g.want)
				}
				if !strings.Contains(err.Error(), g.want) {
					t.Errorf("got error %s\nwant %s", err, g.want)
				}
				return
			}
			if !caddytest.CompareAdapt(t, g.name, g.input, "caddyfile", g.want) {
				t.Error("the JSON is another one")
			}
			// caddy fmt may move what it finds, but not change what it means
			ragged := strings.ReplaceAll(g.input, "\t", "  ")
			if !caddytest.CompareAdapt(t, g.name, string(caddyfile.Format([]byte(ragged))), "caddyfile", g.want) {
				t.Error("after caddy fmt the JSON is another one")
			}
		})
	}
}

func adapt(input string) ([]byte, error) {
	result, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(input), nil)
	return result, err
}

// What the parser lets through, the modules must take: its JSON has no member
// that they don't know and no value that they refuse.
//
// Caddy's storage and logger are global, so nothing here is parallel.
func TestGoldensProvision(t *testing.T) {
	key, err := os.ReadFile(filepath.Join(fixture.Root(t), "testdata", "keys", "p384.json"))
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("AUDIENCE", "https://files.example.com")
	t.Setenv("PUBLIC_URL", "https://api.example.org")
	t.Setenv("REPORTS_SECRET", "correct horse battery staple")
	t.Setenv("REPORTS_SECRET_2", "staple battery horse correct")
	t.Setenv("GATEWAY_SECRET", "horse staple correct battery")
	t.Setenv("SIGNING_KEY", string(key))
	t.Setenv("REPORTS_JWK", string(fixture.Load(t, "ed25519").JSON(t)))
	set := filepath.Join(t.TempDir(), "reports.jwks")
	if err := os.WriteFile(set, []byte(`{"keys":[`+string(fixture.Load(t, "p256").JSON(t))+`]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("REPORTS_JWKS", set)
	data := t.TempDir() // where a store would be made
	t.Setenv("XDG_DATA_HOME", data)

	for _, g := range goldens(t) {
		if g.isError() {
			continue
		}
		t.Run(g.name, func(t *testing.T) {
			err := validate(t, g.want)
			if strings.Contains(g.want, `"popauth": {`) {
				if err != nil {
					t.Errorf("got error: %v", err)
				}
				return
			}
			// the lines to add
			if err == nil || !strings.Contains(err.Error(), "\tpopauth {\n\t\tissuer https://") {
				t.Errorf("got error %v, want the lines of the global option", err)
			}
		})
	}
	if made, err := os.ReadDir(data); err != nil || len(made) > 0 {
		t.Errorf("to validate has made %v, %v", made, err)
	}
}

// validate does what caddy validate does, with a storage of its own and
// without a log.
func validate(t *testing.T, config string) error {
	t.Helper()
	cfg := new(caddy.Config)
	if err := caddy.StrictUnmarshalJSON([]byte(config), cfg); err != nil {
		t.Fatal(err)
	}
	cfg.StorageRaw = caddyconfig.JSON(map[string]string{"module": "file_system", "root": t.TempDir()}, nil)
	discard := json.RawMessage(`{"output":"discard"}`)
	cfg.Logging = &caddy.Logging{Logs: map[string]*caddy.CustomLog{
		"default": {BaseLog: caddy.BaseLog{WriterRaw: discard}},
	}}
	return caddy.Validate(cfg)
}

func TestErrorsDoNotRepeatSecrets(t *testing.T) {
	t.Parallel()
	for name, line := range map[string]string{
		"too many arguments of client":      `client reports hunter2 hunter2`,
		"a second secret in one line":       `client reports { ` + "\n" + ` secret hunter2 hunter2` + "\n}",
		"a block behind a secret":           `client reports { ` + "\n" + ` secret hunter2 {` + "\n}\n}",
		"a client that is there already":    "client reports hunter2\nclient reports hunter2",
		"a block behind a signing key":      "signing_key hunter2 {\n}",
		"an empty argument beside a secret": `signing_key hunter2 ""`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := adapt("{\npopauth {\nissuer https://auth.example.com\n" + line + "\n}\n}\n")
			if err == nil {
				t.Fatal("got no error")
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error repeats the secret: %v", err)
			}
		})
	}
}
