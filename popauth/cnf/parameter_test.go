// SPDX-License-Identifier: Apache-2.0

package cnf_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/popauth/caddy-popauth/popauth/cnf"
	"github.com/popauth/caddy-popauth/popauth/fixture"
	"github.com/popauth/caddy-popauth/popauth/oauth"
)

// marker stands where a value must never be shown. It is base64url.
const marker = "MARKERmarkerMARKERmarkerMARKERmarkerMARKERm"

func encode(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }

// change is the public JWK with changes laid over it; nil deletes.
func change(t testing.TB, k fixture.Key, changes map[string]any) string {
	t.Helper()
	members := maps.Clone(k.JWK)
	for name, v := range changes {
		if v == nil {
			delete(members, name)
			continue
		}
		members[name] = v
	}
	text, err := json.Marshal(members)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// blocks breaks text into lines of n characters.
func blocks(text string, n int, end string) string {
	var b strings.Builder
	for len(text) > n {
		b.WriteString(text[:n] + end)
		text = text[n:]
	}
	return b.String() + text + end
}

func TestParseParameterReadsEveryKey(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"p256", "p384", "ed25519", "rsa2048", "rsa2048-rs512"} {
		fix := fixture.Load(t, name)
		for form, text := range map[string]string{"wrapped": `{"jwk":` + string(fix.JSON(t)) + `}`, "bare": string(fix.JSON(t))} {
			t.Run(form+" "+name, func(t *testing.T) {
				t.Parallel()
				key, refusal := cnf.ParseParameter(encode(text))
				if refusal != nil {
					t.Fatalf("refused: %v", refusal)
				}
				if got, want := key.Thumbprint(), fix.Thumbprint(t); got != want {
					t.Errorf("thumbprint: got %s, want %s", got, want)
				}
			})
		}
	}
}

func TestParseParameterReadsEverySpelling(t *testing.T) {
	t.Parallel()
	fix := fixture.Load(t, "p256")
	// a kid that brings both characters in which the alphabets differ. By
	// hand, since json.Marshal would escape the >.
	text := strings.Replace(change(t, fix, map[string]any{"kid": "K"}), `"K"`, `"???>>>~~~???>>>~~~"`, 1)
	for len(text)%3 != 1 { // two characters of padding
		text += " "
	}
	padded := encode(text)
	if !strings.Contains(padded, "+") || !strings.Contains(padded, "/") || !strings.HasSuffix(padded, "==") {
		t.Fatalf("the sample does not show the differences: %s", padded)
	}
	url := strings.NewReplacer("+", "-", "/", "_").Replace(padded)
	tests := []struct{ name, value string }{
		{"base64 padded", padded},
		{"base64 unpadded", strings.TrimRight(padded, "=")},
		{"base64url padded", url},
		{"base64url unpadded", strings.TrimRight(url, "=")},
		{"lines of MIME", blocks(padded, 76, "\r\n")},
		{"lines of openssl", blocks(padded, 64, "\n")},
		{"tabs between", blocks(url, 40, "\t")},
		{"blanks around", "  \n " + padded + " \r\n  "},
		{"plus turned into blank by a form", strings.ReplaceAll(padded, "+", " ")},
		{"plus turned into blank, in lines", blocks(strings.ReplaceAll(padded, "+", " "), 64, "\r\n")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			key, refusal := cnf.ParseParameter(tt.value)
			if refusal != nil {
				t.Fatalf("refused: %v", refusal)
			}
			if got, want := key.Thumbprint(), fix.Thumbprint(t); got != want {
				t.Errorf("thumbprint: got %s, want %s", got, want)
			}
			if got, want := key.ID(), "???>>>~~~???>>>~~~"; got != want {
				t.Errorf("kid: got %q, want %q", got, want)
			}
		})
	}
}

func TestParseParameterRefusesBadEncodings(t *testing.T) {
	t.Parallel()
	good := encode(`{"jwk":` + string(fixture.Load(t, "p256").JSON(t)) + `} `)
	good = strings.TrimRight(good, "=")
	for len(good)%4 != 2 {
		good = strings.TrimRight(encode(decodeOrDie(t, good)+" "), "=")
	}
	tests := []struct{ name, value, detail string }{
		{"empty", "", "JSON text is not an object"},
		{"only blanks", " \r\n ", "JSON text is not an object"},
		{"not base64", "!" + good[1:], "it is not base64"},
		{"raw JSON", `{"jwk":{}}`, "it is not base64"},
		{"both alphabets", good[:8] + "+-" + good[10:], "it mixes base64 and base64url"},
		{"both alphabets, plus as a blank", good[:8] + " _" + good[10:], "it mixes base64 and base64url"},
		{"one character of padding too few", good + "=", "it is not base64"},
		{"one character of padding too many", good + "===", "it is not base64"},
		{"padding in the middle", good[:8] + "==" + good[8:], "it is not base64"},
		{"something after the padding", good + "==AAAA", "it is not base64"},
		{"only padding", "====", "it is not base64"},
		{"one character left over", good[:len(good)-1], "it is not base64"},
		{"trailing bits", good[:len(good)-1] + "B", "it is not base64"},
		{"NUL inside", good[:8] + "\x00" + good[8:], "it is not base64"},
		{"vertical tab inside", good[:8] + "\v" + good[8:], "it is not base64"},
		{"encoded form too long", good + strings.Repeat("\n", 12<<10), "it is too long"},
		{"decoded form too long", encode(`{"jwk":{"kid":"` + strings.Repeat("a", 8<<10) + `"}}`), "JSON text is longer than 8192 bytes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, refusal := cnf.ParseParameter(tt.value)
			if refusal == nil {
				t.Fatal("accepted")
			}
			if refusal.Reason != oauth.ConfirmationKeyInvalid || refusal.Detail != tt.detail {
				t.Errorf("got %s %q, want %s %q", refusal.Reason, refusal.Detail, oauth.ConfirmationKeyInvalid, tt.detail)
			}
		})
	}
	if _, refusal := cnf.ParseParameter(good + "=="); refusal != nil {
		t.Errorf("the sample that all others are made from: %v", refusal)
	}
}

func decodeOrDie(t testing.TB, text string) string {
	t.Helper()
	b, err := base64.RawStdEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Rows T10 to T16 of the abuse table, but those on encoding.
// Every limit is what is said of it, to the byte.
func TestParseParameterHoldsLimits(t *testing.T) {
	t.Parallel()
	key := fixture.Load(t, "p256")
	good := encode(string(key.JSON(t)))
	nested := func(depth int) string { // around a bare JWK, which is one deep
		return change(t, key, map[string]any{"pad": json.RawMessage(strings.Repeat("[", depth-1) + strings.Repeat("]", depth-1))})
	}
	members := func(count int) string {
		changes := map[string]any{}
		for i := range count - len(key.JWK) {
			changes[fmt.Sprint("pad", i)] = 0
		}
		return change(t, key, changes)
	}
	for _, tt := range []struct{ name, value, detail string }{
		{"as many bytes as allowed", good + strings.Repeat("\n", 12<<10-len(good)), ""},
		{"a byte more", good + strings.Repeat("\n", 12<<10-len(good)+1), "it is too long"},
		{"as deep as allowed", encode(nested(4)), ""},
		{"a level more", encode(nested(5)), "JSON is nested too deeply"},
		{"as many members as allowed", encode(members(64)), ""},
		{"a member more", encode(members(65)), "JSON has too many members"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, refusal := cnf.ParseParameter(tt.value)
			switch {
			case tt.detail == "" && refusal != nil:
				t.Errorf("refused: %v", refusal)
			case tt.detail != "" && (refusal == nil || !strings.HasPrefix(refusal.Detail, tt.detail)):
				t.Errorf("got %v, want %q", refusal, tt.detail)
			}
		})
	}
}

func TestParseParameterRefusesBadKeys(t *testing.T) {
	t.Parallel()
	for name, text := range hostileKeys(t) {
		for form, text := range map[string]string{"bare": text, "wrapped": `{"jwk":` + text + `}`} {
			t.Run(form+" "+name, func(t *testing.T) {
				t.Parallel()
				assertRefused(t, encode(text))
			})
		}
	}
	key := string(fixture.Load(t, "p256").JSON(t))
	for name, text := range map[string]string{
		"AM's own test vector":      `{ "jwk": { "test": 123 } }`,
		"bare test member":          `{"test":123}`,
		"empty object":              `{}`,
		"empty jwk":                 `{"jwk":{}}`,
		"jwk null":                  `{"jwk":null}`,
		"jwk a string":              `{"jwk":"` + marker + `"}`,
		"jwk an array":              `{"jwk":[` + key + `]}`,
		"wrapped twice":             `{"jwk":{"jwk":` + key + `}}`,
		"member beside jwk":         `{"jwk":` + key + `,"kid":"` + marker + `"}`,
		"jkt beside jwk":            `{"jwk":` + key + `,"jkt":"` + marker + `"}`,
		"bare JWK with a jwk":       strings.Replace(key, "{", `{"jwk":`+key+`,`, 1),
		"jwe":                       `{"jwe":"` + marker + `"}`,
		"only a jku":                `{"jku":"https://` + marker + `"}`,
		"only a kid":                `{"kid":"` + marker + `"}`,
		"only a jkt":                `{"jkt":"` + marker + `"}`,
		"jwk in other letter case":  `{"JWK":` + key + `}`,
		"not JSON":                  marker,
		"a JSON string":             `"` + marker + `"`,
		"an array":                  `[{"jwk":` + key + `}]`,
		"duplicate jwk":             `{"jwk":` + key + `,"jwk":` + key + `}`,
		"duplicate member in JWK":   `{"jwk":` + strings.Replace(key, "{", `{"kty":"EC",`, 1) + `}`,
		"duplicate, one escaped":    `{"jwk":` + strings.Replace(key, "{", `{"\u006bty":"EC",`, 1) + `}`,
		"bytes behind":              `{"jwk":` + key + `}` + marker,
		"second object behind":      `{"jwk":` + key + `}{}`,
		"five levels":               `{"jwk":` + strings.Replace(key, "{", `{"x":{"x":{"x":{}}},`, 1) + `}`,
		"invalid UTF-8":             `{"jwk":` + strings.Replace(key, "{", "{\"kid\":\"\xff\",", 1) + `}`,
		"byte order mark":           "\xef\xbb\xbf" + `{"jwk":` + key + `}`,
		"hundreds of empty members": `{"jwk":` + strings.Replace(key, "{", "{"+manyMembers(), 1) + `}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			assertRefused(t, encode(text))
		})
	}
}

func manyMembers() string {
	var b strings.Builder
	for i := range 300 {
		fmt.Fprintf(&b, `"m%d":0,`, i)
	}
	return b.String()
}

// assertRefused also looks for the marker in all that may be shown or logged.
func assertRefused(t *testing.T, value string) {
	t.Helper()
	key, refusal := cnf.ParseParameter(value)
	if refusal == nil {
		t.Fatal("accepted")
	}
	if key != nil {
		t.Error("got a key beside the refusal")
	}
	if refusal.Reason != oauth.ConfirmationKeyInvalid || refusal.Detail == "" {
		t.Errorf("got %s with detail %q, want %s with a detail", refusal.Reason, refusal.Detail, oauth.ConfirmationKeyInvalid)
	}
	if strings.Contains(refusal.Detail, `"`) {
		t.Errorf("the detail has a double quote: %s", refusal.Detail)
	}
	for _, shown := range []string{refusal.Error(), fmt.Sprintf("%+v", *refusal)} {
		if strings.Contains(shown, marker[:12]) || len(value) > 12 && strings.Contains(shown, value[:12]) {
			t.Errorf("the refusal shows the input: %s", shown)
		}
	}
}

// hostileKeys are JWKs by name, each wrong in one place.
func hostileKeys(t testing.TB) map[string]string {
	t.Helper()
	ec, ed, rsa := fixture.Load(t, "p256"), fixture.Load(t, "ed25519"), fixture.Load(t, "rsa2048")
	b64 := base64.RawURLEncoding.EncodeToString
	n, err := base64.RawURLEncoding.DecodeString(rsa.JWK["n"].(string))
	if err != nil {
		t.Fatal(err)
	}
	x := ec.JWK["x"].(string)
	odd := func(bits int) string { // an odd number of so many bits
		b := make([]byte, (bits+7)/8)
		b[0] = 1 << ((bits - 1) % 8)
		b[len(b)-1] |= 1
		return b64(b)
	}

	keys := map[string]string{
		"T12 oct":                  `{"kty":"oct","k":"` + marker + `"}`,
		"T12 X25519":               `{"kty":"OKP","crv":"X25519","x":"` + ed.JWK["x"].(string) + `"}`,
		"T12 Ed448":                `{"kty":"OKP","crv":"Ed448","x":"` + b64(make([]byte, 57)) + `"}`,
		"T12 secp256k1":            change(t, ec, map[string]any{"crv": "secp256k1"}),
		"T12 P-521":                string(fixture.Load(t, "p521").JSON(t)),
		"T13 RSA 1024":             string(fixture.Load(t, "rsa1024").JSON(t)),
		"T13 RSA 512":              change(t, rsa, map[string]any{"n": odd(512)}),
		"T13 RSA 2047":             change(t, rsa, map[string]any{"n": odd(2047)}),
		"T13 RSA 4104":             change(t, rsa, map[string]any{"n": odd(4104)}),
		"T13 RSA 16384":            change(t, rsa, map[string]any{"n": odd(16384)}),
		"T13 even n":               change(t, rsa, map[string]any{"n": b64(append(n[:len(n)-1:len(n)-1], n[len(n)-1]&^1))}),
		"T13 leading zero in n":    change(t, rsa, map[string]any{"n": b64(append([]byte{0}, n...))}),
		"T13 leading zero in e":    change(t, rsa, map[string]any{"e": "AAEAAQ"}),
		"T13 e is 1":               change(t, rsa, map[string]any{"e": "AQ"}),
		"T13 e is 2":               change(t, rsa, map[string]any{"e": "Ag"}),
		"T13 e is 3":               change(t, rsa, map[string]any{"e": "Aw"}),
		"T13 e is 2^31-1":          change(t, rsa, map[string]any{"e": "f____w"}),
		"T14 31 bytes":             change(t, ed, map[string]any{"x": b64(make([]byte, 31))}),
		"T14 33 bytes":             change(t, ed, map[string]any{"x": ed.JWK["x"].(string) + "A"}),
		"T15 off the curve":        change(t, ec, map[string]any{"y": x}),
		"T15 zero point":           change(t, ec, map[string]any{"x": b64(make([]byte, 32)), "y": b64(make([]byte, 32))}),
		"T15 short x":              change(t, ec, map[string]any{"x": x[:42]}),
		"T15 x with trailing bits": change(t, ec, map[string]any{"x": x[:42] + trailing(x[42])}),
		"T15 no y":                 change(t, ec, map[string]any{"y": nil}),
		"T16 alg of another type":  change(t, ec, map[string]any{"alg": "RS256"}),
		"T16 alg of another curve": change(t, ec, map[string]any{"alg": "ES384"}),
		"T16 alg none":             change(t, ec, map[string]any{"alg": "none"}),
		"T16 alg HS256":            change(t, rsa, map[string]any{"alg": "HS256"}),
		"T16 kty and crv disagree": change(t, ec, map[string]any{"kty": "OKP"}),
		"T16 use enc":              change(t, ec, map[string]any{"use": "enc"}),
		"T16 key_ops without any":  change(t, ec, map[string]any{"key_ops": []string{"sign"}}),
		"kid not printable":        change(t, ec, map[string]any{"kid": "a\nb"}),
		"kid too long":             change(t, ec, map[string]any{"kid": strings.Repeat("a", 257)}),
		"kid a number":             change(t, ec, map[string]any{"kid": 1}),
		"jku":                      change(t, ec, map[string]any{"jku": "https://" + marker}),
		"x5u":                      change(t, ec, map[string]any{"x5u": "https://" + marker}),
		"x5c":                      change(t, ec, map[string]any{"x5c": []string{marker}}),
	}
	for _, name := range []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"} {
		keys["T11 "+name+" in EC"] = change(t, ec, map[string]any{name: marker})
		keys["T11 "+name+" in RSA"] = change(t, rsa, map[string]any{name: marker})
		keys["T11 "+name+" in OKP"] = change(t, ed, map[string]any{name: marker})
	}
	for i, point := range lowOrder {
		keys[fmt.Sprintf("T14 low order %d", i)] = change(t, ed, map[string]any{"x": b64([]byte(point))})
	}
	return keys
}

// trailing is the character after c: the same bits but the last.
func trailing(c byte) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	return string(alphabet[strings.IndexByte(alphabet, c)^1])
}

// lowOrder are the canonical encodings of the points of order 1, 2, 4 and 8
// of edwards25519: one signature under them is valid for any message.
var lowOrder = []string{
	"\x01" + zeros(31),
	"\xec" + strings.Repeat("\xff", 30) + "\x7f",
	zeros(32),
	zeros(31) + "\x80",
	"\x26\xe8\x95\x8f\xc2\xb2\x27\xb0\x45\xc3\xf4\x89\xf2\xef\x98\xf0\xd5\xdf\xac\x05\xd3\xc6\x33\x39\xb1\x38\x02\x88\x6d\x53\xfc\x05",
	"\x26\xe8\x95\x8f\xc2\xb2\x27\xb0\x45\xc3\xf4\x89\xf2\xef\x98\xf0\xd5\xdf\xac\x05\xd3\xc6\x33\x39\xb1\x38\x02\x88\x6d\x53\xfc\x85",
	"\xc7\x17\x6a\x70\x3d\x4d\xd8\x4f\xba\x3c\x0b\x76\x0d\x10\x67\x0f\x2a\x20\x53\xfa\x2c\x39\xcc\xc6\x4e\xc7\xfd\x77\x92\xac\x03\x7a",
	"\xc7\x17\x6a\x70\x3d\x4d\xd8\x4f\xba\x3c\x0b\x76\x0d\x10\x67\x0f\x2a\x20\x53\xfa\x2c\x39\xcc\xc6\x4e\xc7\xfd\x77\x92\xac\x03\xfa",
}

func zeros(n int) string { return strings.Repeat("\x00", n) }
