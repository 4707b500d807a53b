// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// What testdata/interop/browser/test.html reports of a page on an origin that
// the README's Caddyfile lists, and of the same page on one that it does not.
// A page that may not read an answer gets a TypeError.
var (
	listedPage = map[string]any{
		"token":      "string",
		"api":        "200 hello, reports",
		"calls":      "401 200",
		"again":      "200 hello, reports",
		"callsAgain": "200",
		"challenge":  `401 DPoP error="use_dpop_nonce" true`,
		"simple":     401.,
		"keys":       200.,
		"endpoint":   400.,
		"private":    "InvalidAccessError",
		"page":       "200 hello, reports",
	}
	otherPageReads = map[string]any{
		"token":      "string", // from a backend of its own
		"api":        "TypeError",
		"calls":      "",
		"again":      "TypeError",
		"callsAgain": "",
		"challenge":  "TypeError",
		"simple":     "TypeError",
		"keys":       "TypeError",
		"endpoint":   "TypeError",
		"private":    "InvalidAccessError",
		"page":       "TypeError",
	}
)

// TestBrowser runs the README's page, its backend and its Caddyfile with a
// real browser. The other page has such a backend, too, so that it is only the
// API that keeps it out.
func TestBrowser(t *testing.T) {
	t.Parallel()
	needs(t, "curl", "go", "bash", "chromium")
	results := make(chan string, 1)
	report := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		results <- string(body)
	}))
	t.Cleanup(report.Close)

	q, _ := quickStartForPages(t)
	q.withPages(t, strings.TrimPrefix(report.URL, "http://"))
	q.run(t)
	q.bash(t, "curl -s http://localhost:2019/pki/ca/local/certificates > root.crt")
	q.backend(t)

	for _, page := range []struct {
		host string
		want map[string]any
	}{
		{"app", listedPage},
		{"other", otherPageReads},
	} {
		t.Run(page.host, func(t *testing.T) {
			browse(t, q.swap("https://"+page.host+".localhost:8443/test.html", false))
			select {
			case result := <-results:
				if got := object(t, result); !maps.Equal(got, page.want) {
					t.Errorf("the page reports\n%v\nwant\n%v", got, page.want)
				}
			case <-time.After(startup):
				t.Fatal("the page reports nothing")
			}
		})
	}
}

// withPages puts the page into its folder, lets it report, and adds a site of
// another origin with the same page and backend.
func (q *quickStart) withPages(t *testing.T, report string) {
	t.Helper()
	for _, name := range []string{"index.html", "popauth.js", "test.html"} {
		q.copy(t, filepath.Join("browser", name), filepath.Join("app", name))
	}
	file := filepath.Join(q.dir, "Caddyfile")
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, app, ok := strings.Cut(string(raw), "app.localhost {\n")
	if !ok {
		t.Fatalf("the Caddyfile has no site app.localhost:\n%s", raw)
	}
	app = "app.localhost {\n\treverse_proxy /result " + report + "\n" + app
	text := before + app + "\n" + strings.Replace(app, "app.localhost", "other.localhost", 1)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	q.names = append(q.names, "other.localhost")
}

// backend runs the page's backend until the end of the test.
func (q *quickStart) backend(t *testing.T) {
	t.Helper()
	q.build(t, "browser/backend", "backend")
	cmd := exec.CommandContext(t.Context(), filepath.Join(q.dir, "backend"))
	cmd.Env = append(os.Environ(), "HTTPS_PROXY="+proxyToHere(t),
		"REPORTS_SECRET="+strings.TrimSpace(q.bash(t, "cat reports.secret")),
		"SSL_CERT_FILE="+filepath.Join(q.dir, "root.crt"))
	output := &strings.Builder{}
	cmd.Stdout, cmd.Stderr = output, output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("the backend printed:\n%s", output)
		}
	})
	await(t, "the backend listens", func() bool {
		conn, err := net.Dial("tcp", q.swap("localhost:9000", false))
		if err != nil {
			return false
		}
		return conn.Close() == nil
	})
}

// browse shows a page in a browser of its own, until the end of the test.
func browse(t *testing.T, url string) {
	t.Helper()
	profile, err := os.MkdirTemp("", "pop")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
		"--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
		"--ignore-certificate-errors", "--user-data-dir="+profile, url)
	// a pipe, not a file: then Wait waits for the browser's helpers, too, which
	// write to the profile
	output := &strings.Builder{}
	cmd.Stdout, cmd.Stderr = output, output
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = startup
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Wait()
		_ = os.RemoveAll(profile)
		if t.Failed() {
			t.Logf("the browser printed:\n%s", output)
		}
	})
}
