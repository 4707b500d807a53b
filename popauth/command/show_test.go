// SPDX-License-Identifier: Apache-2.0

package command

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestErrorAfterABodyWithoutAnEndHasItsOwnLine(t *testing.T) {
	t.Parallel()
	key := keyFile(t, "ES256")
	for name, c := range map[string]struct {
		body, length string
		shared       bool
		out, err     string
	}{
		"one place for both":                  {"gone", "", true, "gone\nerror: ", ""},
		"one place for both, with a line end": {"gone\n", "", true, "gone\nerror: ", ""},
		"one place for both, without a body":  {"", "", true, "error: ", ""},
		"one place for both, cut off":         {"go", "4", true, "go\nerror: reading the answer: ", ""},
		"two places":                          {"gone", "", false, "gone", "error: "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				if c.length != "" {
					w.Header().Set("Content-Length", c.length)
				}
				w.WriteHeader(http.StatusGone)
				_, _ = io.WriteString(w, c.body)
			}))
			t.Cleanup(server.Close)
			var out, errs strings.Builder
			stderr := &errs
			if c.shared {
				stderr = &out
			}
			err := popTo(strings.NewReader(""), &out, stderr, "request", "--key", key, "--token", "token", server.URL)
			if err == nil {
				t.Error("a 410 is no error")
			}
			if got := out.String(); !strings.HasPrefix(got, c.out) || !c.shared && got != c.out {
				t.Errorf("stdout = %q, want %q", got, c.out)
			}
			if got := errs.String(); !strings.HasPrefix(got, c.err) {
				t.Errorf("stderr = %q, want %q", got, c.err)
			}
		})
	}
}
