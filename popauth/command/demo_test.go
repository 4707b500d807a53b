// SPDX-License-Identifier: Apache-2.0

package command

import (
	"bytes"
	"context"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func TestDemoCaddyfileIsFilledIn(t *testing.T) {
	t.Parallel()
	s := &stage{dir: "/tmp/x", port: 1, upstream: 2, clientSecret: "a", apiSecret: "b"}
	if left := regexp.MustCompile(`\{\$[^}]*\}`).FindAllString(s.caddyfile(), -1); len(left) > 0 {
		// the comment at the top names none of them
		for _, name := range left {
			if name != "{$…}" {
				t.Errorf("%s is left in the Caddyfile", name)
			}
		}
	}
}

func TestFreePortsAreDifferent(t *testing.T) {
	t.Parallel()
	ports, err := freePorts(8)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[int]bool{}
	for _, p := range ports {
		if seen[p] {
			t.Errorf("port %d was found twice", p)
		}
		seen[p] = true
	}
}

func TestJournalFindsTheReasonOfTheLastRequest(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "caddy.log")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	write := func(text string) {
		t.Helper()
		if _, err := f.WriteString(text); err != nil {
			t.Fatal(err)
		}
	}
	j := &journal{file: file}
	write(`{"logger":"http.handlers.pop_auth","reason":"token_missing"}` + "\n")
	if err := j.skip(); err != nil {
		t.Fatal(err)
	}
	write(`{"logger":"http.log.access","reason":"not_a_refusal"}` + "\nnot JSON\n" + `{"logger":"http.handlers.pop_auth","reas`)
	if e, found, err := j.next(); found || err != nil {
		t.Fatalf("next() = %v, %t, %v; want nothing, since the line is not ended", e, found, err)
	}
	write(`on":"proof_replayed"}` + "\n" + `{"logger":"http.handlers.pop_auth","reason":"proof_missing"}` + "\n")
	for _, want := range []string{"proof_replayed", "proof_missing"} {
		got, err := j.reason(t.Context())
		if err != nil || got != want {
			t.Errorf("reason() = %q, %v; want %q", got, err, want)
		}
	}
	done, cancel := context.WithCancel(t.Context())
	cancel()
	if got, err := j.reason(done); err != nil || got != "nothing in the log" {
		t.Errorf("reason() of a log without another refusal = %q, %v", got, err)
	}
}

func TestDemoCountsWhatGoesWrong(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	d := &demo{page: newPage(&out)}
	d.check("401 proof_replayed", "401 proof_replayed")
	d.check("401 proof_replayed", "200 ")
	if d.checks != 2 || d.wrong != 1 {
		t.Errorf("%d of %d wrong, want 1 of 2", d.wrong, d.checks)
	}
	if !strings.Contains(out.String(), "expected: 401 proof_replayed\n") || !strings.Contains(out.String(), "got: 200 \n") {
		t.Errorf("output = %q, want what was expected and got", out.String())
	}
	if strings.Contains(out.String(), "\x1b") {
		t.Errorf("output %q is coloured, though it goes to no terminal", out.String())
	}
}

func TestDemoComparesTheThiefWithTheClient(t *testing.T) {
	t.Parallel()
	answer := func(status int, nonce, challenge, body string) *exchange {
		return &exchange{got: []byte(body), response: &http.Response{StatusCode: status, Header: http.Header{
			"Dpop-Nonce": {nonce}, "Www-Authenticate": {challenge},
		}}}
	}
	for name, c := range map[string]struct {
		thief *exchange
		wrong int
	}{
		"the same, but for the nonce": {answer(401, "2", "DPoP", ""), 0},
		"another status":              {answer(400, "1", "DPoP", ""), 1},
		"another challenge":           {answer(401, "1", "Bearer", ""), 1},
		"the reports":                 {answer(401, "1", "DPoP", "the reports"), 1},
	} {
		var out bytes.Buffer
		d := &demo{page: newPage(&out)}
		d.alone.step, d.alone.gist = 5, gist(answer(401, "1", "DPoP", ""))
		d.compare(c.thief)
		if d.wrong != c.wrong || !strings.Contains(out.String(), "in step 5") {
			t.Errorf("%s: %d wrong, want %d; output: %s", name, d.wrong, c.wrong, out.String())
		}
	}
}

func TestAbridgeLeavesNoWholeToken(t *testing.T) {
	t.Parallel()
	token := "eyJ" + strings.Repeat("abc-_.", 30)
	got := abridge(`{"access_token": "` + token + `", "expires_in": 300}`)
	if want := `{"access_token": "` + token[:20] + `…", "expires_in": 300}`; got != want {
		t.Errorf("abridge = %s, want %s", got, want)
	}
}
