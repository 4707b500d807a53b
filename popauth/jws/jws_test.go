// SPDX-License-Identifier: Apache-2.0

package jws_test

import (
	"encoding/base64"
	"runtime"
	"strings"
	"testing"

	"github.com/popauth/caddy-popauth/popauth/jws"
)

func b64(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }

// compact puts a header before a payload and a signature that nobody checks.
func compact(header string) string { return b64(header) + "." + b64("{}") + "." + b64("sig") }

func TestParse(t *testing.T) {
	t.Parallel()
	m := parse(t, compact(`{"alg":"XX999","typ":"at+jwt","kid":"../../x","cty":"JWT","jwk":{"kty":"EC"},"later":[1]}`))
	if m.Algorithm() != "XX999" || m.Type() != "at+jwt" || m.KeyID() != "../../x" || string(m.Payload) != "{}" {
		t.Errorf("alg, typ, kid, payload = %q, %q, %q, %q", m.Algorithm(), m.Type(), m.KeyID(), m.Payload)
	}
	if v, ok := m.Header.Get("jwk"); !ok || m.Header.Len() != 6 {
		t.Errorf("header = %v, jwk %v", m.Header, v)
	}
	m = parse(t, compact(`{"alg":"ES256"}`))
	if m.Type() != "" || m.KeyID() != "" {
		t.Errorf("typ, kid = %q, %q, want none", m.Type(), m.KeyID())
	}
}

func TestParseRefusesForms(t *testing.T) {
	t.Parallel()
	good := compact(`{"alg":"ES256"}`)
	header, rest, _ := strings.Cut(good, ".")
	payload, signature, _ := strings.Cut(rest, ".")
	for _, c := range []struct{ name, text, want string }{
		{"nothing", "", "three parts"},
		{"one part", header, "three parts"},
		{"two parts", header + "." + payload, "three parts"},
		{"four parts", good + "." + signature, "three parts"},
		{"a dot at the end", good + ".", "three parts"},
		{"the five parts of a JWE", header + ".a.b.c.d", "three parts"},
		{"dots alone", "..", "empty part"},
		{"no header", "." + rest, "empty part"},
		{"no payload", header + ".." + signature, "empty part"},
		{"no signature", header + "." + payload + ".", "empty part"},
		{"the JSON serialization", `{"payload":"e30","protected":"` + header + `","signature":"` + signature + `"}`, "three parts"},
		{"a blank before it", " " + good, "JWS header: not canonical base64url"},
		{"a blank after it", good + " ", "JWS signature: not canonical base64url"},
		{"a line end after it", good + "\n", "JWS signature: base64url contains a line end"},
		{"a line end in the header", header[:5] + "\r\n" + header[5:] + "." + rest, "JWS header: base64url contains a line end"},
		{"a line end in the payload", header + "." + payload[:2] + "\n" + payload[2:] + "." + signature, "JWS payload: base64url contains a line end"},
		{"padding of the payload", header + "." + payload + "=." + signature, "JWS payload: not canonical"},
		{"padding of the signature", header + "." + payload + ".Zg==", "JWS signature: not canonical"},
		{"trailing bits of the payload", header + ".e31." + signature, "JWS payload: not canonical"},
		{"trailing bits of the signature", header + "." + payload + ".Zh", "JWS signature: not canonical"},
		{"the standard alphabet", header + "." + payload + ".+/+/", "JWS signature: not canonical"},
		{"percent encoding", header + "%2E" + rest, "three parts"},
		{"a scheme before it", "Bearer " + good, "JWS header: not canonical"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, err := jws.Parse(c.text, wide)
			expect(t, err, c.want)
		})
	}
}

func TestParseRefusesHeaders(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, header, want string }{
		{"no JSON", `alg`, "not an object"},
		{"an array", `["ES256"]`, "not an object"},
		{"something after it", `{"alg":"ES256"}{}`, "something follows"},
		{"no alg", `{}`, "has no 'alg'"},
		{"an empty alg", `{"alg":""}`, "has no 'alg'"},
		{"alg in another case", `{"Alg":"ES256"}`, "has no 'alg'"},
		{"alg twice", `{"alg":"ES256","alg":"ES256"}`, "duplicate"},
		{"alg twice, once escaped", `{"alg":"none","\u0061lg":"ES256"}`, "duplicate"},
		{"a duplicate in the key", `{"alg":"ES256","jwk":{"x":"a","x":"b"}}`, "duplicate"},
		{"alg null", `{"alg":null}`, "'alg' that is not a string"},
		{"alg as a list", `{"alg":["ES256"]}`, "'alg' that is not a string"},
		{"alg as a number", `{"alg":-7}`, "'alg' that is not a string"},
		{"typ as a number", `{"alg":"ES256","typ":1}`, "'typ' that is not a string"},
		{"typ as a list", `{"alg":"ES256","typ":["dpop+jwt"]}`, "'typ' that is not a string"},
		{"typ null", `{"alg":"ES256","typ":null}`, "'typ' that is not a string"},
		{"kid as an object", `{"alg":"ES256","kid":{}}`, "'kid' that is not a string"},
		{"cty as a number", `{"alg":"ES256","cty":1}`, "'cty' that is not a string"},
		{"invalid UTF-8", "{\"alg\":\"ES256\",\"kid\":\"\xff\"}", "not valid UTF-8"},
		{"a lone surrogate", `{"alg":"ES256","kid":"\ud800"}`, "lone surrogate"},
		{"crit empty", `{"alg":"ES256","crit":[]}`, "'crit'"},
		{"crit of an extension", `{"alg":"ES256","crit":["foo"],"foo":1}`, "'crit'"},
		{"crit of b64", `{"alg":"ES256","crit":["b64"],"b64":true}`, "'crit'"},
		{"crit null", `{"alg":"ES256","crit":null}`, "'crit'"},
		{"b64 false", `{"alg":"ES256","b64":false}`, "'b64'"},
		{"b64 true", `{"alg":"ES256","b64":true}`, "'b64'"},
		{"zip", `{"alg":"ES256","zip":"DEF"}`, "'zip'"},
		{"jku", `{"alg":"ES256","jku":"https://evil.example/keys"}`, "'jku'"},
		{"jku null", `{"alg":"ES256","jku":null}`, "'jku'"},
		{"x5u", `{"alg":"ES256","x5u":"https://evil.example/cert"}`, "'x5u'"},
		{"x5c", `{"alg":"ES256","x5c":[]}`, "'x5c'"},
		{"nested too deeply", `{"alg":"ES256","a":{"b":{"c":{}}},"d":[[[[]]]]}`, "nested too deeply"},
		{"a level too deep", `{"alg":"ES256","a":[[[[]]]]}`, "nested too deeply"},
		{"a member too many", `{"alg":"ES256","a":[` + strings.Repeat("0,", 62) + `0]}`, "too many members"},
		{"as deep as allowed, with as many members", `{"alg":"ES256","a":[[[` + strings.Repeat("0,", 59) + `0]]]}`, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, err := jws.Parse(compact(c.header), wide)
			expect(t, err, c.want)
		})
	}
}

func TestParseHoldsLimits(t *testing.T) {
	t.Parallel()
	text := compact(`{"alg":"ES256"}`)
	header := strings.IndexByte(text, '.')
	for _, c := range []struct {
		name   string
		limits jws.Limits
		want   string
	}{
		{"just enough", jws.Limits{Size: len(text), Header: header}, ""},
		{"a byte too long", jws.Limits{Size: len(text) - 1, Header: header}, "JWS is longer than"},
		{"a header too long by a byte", jws.Limits{Size: len(text), Header: header - 1}, "JWS header is longer than"},
		{"no limits at all", jws.Limits{}, "JWS is longer than 0 bytes"},
		{"no limit of the header", jws.Limits{Size: len(text)}, "JWS header is longer than 0 bytes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, err := jws.Parse(text, c.limits)
			expect(t, err, c.want)
		})
	}
}

// A text of a megabyte that is no message must be refused without an
// allocation for each of its dots (CVE-2025-30204). It runs alone, since it
// reads the counters of the whole process.
func TestParseOfDotsAllocatesLittle(t *testing.T) {
	dots := strings.Repeat(".", 1<<20)
	good := compact(`{"alg":"ES256"}`)
	limits := jws.Limits{Size: 1 << 21, Header: 1 << 21} // the caps must not do it
	for name, text := range map[string]string{
		"dots alone":            dots,
		"dots after a part":     "eyJhbGciOiJFUzI1NiJ9" + dots,
		"dots after a message":  good + dots,
		"dots between letters":  strings.Repeat("a.", 1<<19),
		"a message upside down": dots + good,
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := jws.Parse(text, limits)
		runtime.ReadMemStats(&after)
		if err == nil {
			t.Errorf("%s: got no error", name)
		}
		if got := after.TotalAlloc - before.TotalAlloc; got >= 64<<10 {
			t.Errorf("%s: allocated %d bytes, want less than 64 KiB", name, got)
		}
	}
}
