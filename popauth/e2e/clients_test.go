// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/popauth/caddy-popauth/popauth/fixture"
)

// shown are the files of testdata/interop that the README shows, by the kind of
// their blocks.
var shown = map[string][]string{
	"go":   {"go/main.go", "browser/backend/main.go"},
	"js":   {"node/client.mjs", "browser/popauth.js"},
	"html": {"browser/index.html"},
}

func TestREADMEShowsTheClientsThatRun(t *testing.T) {
	t.Parallel()
	_, blocks := readREADME(t)
	for kind, files := range shown {
		var want, got []string
		for _, name := range files {
			raw, err := os.ReadFile(filepath.Join(fixture.Root(t), "testdata", "interop", name))
			if err != nil {
				t.Fatal(err)
			}
			_, text, _ := strings.Cut(string(raw), "\n") // the license
			want = append(want, strings.TrimPrefix(text, "\n"))
		}
		for _, b := range blocks {
			if b.kind == kind {
				got = append(got, b.text)
			}
		}
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("the blocks %q of the README are\n%s\nbut these files run:\n%s",
				kind, strings.Join(got, "\n———\n"), strings.Join(want, "\n———\n"))
		}
	}
}

// ofOtherPrograms says whether the commands of a block need more than curl and
// this module.
func ofOtherPrograms(b block) bool { return strings.Contains(b.text, "REPORTS_SECRET=") }

// TestInteropOfTheClientsInTheREADME runs the commands for them that stand there.
func TestInteropOfTheClientsInTheREADME(t *testing.T) {
	t.Parallel()
	needs(t, "bash", "curl", "go")
	libraries := npm(t)
	q, blocks := quickStartForPages(t)
	q.run(t)
	q.bash(t, "curl -s http://localhost:2019/pki/ca/local/certificates > root.crt")

	q.build(t, "go", "client")
	if err := os.Rename(filepath.Join(libraries, "node_modules"), filepath.Join(q.dir, "node_modules")); err != nil {
		t.Fatal(err)
	}
	q.copy(t, "node/client.mjs", "client.mjs")
	q.env = []string{
		"HTTPS_PROXY=" + proxyToHere(t),
		"NODE_OPTIONS=--import=" + filepath.Join(libraries, "localhost.mjs"),
	}
	ran := 0
	for _, b := range blocks {
		if b.kind != "console" || !ofOtherPrograms(b) {
			continue
		}
		ran++
		if got := q.session(t, b.text); got != b.text {
			t.Errorf("the README says\n%s\nbut it was\n%s", b.text, got)
		}
	}
	if ran != 2 {
		t.Errorf("ran %d programs of the README, want that in Go and that in Node", ran)
	}
}

// quickStartForPages is a quick start with the Caddyfile of the README in which
// a page is a client, too.
func quickStartForPages(t *testing.T) (*quickStart, []block) {
	t.Helper()
	q := newQuickStart(t)
	_, blocks := readREADME(t)
	for _, b := range blocks {
		if b.kind == "caddyfile" && strings.Contains(b.text, "app.localhost") {
			q.save(t, b.text)
		}
	}
	if len(q.names) != 3 {
		t.Fatalf("the README has no Caddyfile for pages, but these sites: %q", q.names)
	}
	if err := os.WriteFile(filepath.Join(q.dir, "reports.secret"), []byte("a/+b="), 0o600); err != nil {
		t.Fatal(err)
	}
	return q, blocks
}

// copy puts a file of testdata/interop into the folder.
func (q *quickStart) copy(t *testing.T, from, to string) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(fixture.Root(t), "testdata", "interop", from))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(q.dir, to)
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(q.swap(string(raw), false)), 0o600); err != nil {
		t.Fatal(err)
	}
}

// build builds a program of testdata/interop. The libraries that it uses are
// among those that Caddy is built of.
func (q *quickStart) build(t *testing.T, from, to string) {
	t.Helper()
	q.copy(t, filepath.Join(from, "main.go"), filepath.Join("source", to+".go"))
	runIn(t, fixture.Root(t), nil, "go", "build", "-o", filepath.Join(q.dir, to), filepath.Join(q.dir, "source", to+".go"))
}

// proxyToHere is a proxy by which programs find the sites, whatever names the
// system can resolve: every host is this machine.
func proxyToHere(t *testing.T) string {
	t.Helper()
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect {
			w.WriteHeader(http.StatusMethodNotAllowed)
			return
		}
		there, err := net.Dial("tcp", here(r.Host))
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		defer there.Close()
		conn, buffered, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\n")
		go func() {
			_, _ = io.Copy(there, buffered)
			_ = there.Close()
		}()
		_, _ = io.Copy(conn, there)
	}))
	t.Cleanup(proxy.Close)
	return proxy.URL
}
