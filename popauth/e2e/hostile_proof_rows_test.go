// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"crypto/ecdsa"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"

	"github.com/popauth/caddy-popauth/popauth/fixture"
	"github.com/popauth/caddy-popauth/popauth/oauth"
)

func (p *place) sum() []byte {
	sum := sha256.Sum256([]byte(p.token))
	return sum[:]
}

func fields(values ...string) func(*place) []string {
	return func(*place) []string { return values }
}

// hostileFields are about the header field.
func hostileFields() []hostileProof {
	good := func(p *place) string { return p.made(nil, nil) }
	return []hostileProof{
		{"no field", fields(), judgement{retry(oauth.ProofMissing), invalidRequest(oauth.ConfirmationKeyRequired)}},
		{"an empty field", fields(""), malformed},
		{"two fields", func(p *place) []string { return []string{good(p), good(p)} }, twofold},
		{"the same twice", func(p *place) []string { g := good(p); return []string{g, g} }, twofold},
		{"a good one and an empty one", func(p *place) []string { return []string{good(p), ""} }, twofold},
		{"a good one and a comma", func(p *place) []string { return []string{good(p) + ","} }, twofold},
		{"two in one", func(p *place) []string { return []string{good(p) + ", " + good(p)} }, twofold},
		{"two with a blank between", func(p *place) []string { return []string{good(p) + " " + good(p)} }, malformed},
		{"not a JWT", fields("this-is-no-JWT-" + echoed), malformed},
		{"markup", fields(`"><script>alert(1)</script>` + echoed), malformed},
		{"a placeholder", fields("{env.HOME}" + echoed), malformed},
		{"dots", fields(".."), malformed},
		{"many dots", fields(strings.Repeat(".", 4000)), malformed},
		{"an object", fields(`{"payload":"` + echoed + `"}`), malformed},
		{"the JSON form", func(p *place) []string {
			parts := strings.Split(good(p), ".")
			return []string{`{"payload":"` + parts[1] + `","protected":"` + parts[0] + `","signature":"` + parts[2] + `"}`}
		}, twofold},
		{"with a scheme", func(p *place) []string { return []string{"DPoP " + good(p)} }, malformed},
		{"over 8 KiB", func(p *place) []string {
			return []string{p.made(nil, map[string]any{"x": strings.Repeat("x", 8<<10)})}
		}, judgement{ambiguous(oauth.CredentialsTooLarge), badTokenProof(oauth.ProofMalformed)}},
		{"two parts", func(p *place) []string { g := good(p); return []string{g[:strings.LastIndexByte(g, '.')]} }, malformed},
		{"four parts", func(p *place) []string { return []string{good(p) + ".AAAA"} }, malformed},
		{"five parts", func(p *place) []string { return []string{good(p) + ".AAAA.AAAA"} }, malformed},
		{"an empty header", func(p *place) []string { g := good(p); return []string{g[strings.IndexByte(g, '.'):]} }, malformed},
		{"an empty signature", func(p *place) []string { g := good(p); return []string{g[:strings.LastIndexByte(g, '.')+1]} }, malformed},
	}
}

// hostileSpellings are about base64url and the signature.
func hostileSpellings() []hostileProof {
	var rows []hostileProof
	for n, name := range []string{"header", "claims", "signature"} {
		part := func(change func(s string) (string, bool)) func([]string) (string, bool) {
			return func(parts []string) (string, bool) {
				changed, ok := change(parts[n])
				parts[n] = changed
				return strings.Join(parts, "."), ok
			}
		}
		rows = append(rows,
			respelled(name+" padded", malformed, part(func(s string) (string, bool) {
				return s + strings.Repeat("=", (4-len(s)%4)%4), len(s)%4 != 0
			})),
			respelled(name+" in base64", malformed, part(func(s string) (string, bool) {
				return strings.NewReplacer("-", "+", "_", "/").Replace(s), strings.ContainsAny(s, "-_")
			})),
			respelled(name+" with a blank", malformed, part(func(s string) (string, bool) { return s[:8] + " " + s[8:], true })),
			respelled(name+" with a tab", malformed, part(func(s string) (string, bool) { return s[:8] + "\t" + s[8:], true })),
			respelled(name+" with loose bits", malformed, part(func(s string) (string, bool) {
				const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
				last := len(s) - 1
				return s[:last] + string(alphabet[strings.IndexByte(alphabet, s[last])^1]), len(s)%4 != 0
			})),
			respelled(name+" one character short", malformed, part(func(s string) (string, bool) { return s[:len(s)-1], len(s)%4 == 2 })),
			respelled(name+" with a percent sign", malformed, part(func(s string) (string, bool) { return s + "%3D", true })),
		)
	}
	signed := func(name string, change func(p *place, sig []byte) []byte) hostileProof {
		return hostileProof{"a signature " + name, func(p *place) []string {
			proof := p.made(nil, nil)
			dot := strings.LastIndexByte(proof, '.') + 1
			sig, err := base64.RawURLEncoding.DecodeString(proof[dot:])
			if err != nil {
				p.Fatal(err)
			}
			return []string{proof[:dot] + base64.RawURLEncoding.EncodeToString(change(p, sig))}
		}, wrong(oauth.ProofSignatureInvalid)}
	}
	return append(rows,
		signed("of zeros", func(*place, []byte) []byte { return make([]byte, 64) }),
		signed("with r 0", func(_ *place, sig []byte) []byte { return append(make([]byte, 32), sig[32:]...) }),
		signed("with s n", func(p *place, sig []byte) []byte {
			return append(sig[:32:32], p.key.Public().(*ecdsa.PublicKey).Params().N.Bytes()...)
		}),
		signed("with r and s exchanged", func(_ *place, sig []byte) []byte { return append(sig[32:64:64], sig[:32]...) }),
		signed("with a flipped bit", func(_ *place, sig []byte) []byte { sig[40] ^= 1; return sig }),
		signed("too short", func(_ *place, sig []byte) []byte { return sig[:63] }),
		signed("too long", func(_ *place, sig []byte) []byte { return append(sig, 0) }),
		signed("in ASN.1", func(p *place, sig []byte) []byte {
			der, err := asn1.Marshal(struct{ R, S *big.Int }{new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:])})
			if err != nil {
				p.Fatal(err)
			}
			return der
		}),
		signed("by another proof", func(p *place, _ []byte) []byte {
			other := p.made(nil, nil)
			sig, err := base64.RawURLEncoding.DecodeString(other[strings.LastIndexByte(other, '.')+1:])
			if err != nil {
				p.Fatal(err)
			}
			return sig
		}),
	)
}

// hostileHeaders are about typ, alg, jwk and crit.
func hostileHeaders(t *testing.T) []hostileProof {
	typ, alg, key := wrong(oauth.ProofTypeWrong), wrong(oauth.ProofAlgorithmWrong), wrong(oauth.ProofKeyInvalid)
	ec, rsa := fixture.Load(t, "p256").JWK, fixture.Load(t, "rsa2048").JWK
	rows := []hostileProof{
		header(typ, "typ", nil), header(typ, "typ", ""), header(typ, "typ", "JWT"), header(typ, "typ", "at+jwt"),
		header(typ, "typ", "DPoP+JWT"), header(typ, "typ", "application/dpop+jwt"), header(typ, "typ", "dpop+jwt "),
		header(malformed, "alg", nil), header(malformed, "alg", ""), header(alg, "alg", "es256"), header(alg, "alg", "ES256 "),
		header(alg, "alg", "ES384"), header(alg, "alg", "ES512"), header(alg, "alg", "ES256K"), header(alg, "alg", "RS256"),
		header(alg, "alg", "EdDSA"), header(alg, "alg", "dir"),
		header(key, "jwk", nil), header(key, "jwk", marker), header(key, "jwk", with(ec, "d", marker)),
		header(key, "jwk", map[string]any{"jwk": ec}), header(key, "jwk", map[string]any{"kty": "oct", "k": marker}),
		header(key, "jwk", fixture.Load(t, "rsa1024").JWK), header(key, "jwk", fixture.Load(t, "p521").JWK),
		header(alg, "jwk", rsa), header(key, "jwk", with(ec, "y", ec["x"])), header(key, "jwk", with(ec, "use", "enc")),
		header(key, "jwk", with(ec, "x5u", "https://evil.example/"+marker)), header(key, "kid", echoed),
		header(malformed, "crit", []string{}), header(malformed, "crit", []string{"exp"}), header(malformed, "crit", null),
		header(malformed, "crit", []string{"b64"}), header(malformed, "b64", false), header(malformed, "zip", "DEF"),
		header(malformed, "jku", "https://evil.example/"+marker), header(malformed, "x5c", []string{marker}), header(malformed, "x5u", "https://evil.example"),
		header(passes, "x", map[string]any{"unknown": []any{1, "2"}}),
		{"the key of another", func(p *place) []string {
			return []string{p.made(map[string]any{"jwk": p.thief.JWK}, nil)}
		}, judgement{badToken(oauth.ProofKeyMismatch), badTokenProof(oauth.ProofSignatureInvalid)}},
		{"HS256 over the public key", func(p *place) []string {
			der, err := x509.MarshalPKIXPublicKey(p.key.Public())
			if err != nil {
				p.Fatal(err)
			}
			proof := p.made(map[string]any{"alg": "HS256"}, nil)
			input := proof[:strings.LastIndexByte(proof, '.')]
			mac := hmac.New(sha256.New, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
			mac.Write([]byte(input))
			return []string{input + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))}
		}, alg},
	}
	for _, none := range []string{"none", "None", "NONE", "nOnE", "none ", "n\u043ene"} {
		rows = append(rows, header(alg, "alg", none), hostileProof{"unsigned, alg " + none, func(p *place) []string {
			proof := p.made(map[string]any{"alg": none}, nil)
			return []string{proof[:strings.LastIndexByte(proof, '.')+1]}
		}, malformed})
	}
	for name, value := range wrongTypes {
		for member, want := range map[string]judgement{"typ": malformed, "alg": malformed, "jwk": key} {
			row := header(want, member, value)
			row.name = "header " + member + " is " + name
			rows = append(rows, row)
		}
	}
	return rows
}

// hostileClaims are about jti, htm, iat and nonce.
func hostileClaims() []hostileProof {
	number := func(text string) json.RawMessage { return json.RawMessage(text) }
	method, nonce := wrong(oauth.ProofMethodMismatch), repeat(oauth.NonceInvalid)
	missing := judgement{retry(oauth.NonceMissing), retryToken(oauth.ProofExpired)}
	rows := []hostileProof{
		claims(malformed, "jti", nil), claims(malformed, "jti", ""), claims(malformed, "jti", strings.Repeat("j", 129)),
		claims(malformed, "jti", "a\x00b"), claims(malformed, "jti", "a\nb"), claims(malformed, "jti", "a\u0085b"),
		claims(malformed, "htm", nil), claims(malformed, "htm", ""), claims(method, "htm", "get"), claims(method, "htm", "Post"),
		claims(method, "htm", "GET "), claims(method, "htm", "PUT"), claims(method, "htm", echoed),
		claims(malformed, "iat", nil), claims(malformed, "iat", "1"), claims(malformed, "iat", number("1e400")), claims(malformed, "iat", number("-1e400")),
		// a proof with a nonce is judged by that alone
		claims(passes, "iat", 0), claims(passes, "iat", -1), claims(passes, "iat", number("1e300")), claims(passes, "iat", number("-0.5")),
		claims(passes, "iat", number("9223372036854775808")),
		claims(nonce, "nonce", ""), claims(nonce, "nonce", echoed), claims(nonce, "nonce", strings.Repeat("A", 43)),
		claims(malformed, "nonce", strings.Repeat("A", 257)),
		raw("not JSON", malformed, func(h, _ string) (string, string) { return h, echoed }),
		raw("claims that are a list", malformed, func(h, c string) (string, string) { return h, "[" + c + "]" }),
		raw("claims with bytes behind", malformed, func(h, c string) (string, string) { return h, c + "x" }),
		raw("claims that are not UTF-8", malformed, func(h, c string) (string, string) {
			return h, strings.Replace(c, "{", "{\"x\":\"\xff\",", 1)
		}),
		raw("claims nested deeply", malformed, func(h, c string) (string, string) {
			return h, strings.Replace(c, "{", `{"x":`+strings.Repeat("[", 500)+strings.Repeat("]", 500)+",", 1)
		}),
		raw("a header nested deeply", malformed, func(h, c string) (string, string) {
			return strings.Replace(h, "{", `{"x":`+strings.Repeat("[", 500)+strings.Repeat("]", 500)+",", 1), c
		}),
	}
	for _, iat := range []string{"0", "-1", "-1e300"} {
		rows = append(rows, hostileProof{"without a nonce, iat " + iat, func(p *place) []string {
			return []string{p.made(nil, map[string]any{"nonce": nil, "iat": number(iat)})}
		}, missing})
	}
	for _, iat := range []string{"1e300", "9223372036854775808", "1e18"} {
		rows = append(rows, hostileProof{"without a nonce, iat " + iat, func(p *place) []string {
			return []string{p.made(nil, map[string]any{"nonce": nil, "iat": number(iat)})}
		}, judgement{retry(oauth.NonceMissing), retryToken(oauth.ProofFromFuture)}})
	}
	for name, value := range wrongTypes {
		for _, member := range []string{"jti", "htm", "htu", "nonce", "ath", "iat"} {
			want := malformed
			if _, isNumber := value.(int); member == "iat" && (isNumber || name == "1.5") {
				want = passes
			}
			row := claims(want, member, value)
			row.name = member + " is " + name
			rows = append(rows, row)
		}
	}
	return rows
}

// hostileURLs are about htu.
func hostileURLs() []hostileProof {
	at := func(name string, want judgement, change func(url string) string) hostileProof {
		return hostileProof{"htu " + name, func(p *place) []string {
			return []string{p.made(nil, map[string]any{"htu": change(p.s.site(p.site, p.path))})}
		}, want}
	}
	replace := func(old, with string) func(string) string {
		return func(url string) string { return strings.Replace(url, old, with, 1) }
	}
	behind := func(suffix string) func(string) string { return func(url string) string { return url + suffix } }
	host := func(change func(host string) string) func(string) string {
		return func(url string) string {
			rest := strings.TrimPrefix(url, "https://")
			name, tail, _ := strings.Cut(rest, ":")
			return "https://" + change(name) + ":" + tail
		}
	}
	path := func(change func(path string) string) func(string) string {
		return func(url string) string {
			i := strings.LastIndexByte(url, ':')
			i += strings.IndexByte(url[i:], '/')
			return url[:i] + change(url[i:])
		}
	}
	return []hostileProof{
		claims(malformed, "htu", nil), claims(malformed, "htu", ""),
		at("another host", elsewhere, host(func(string) string { return "evil.localhost" })),
		at("a host with a suffix", elsewhere, host(func(h string) string { return h + ".evil.example" })),
		at("a host with a prefix", elsewhere, host(func(h string) string { return "x" + h })),
		at("a host with a dot behind", elsewhere, host(func(h string) string { return h + "." })),
		at("a host with a Cyrillic letter", elsewhere, host(func(h string) string { return strings.Replace(h, "a", "\u0430", 1) })),
		at("a host in Punycode", elsewhere, host(func(h string) string { return "xn--" + h })),
		at("a host with an escape", elsewhere, host(func(h string) string { return strings.Replace(h, "a", "%61", 1) })),
		at("its address", elsewhere, host(func(string) string { return "127.0.0.1" })),
		at("a host in upper case", passes, host(strings.ToUpper)),
		at("another port", elsewhere, func(url string) string { return path(func(p string) string { return "1" + p })(url) }),
		at("no port", elsewhere, func(url string) string {
			i := strings.LastIndexByte(url, ':')
			return url[:i] + url[i+strings.IndexByte(url[i:], '/'):]
		}),
		at("a port that is none", elsewhere, replace(".localhost:", ".localhost:+")),
		at("a port with a zero in front", passes, replace(".localhost:", ".localhost:0")),
		at("http", elsewhere, replace("https", "http")),
		at("wss", elsewhere, replace("https", "wss")),
		at("a scheme in upper case", passes, replace("https", "HTTPS")),
		at("without a scheme", elsewhere, replace("https:", "")),
		at("only a path", elsewhere, func(url string) string { return url[strings.Index(url, "host:")+len("host:00000"):] }),
		at("opaque", elsewhere, replace("https://", "https:")),
		at("three slashes", elsewhere, replace("https://", "https:///")),
		at("a blank in front", elsewhere, func(url string) string { return " " + url }),
		at("a user", elsewhere, replace("https://", "https://user@")),
		at("a user and a password", elsewhere, replace("https://", "https://user:"+marker+"@")),
		at("an empty user", elsewhere, replace("https://", "https://@")),
		at("another path", elsewhere, path(func(string) string { return "/elsewhere" })),
		at("no path", elsewhere, path(func(string) string { return "" })),
		at("a path in upper case", elsewhere, path(strings.ToUpper)),
		at("a trailing slash", elsewhere, behind("/")),
		at("a double slash", elsewhere, path(func(p string) string { return "/" + p })),
		at("a parameter", elsewhere, behind(";x=1")),
		at("a dot segment", elsewhere, path(func(p string) string { return "/." + p })),
		at("a double-dot segment", elsewhere, path(func(p string) string { return "/x/.." + p })),
		at("an encoded dot segment", elsewhere, path(func(p string) string { return "/x/%2e%2E" + p })),
		at("an encoded slash", elsewhere, path(func(p string) string { return "/%2F" + p[1:] })),
		at("an encoded letter", passes, path(func(p string) string { return "/%" + hex.EncodeToString([]byte(p[1:2])) + p[2:] })),
		at("a letter encoded twice", elsewhere, path(func(p string) string { return "/%25" + hex.EncodeToString([]byte(p[1:2])) + p[2:] })),
		at("a broken escape", elsewhere, behind("%")),
		at("an encoded NUL", elsewhere, behind("%00")),
		at("a backslash", elsewhere, path(func(p string) string { return `\` + p[1:] })),
		at("a line end", elsewhere, behind("\r\nX-Injected: 1")),
		at("not ASCII", elsewhere, behind("\u00e9")),
		// RFC 9449 §4.3 check 9: query and fragment are ignored
		at("a query", passes, behind("?"+echoed)),
		at("an empty query", passes, behind("?")),
		at("a fragment", passes, behind("#"+echoed)),
		at("a query and a fragment", passes, behind("?a=/#b?c")),
		at("very long", elsewhere, behind("/"+strings.Repeat("x", 3000))),
		at("markup", elsewhere, func(string) string { return `"><script>` + echoed }),
		at("a list", elsewhere, func(url string) string { return url + " " + url }),
	}
}

// hostileHashes are about ath. Where there is no token, it is not looked at.
func hostileHashes() []hostileProof {
	at := func(name string, make func(p *place) any) hostileProof {
		return hostileProof{"ath " + name, func(p *place) []string {
			return []string{p.made(nil, map[string]any{"ath": make(p)})}
		}, judgement{api: badProof(oauth.ProofTokenMismatch)}}
	}
	return []hostileProof{
		at("missing", func(*place) any { return nil }),
		at("empty", func(*place) any { return "" }),
		at("padded", func(p *place) any { return base64.URLEncoding.EncodeToString(p.sum()) }),
		at("in hex", func(p *place) any { return hex.EncodeToString(p.sum()) }),
		at("of another token", func(p *place) any {
			sum := sha256.Sum256([]byte(p.token + "x"))
			return base64.RawURLEncoding.EncodeToString(sum[:])
		}),
		at("cut off", func(p *place) any { return p.hash()[:42] }),
		at("in another case", func(p *place) any { return strings.ToUpper(p.hash()) }),
	}
}

// hostileMembers are members that are there twice, or in another letter case.
func hostileMembers() []hostileProof {
	var rows []hostileProof
	other := map[string]string{
		"typ": `"JWT"`, "alg": `"none"`, "jwk": `{}`,
		"jti": `"` + echoed + `"`, "htm": `"PUT"`, "htu": `"https://evil.example/"`, "iat": `0`, "nonce": `"x"`, "ath": `"x"`,
	}
	for name, value := range other {
		inHeader := name == "typ" || name == "alg" || name == "jwk"
		member := `"` + name + `":` + value
		front := func(s string) string { return "{" + member + "," + s[1:] }
		back := func(s string) string { return s[:len(s)-1] + "," + member + "}" }
		escaped := func(s string) string {
			return s[:len(s)-1] + `,"\u00` + hex.EncodeToString([]byte(name[:1])) + name[1:] + `":` + value + "}"
		}
		upper := func(s string) string { return strings.Replace(s, `"`+name+`":`, `"`+strings.ToUpper(name)+`":`, 1) }
		for how, change := range map[string]func(string) string{
			"twice, the good one last": front, "twice, the good one first": back, "twice, once escaped": escaped,
			"in upper case": upper, "in upper case beside the good one": func(s string) string {
				return s[:len(s)-1] + `,"` + strings.ToUpper(name) + `":` + value + "}"
			},
		} {
			rows = append(rows, raw(name+" "+how, memberJudgement(name, how), func(h, c string) (string, string) {
				if inHeader {
					return change(h), c
				}
				if name == "nonce" { // without one, iat is judged
					c = strings.Replace(c, `"iat":`, `"iat":-`, 1)
				}
				if name == "ath" && !strings.Contains(c, `"ath"`) {
					c = c[:len(c)-1] + `,"ath":"y"}`
				}
				return h, change(c)
			}))
		}
	}
	return rows
}

// memberJudgement: a member in another letter case is another one. It means
// nothing, and the right one is missing if it is not there too.
func memberJudgement(name, how string) judgement {
	switch {
	case strings.HasPrefix(how, "twice"):
		return malformed
	case how != "in upper case":
		return passes
	}
	switch name {
	case "typ":
		return wrong(oauth.ProofTypeWrong)
	case "jwk":
		return wrong(oauth.ProofKeyInvalid)
	case "nonce":
		return judgement{retry(oauth.NonceMissing), retryToken(oauth.ProofExpired)}
	case "ath":
		return judgement{api: badProof(oauth.ProofTokenMismatch)}
	}
	return malformed
}
