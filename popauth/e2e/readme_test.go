// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/popauth/caddy-popauth/popauth/fixture"
	"github.com/popauth/caddy-popauth/popauth/oauth"
)

// update writes what the commands of the README print, and the table of
// reasons, into it.
var update = flag.Bool("update", false, "write the outputs of the README's commands into it")

// block is a fenced block of the README.
type block struct {
	kind string
	text string
	from int // offset of the text in the README
}

var fence = regexp.MustCompile("(?ms)^```(\\w+)\n(.*?)^```$")

func readREADME(t *testing.T) (text string, blocks []block) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(fixture.Root(t), "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range fence.FindAllSubmatchIndex(raw, -1) {
		blocks = append(blocks, block{kind: string(raw[m[2]:m[3]]), text: string(raw[m[4]:m[5]]), from: m[4]})
	}
	return string(raw), blocks
}

func TestREADMECaddyfilesAreFormattedAndValid(t *testing.T) {
	t.Parallel()
	_, blocks := readREADME(t)
	s := &server{dir: t.TempDir()}
	seen := 0
	for _, b := range blocks {
		if b.kind != "caddyfile" {
			continue
		}
		seen++
		if got := string(caddyfile.Format([]byte(b.text))); got != b.text {
			t.Errorf("caddy fmt would change this Caddyfile:\n%s\nto\n%s", b.text, got)
		}
		s.validate(t, "caddyfile", b.text)
	}
	if seen == 0 {
		t.Error("the README has no Caddyfile")
	}
}

func TestREADMEJSONIsValid(t *testing.T) {
	t.Parallel()
	_, blocks := readREADME(t)
	s := &server{dir: t.TempDir()}
	var app map[string]any
	var handlers []any
	for _, b := range blocks {
		if b.kind != "json" {
			continue
		}
		o := object(t, b.text)
		if apps, ok := o["apps"].(map[string]any); ok {
			app = apps
			continue
		}
		handlers = append(handlers, o)
	}
	if len(app) == 0 || len(handlers) == 0 {
		t.Fatal("the README has no JSON for the app or its handlers")
	}
	app["http"] = map[string]any{"servers": map[string]any{"srv0": map[string]any{
		"listen": []string{"127.0.0.1:0"},
		"routes": []any{map[string]any{"handle": handlers}},
	}}}
	config, err := json.Marshal(map[string]any{"apps": app})
	if err != nil {
		t.Fatal(err)
	}
	s.validate(t, "", string(config))
}

// validate runs `caddy validate` on a config.
func (s *server) validate(t *testing.T, adapter, config string) {
	t.Helper()
	file := filepath.Join(s.dir, "config")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.dir, "reports.secret"), []byte("reports-secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"reports.jwk":  string(fixture.Load(t, "p256").JSON(t)),
		"billing.jwks": `{"keys":[` + string(fixture.Load(t, "ed25519").JSON(t)) + `]}`,
	} {
		if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := s.command(t.Context(), "validate", "--config", file, "--adapter", adapter)
	cmd.Env = append(cmd.Env, "REPORTS_SECRET=reports-secret", "API_SECRET=api-secret")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s\nfor\n%s", err, out, config)
	}
}

// TestREADMECommandsDoWhatItSays runs the commands of the quick start, in its
// order and in one folder, and compares what they print.
func TestREADMECommandsDoWhatItSays(t *testing.T) {
	t.Parallel()
	needs(t, "bash", "curl", "jq")
	text, blocks := readREADME(t)
	q := newQuickStart(t)
	var changed []block
	for _, b := range blocks {
		switch b.kind {
		case "caddyfile":
			if strings.Contains(b.text, "localhost:8443") {
				q.save(t, b.text)
			}
		case "console":
			if ofOtherPrograms(b) {
				continue // TestInteropOfTheClientsInTheREADME
			}
			if got := q.session(t, b.text); got != b.text {
				changed = append(changed, block{kind: got, text: b.text, from: b.from})
				if !*update && mask(got) != mask(b.text) {
					t.Errorf("the README says\n%s\nbut it was\n%s", b.text, got)
				}
			}
		}
	}
	if !q.ran {
		t.Error("no command of the README ran Caddy")
	}
	if *update {
		slices.Reverse(changed)
		for _, c := range changed {
			text = text[:c.from] + c.kind + text[c.from+len(c.text):]
		}
		if err := os.WriteFile(filepath.Join(fixture.Root(t), "README.md"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// jwt is a token, of which the README shows the beginning.
var jwt = regexp.MustCompile(`(eyJ[\w-]{17})[\w-]*\.[\w-]+\.[\w-]+`)

var (
	shortToken = regexp.MustCompile(`eyJ[\w-]{17}…`)
	longToken  = regexp.MustCompile(`[A-Za-z0-9_+/.-]{26,}={0,2}`)
	bigNumber  = regexp.MustCompile(`\b\d{9,}\b`)
	date       = regexp.MustCompile(`(?mi)^date: .*$`)
)

// mask replaces ids, tokens, keys and times.
func mask(text string) string {
	text = date.ReplaceAllString(text, "date: <date>")
	text = shortToken.ReplaceAllString(text, "<random>")
	text = longToken.ReplaceAllStringFunc(text, func(token string) string {
		if strings.Contains(token, "localhost") || strings.Contains(token, "oauth") {
			return token
		}
		return "<random>"
	})
	return bigNumber.ReplaceAllString(text, "<number>")
}

// needs skips a test, or fails it where nothing may be skipped, if a program
// is missing.
func needs(t *testing.T, programs ...string) {
	t.Helper()
	for _, program := range programs {
		if _, err := exec.LookPath(program); err == nil {
			continue
		}
		lacks(t, "this test needs the program "+program+": install it")
	}
}

// lacks skips a test that lacks something, or fails it where nothing may be
// skipped.
func lacks(t *testing.T, message string) {
	t.Helper()
	if os.Getenv("POPAUTH_REQUIRE_ALL") != "" {
		t.Fatal(message)
	}
	t.Skip(message)
}

const reasonsStart, reasonsEnd = "<!-- reasons -->\n", "<!-- /reasons -->"

func TestREADMEListsEveryReason(t *testing.T) {
	text, _ := readREADME(t)
	before, rest, ok := strings.Cut(text, reasonsStart)
	got, after, ok2 := strings.Cut(rest, reasonsEnd)
	if !ok || !ok2 {
		t.Fatal("the README has no place for the reasons")
	}
	want := reasonTable()
	if got == want {
		return
	}
	if !*update {
		t.Fatalf("the README's table of reasons is\n%s\nwant\n%s", got, want)
	}
	if err := os.WriteFile(filepath.Join(fixture.Root(t), "README.md"), []byte(before+reasonsStart+want+reasonsEnd+after), 0o600); err != nil {
		t.Fatal(err)
	}
}

// reasonTable prints the table of package oauth.
func reasonTable() string {
	var b strings.Builder
	b.WriteString("| reason | `pop_auth` | endpoints | error | description |\n|---|---|---|---|---|\n")
	for _, reason := range oauth.Reasons() {
		rule := reason.Rule()
		code := "–"
		if rule.Code != "" {
			code = "`" + rule.Code + "`"
		}
		if rule.EndpointCode != "" {
			code += ", endpoints: `" + rule.EndpointCode + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", reason, status(rule.API), status(rule.Endpoint), code, rule.Text)
	}
	return b.String()
}

func status(code int) string {
	if code == 0 {
		return "–"
	}
	return strconv.Itoa(code)
}
