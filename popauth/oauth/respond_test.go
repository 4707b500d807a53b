// SPDX-License-Identifier: Apache-2.0

package oauth

import (
	"encoding/json"
	"errors"
	"maps"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestWriteError(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name         string
		refusal      *Refusal
		authenticate bool
		status       int
		body         string
		header       map[string]string // beside Content-Type and Cache-Control
	}{
		{
			"a detail", Refuse(ConfirmationKeyInvalid, "n is even"), true,
			400, `{"error":"invalid_request","error_description":"Invalid cnf_key parameter: n is even"}`, nil,
		},
		{
			"a client that used the Authorization field", Refuse(ClientUnauthenticated, ""), true,
			401, `{"error":"invalid_client","error_description":"client authentication failed"}`,
			map[string]string{"Www-Authenticate": `Basic realm="popauth"`},
		},
		{
			"a client that did not", Refuse(ClientUnauthenticated, ""), false,
			400, `{"error":"invalid_client","error_description":"client authentication failed"}`, nil,
		},
		{
			"a code of the endpoints", Refuse(AmbiguousProof, ""), false,
			400, `{"error":"invalid_dpop_proof","error_description":"there must be exactly one DPoP field with one proof"}`, nil,
		},
		{
			"a body that is too large", Refuse(FormTooLarge, ""), false,
			413, `{"error":"invalid_request","error_description":"the form is too large"}`, nil,
		},
		{
			"early data", Refuse(EarlyData, ""), false,
			425, `{"error":"temporarily_unavailable","error_description":"the request came as early data: send it again after the handshake"}`, nil,
		},
		{
			"keys that are away for a while", &Refusal{Reason: KeysUnavailable, RetryAfter: 1500 * time.Millisecond}, false,
			503, `{"error":"temporarily_unavailable","error_description":"` + KeysUnavailable.Rule().Text + `"}`,
			map[string]string{"Retry-After": "2"},
		},
		{
			"a store that is down, without its cause", Unavailable(StoreUnavailable, errors.New("open /var/secret")), false,
			503, `{"error":"temporarily_unavailable","error_description":"` + StoreUnavailable.Rule().Text + `"}`,
			map[string]string{"Retry-After": "1"},
		},
		{
			"an unknown reason", Refuse("nonsense", ""), false,
			500, `{"error":"server_error","error_description":"the request could not be judged"}`, nil,
		},
		{
			"a reason that has no place at endpoints", Refuse(TokenMissing, "x"), false,
			500, `{"error":"server_error","error_description":"the request could not be judged"}`, nil,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := httptest.NewRecorder()
			WriteError(w, tt.refusal, tt.authenticate)
			if w.Code != tt.status {
				t.Errorf("status %d, want %d", w.Code, tt.status)
			}
			if got := strings.TrimSpace(w.Body.String()); got != tt.body {
				t.Errorf("body %s, want %s", got, tt.body)
			}
			want := http.Header{"Content-Type": {"application/json"}, "Cache-Control": {"no-store"}}
			for name, value := range tt.header {
				want.Set(name, value)
			}
			if got := w.Header(); !maps.EqualFunc(got, want, func(a, b []string) bool { return strings.Join(a, "\n") == strings.Join(b, "\n") }) {
				t.Errorf("header %v, want %v", got, want)
			}
		})
	}
}

// The caller knows which methods an endpoint has.
func TestWriteErrorKeepsTheAllowField(t *testing.T) {
	t.Parallel()
	w := httptest.NewRecorder()
	w.Header().Set("Allow", "POST")
	WriteError(w, Refuse(MethodNotAllowed, ""), false)
	if got := w.Header().Get("Allow"); w.Code != http.StatusMethodNotAllowed || got != "POST" {
		t.Errorf("status %d, Allow %q; want 405, POST", w.Code, got)
	}
}

func TestWriteErrorNeverEchoesTheForm(t *testing.T) {
	t.Parallel()
	for _, hostile := range []string{`"><script>alert(1)</script>`, "x\r\nSet-Cookie: a=b", "{env.HOME}"} {
		for _, body := range []string{
			encodeTwice("scope", hostile),
			encodeTwice(hostile, "x"),
			encodeTwice("client_secret", hostile),
			"scope=%" + hostile,
		} {
			w := httptest.NewRecorder()
			_, refusal := ReadForm(w, post("/", body, formType))
			if refusal == nil {
				t.Fatalf("ReadForm(%q) refused nothing", body)
			}
			WriteError(w, refusal, true)
			if w.Code != http.StatusBadRequest {
				t.Errorf("status %d, want 400", w.Code)
			}
			for _, part := range []string{"alert", "Cookie", "HOME"} {
				if strings.Contains(w.Body.String(), part) {
					t.Errorf("the answer to %q echoes it: %s", body, w.Body)
				}
			}
		}
	}
}

func encodeTwice(name, value string) string {
	escape := strings.NewReplacer("&", "%26", "=", "%3D", "%", "%25")
	pair := escape.Replace(name) + "=" + escape.Replace(value)
	return pair + "&" + pair
}

func TestWriteJSON(t *testing.T) {
	t.Parallel()
	w := httptest.NewRecorder()
	if err := WriteJSON(w, map[string]string{"scope": "a<b>&c"}); err != nil {
		t.Fatalf("WriteJSON: %v", err)
	}
	if got, want := strings.TrimSpace(w.Body.String()), `{"scope":"a<b>&c"}`; got != want || w.Code != http.StatusOK {
		t.Errorf("status %d, body %s; want 200, %s", w.Code, got, want)
	}
	for name, want := range map[string]string{"Content-Type": "application/json", "Cache-Control": "no-store", "Pragma": "no-cache"} {
		if got := w.Header().Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func TestWriteJSONWritesNothingThatCanNotBeEncoded(t *testing.T) {
	t.Parallel()
	w := httptest.NewRecorder()
	err := WriteJSON(w, map[string]any{"a": 1, "b": math.NaN()})
	if _, ok := errors.AsType[*json.UnsupportedValueError](err); !ok {
		t.Errorf("WriteJSON = %v, want an encoding error", err)
	}
	if w.Body.Len() != 0 || len(w.Header()) != 0 {
		t.Errorf("written: %v %s", w.Header(), w.Body)
	}
}

func TestRetryAfterIsRoundedUp(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		0: "1", -time.Second: "1", time.Nanosecond: "1", time.Second: "1", time.Second + 1: "2", time.Minute: "60",
	} {
		if got := (&Refusal{RetryAfter: d}).RetryAfterSeconds(); got != want {
			t.Errorf("(&Refusal{RetryAfter: %v}).RetryAfterSeconds() = %s, want %s", d, got, want)
		}
	}
}
