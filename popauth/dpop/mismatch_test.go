// SPDX-License-Identifier: Apache-2.0

package dpop_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/popauth/caddy-popauth/popauth/dpop"
	"github.com/popauth/caddy-popauth/popauth/fixture"
	"github.com/popauth/caddy-popauth/popauth/oauth"
)

// refuse returns the refusal of a proof with these claims.
func refuse(t testing.TB, claims object, w func(*dpop.Want)) *oauth.Refusal {
	t.Helper()
	key := fixture.Load(t, "p256")
	p, wanted := good(), want(t, key)
	p.Claims = claims
	if w != nil {
		w(&wanted)
	}
	proof, refusal := dpop.Verify(key.Proof(t, p), wanted)
	if refusal == nil {
		t.Fatalf("accepted: %+v", proof)
	}
	return refusal
}

func TestURLMismatchIsExplained(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, htu, want, got, hint string }{
		{"scheme", "http://a.example/x", "https://a.example/x", "http://a.example/x", "scheme differs"},
		{"scheme and port", "http://a.example:8080/x", "https://a.example/x", "http://a.example:8080/x", "scheme differs"},
		{"host", "https://b.example/x?secret", "https://a.example/x", "https://b.example/x", "host differs"},
		{"host and port", "https://localhost:8443/x", "https://a.example/x", "https://localhost:8443/x", "host differs"},
		{"port", "https://A.example:8443/x", "https://a.example/x", "https://a.example:8443/x", "port differs"},
		{"IPv6 port", "https://[::1]:8443/x", "https://[::1]/x", "https://[::1]:8443/x", "port differs"},
		{"trailing slash more", "https://a.example/x/", "https://a.example/x", "https://a.example/x/", "trailing slash"},
		{"trailing slash less", "https://a.example/x", "https://a.example/x/", "https://a.example/x", "trailing slash"},
		{"letter case", "https://a.example/X", "https://a.example/x", "https://a.example/X", "letter case"},
		{"escaped at", "https://a.example/u%40b", "https://a.example/u@b", "https://a.example/u%40b", "escaping"},
		{"escaped slash", "https://a.example/a%2fb", "https://a.example/a/b", "https://a.example/a%2Fb", "escaping"},
		{"prefix more", "https://a.example/api/x", "https://a.example/x", "https://a.example/api/x", "htu has a prefix"},
		{"prefix less", "https://a.example/x", "https://a.example/api/x", "https://a.example/x", "the request has a prefix"},
		{"all", "http://b.example/y", "https://a.example/x", "http://b.example/y", ""},
		{"another path", "https://a.example/y", "https://a.example/x", "https://a.example/y", ""},
		{"a path that ends as the root does", "https://a.example/x/", "https://a.example/", "https://a.example/x/", ""},
		{"another path below the root", "https://a.example/", "https://a.example/x/", "https://a.example/", ""},
		{"not a URL", "/x", "https://a.example/x", "", ""},
		{"password", "https://u:secret@a.example/x", "https://a.example/x", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := refuse(t, object{"htu": tt.htu}, func(w *dpop.Want) { w.URLs = []string{tt.want} })
			if r.Reason != oauth.ProofURLMismatch {
				t.Errorf("got %s, want %s", r.Reason, oauth.ProofURLMismatch)
			}
			if r.Expected != tt.want || r.Got != tt.got {
				t.Errorf("expected %q, got %q; want %q, %q", r.Expected, r.Got, tt.want, tt.got)
			}
			if (tt.hint == "") != (r.Hint == "") || !strings.Contains(r.Hint, tt.hint) {
				t.Errorf("hint: got %q, want %q in it", r.Hint, tt.hint)
			}
			if (tt.got == "") != (r.Detail != "") {
				t.Errorf("detail: got %q", r.Detail)
			}
			if strings.Contains(fmt.Sprintf("%+v", *r), "secret") {
				t.Errorf("the refusal shows a secret: %+v", *r)
			}
		})
	}
}

// A cause is named only where it alone would explain the difference: whoever
// looks for a proxy that there isn't loses a day.
func TestURLHintNamesTheOneDifference(t *testing.T) {
	t.Parallel()
	hints := map[string]string{
		"scheme": "the scheme differs", "scheme port": "the scheme differs",
		"host": "the host differs", "host port": "the host differs",
		"port": "only the port differs", "path": "only the letter case",
	}
	for bits := 1; bits < 16; bits++ {
		scheme, host, port, path := "https", "a.example", "8443", "/x"
		var differs []string
		for i, change := range []struct {
			name string
			part *string
			to   string
		}{{"scheme", &scheme, "http"}, {"host", &host, "b.example"}, {"port", &port, "9443"}, {"path", &path, "/X"}} {
			if bits>>i&1 == 1 {
				*change.part = change.to
				differs = append(differs, change.name)
			}
		}
		htu, want := scheme+"://"+host+":"+port+path, hints[strings.Join(differs, " ")]
		r := refuse(t, object{"htu": htu}, func(w *dpop.Want) { w.URLs = []string{"https://a.example:8443/x"} })
		if (want == "") != (r.Hint == "") || !strings.Contains(r.Hint, want) {
			t.Errorf("%s differ: got hint %q, want %q", differs, r.Hint, want)
		}
	}
}

func TestURLMismatchNamesAllURLs(t *testing.T) {
	t.Parallel()
	for _, urls := range [][]string{
		{"https://a.example/y", "http://b.example/x"},
		{"http://b.example/x", "https://a.example/y"},
	} {
		r := refuse(t, object{"htu": "https://b.example/x"}, func(w *dpop.Want) { w.URLs = urls })
		if want := urls[0] + " or " + urls[1]; r.Expected != want {
			t.Errorf("expected: got %q, want %q", r.Expected, want)
		}
		if !strings.Contains(r.Hint, "scheme differs") {
			t.Errorf("%q: got hint %q, want that of the nearer URL", urls, r.Hint)
		}
	}
}

// The client is told what to mend, since nobody else can.
func TestMalformedProofsAreExplained(t *testing.T) {
	t.Parallel()
	key := fixture.Load(t, "p256")
	for _, tt := range []struct {
		name           string
		header, claims object
		detail         string
	}{
		{"no jwk", object{"jwk": nil}, nil, "'jwk' is missing"},
		{"jwk a string", object{"jwk": string(key.JSON(t))}, nil, "'jwk' is not an object"},
		{"kid beside jwk", object{"kid": "k"}, nil, "there is a 'kid' beside 'jwk'"},
		{"no jti", nil, object{"jti": nil}, "'jti' is missing"},
		{"jti a number", nil, object{"jti": 1}, "'jti' is not a string"},
		{"jti empty", nil, object{"jti": ""}, "'jti' is empty"},
		{"jti too long", nil, object{"jti": strings.Repeat("a", 129)}, "'jti' is too long"},
		{"jti with a tab", nil, object{"jti": "a\tb"}, "'jti' has control characters"},
		{"no htu", nil, object{"htu": nil}, "'htu' is missing"},
		{"nonce a number", nil, object{"nonce": 1}, "'nonce' is not a string"},
		{"no iat", nil, object{"iat": nil}, "'iat' is missing"},
		{"iat a string", nil, object{"iat": "1"}, "'iat' is not a number"},
		{"htu with a user name", nil, object{"htu": "https://u@a.example/"}, "it has a user name"},
		{"htu relative", nil, object{"htu": "/x"}, "it is not an absolute http or https URL"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := good()
			p.Header, p.Claims = tt.header, tt.claims
			_, r := dpop.Verify(key.Proof(t, p), want(t, key))
			if r == nil {
				t.Fatal("accepted")
			}
			if r.Detail != tt.detail {
				t.Errorf("got %q, want %q", r.Detail, tt.detail)
			}
		})
	}
	_, r := dpop.Verify(key.JWS(t, object{"typ": "dpop+jwt", "alg": "ES256", "jwk": public(key, nil)}, "[]"), want(t, key))
	if r == nil || !strings.Contains(r.Detail, "not an object") {
		t.Errorf("claims in an array: got %+v", r)
	}
}

func TestMethodMismatchIsExplained(t *testing.T) {
	t.Parallel()
	for htm, hinted := range map[string]bool{"get": true, "POST": false} {
		r := refuse(t, object{"htm": htm}, nil)
		if r.Expected != method || r.Got != htm || (r.Hint != "") != hinted {
			t.Errorf("%s: expected %q, got %q, hint %q", htm, r.Expected, r.Got, r.Hint)
		}
	}
}

func TestTokenMismatchIsExplained(t *testing.T) {
	t.Parallel()
	// a token in whose hash the alphabets differ
	long := token
	for !strings.ContainsAny(dpop.TokenHash(long), "-_") {
		long += "x"
	}
	sum := sha256.Sum256([]byte(long))
	digits := hex.EncodeToString(sum[:])
	for _, tt := range []struct{ name, ath, hint string }{
		{"padded", base64.URLEncoding.EncodeToString(sum[:]), "padded"},
		{"base64", base64.StdEncoding.EncodeToString(sum[:]), "base64, not base64url"},
		{"base64 unpadded", base64.RawStdEncoding.EncodeToString(sum[:]), "base64, not base64url"},
		{"hexadecimal", digits, "hexadecimal"},
		{"hexadecimal in capitals", strings.ToUpper(digits), "hexadecimal"},
		{"base64url of the digits", base64.RawURLEncoding.EncodeToString([]byte(digits)), "hexadecimal hash"},
		{"token itself", long, "token itself"},
		{"another token", dpop.TokenHash("other"), ""},
		{"letter case", strings.ToLower(dpop.TokenHash(long)), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := refuse(t, object{"ath": tt.ath}, func(w *dpop.Want) { w.TokenHash = dpop.TokenHash(long) })
			if r.Reason != oauth.ProofTokenMismatch {
				t.Errorf("got %s, want %s", r.Reason, oauth.ProofTokenMismatch)
			}
			if (tt.hint == "") != (r.Hint == "") || !strings.Contains(r.Hint, tt.hint) {
				t.Errorf("hint: got %q, want %q in it", r.Hint, tt.hint)
			}
			if shown := fmt.Sprintf("%+v", *r); strings.Contains(shown, tt.ath) {
				t.Errorf("the refusal shows the ath, which may be a token: %s", shown)
			}
		})
	}
	if r := refuse(t, object{"ath": nil}, nil); r.Detail != "'ath' is missing" {
		t.Errorf("no ath: got detail %q", r.Detail)
	}
}

func TestKeyMismatchNamesBothKeys(t *testing.T) {
	t.Parallel()
	ours, thief := fixture.Load(t, "p256"), fixture.Load(t, "p256-thief")
	_, r := dpop.Verify(thief.Proof(t, good()), want(t, ours))
	if r == nil || r.Expected != ours.Thumbprint(t) || r.Got != thief.Thumbprint(t) {
		t.Errorf("got %+v", r)
	}
}

func TestSignatureInASN1IsRecognised(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"p256", "p384"} {
		key := fixture.Load(t, name)
		proof := key.Proof(t, good())
		input := proof[:strings.LastIndexByte(proof, '.')]
		_, r := dpop.Verify(input+"."+base64.RawURLEncoding.EncodeToString(asn1(t, key, input)), want(t, key))
		if r == nil || r.Reason != oauth.ProofSignatureInvalid || !strings.Contains(r.Hint, "ASN.1") {
			t.Errorf("%s: got %+v", name, r)
		}
	}
}

// What only resembles ASN.1 gets no hint.
func TestOtherSignaturesAreNotTakenForASN1(t *testing.T) {
	t.Parallel()
	key := fixture.Load(t, "p256")
	proof := key.Proof(t, good())
	input := proof[:strings.LastIndexByte(proof, '.')+1]
	long := append([]byte{0x30, 62}, make([]byte, 62)...)
	for name, tt := range map[string]struct {
		signature []byte
		hint      bool
	}{
		"zeros":                        {make([]byte, 64), false},
		"a sequence":                   {long, true},
		"a sequence that ends early":   {append([]byte{0x30, 61}, make([]byte, 62)...), false},
		"a set":                        {append([]byte{0x31, 62}, make([]byte, 62)...), false},
		"one byte":                     {[]byte{0x30}, false},
		"an empty sequence":            {[]byte{0x30, 0}, false},
		"a sequence of one byte":       {[]byte{0x30, 1, 0}, true},
		"a sequence that says nothing": {append([]byte{0x30, 0}, make([]byte, 62)...), false},
	} {
		_, r := dpop.Verify(input+base64.RawURLEncoding.EncodeToString(tt.signature), want(t, key))
		if r == nil || r.Reason != oauth.ProofSignatureInvalid || strings.Contains(r.Hint, "ASN.1") != tt.hint {
			t.Errorf("%s: got %+v, want a hint %v", name, r, tt.hint)
		}
	}
}
