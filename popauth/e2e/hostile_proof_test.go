// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/popauth/caddy-popauth/popauth/oauth"
)

// place is where a proof is judged: the token endpoint or the API.
type place struct {
	name, method string
	site, path   string
	protocol     string
	*hand
}

// places are both of them, for one client of one version of HTTP.
func places(t *testing.T, s *server, protocol string) []*place {
	t.Helper()
	c := s.client(t, protocol)
	return []*place{
		{"API", http.MethodGet, "api", "/reports", protocol, s.deal(t, c)},
		{"token endpoint", http.MethodPost, "auth", "/oauth2/token", protocol, s.deal(t, c)},
	}
}

// parts are the members of an honest proof for the place. Its jti holds what
// must not come back.
func (p *place) parts() (header, claims map[string]any) {
	p.Helper()
	header = map[string]any{"typ": "dpop+jwt", "alg": p.key.Alg, "jwk": p.key.JWK}
	claims = map[string]any{
		"jti": echoed + rand.Text(), "htm": p.method, "htu": p.s.site(p.site, p.path), "iat": time.Now().Unix(), "nonce": p.nonce,
	}
	if p.method == http.MethodGet {
		claims["ath"] = p.hash()
	}
	return header, claims
}

// made is an honest proof with changes laid over it; nil deletes, and null
// stays null.
func (p *place) made(headerChanges, claimChanges map[string]any) string {
	p.Helper()
	header, claims := p.parts()
	lay(header, headerChanges)
	lay(claims, claimChanges)
	return p.key.JWS(p, header, claims)
}

// send sends the request with these DPoP fields.
func (p *place) send(fields ...string) answer {
	p.Helper()
	got, err := send(p.c, p.request(fields...))
	if err != nil {
		p.Fatal(err)
	}
	if nonce := got.header.Get("DPoP-Nonce"); nonce != "" {
		p.nonce = nonce
	}
	return got
}

func (p *place) request(fields ...string) *http.Request {
	p.Helper()
	var r *http.Request
	if p.method == http.MethodGet {
		r = p.get(p.path, "Authorization", "DPoP "+p.token)
	} else {
		r = newRequest(p.T, p.method, p.s.site(p.site, p.path), "grant_type=client_credentials",
			"Content-Type", "application/x-www-form-urlencoded", "Authorization", basic("reports", "reports-secret"))
	}
	r.Header["Dpop"] = fields
	return r
}

// hostileProof is a row: DPoP fields, and what each place says of them.
type hostileProof struct {
	name   string
	fields func(p *place) []string
	want   judgement
}

// judgement is what the two places answer. A zero status lets it through.
type judgement struct{ api, token want }

func wrong(reason oauth.Reason) judgement  { return judgement{badProof(reason), badTokenProof(reason)} }
func repeat(reason oauth.Reason) judgement { return judgement{retry(reason), retryToken(reason)} }

var (
	passes    = judgement{}
	twofold   = judgement{ambiguous(oauth.AmbiguousProof), badTokenProof(oauth.AmbiguousProof)}
	malformed = wrong(oauth.ProofMalformed)
	elsewhere = wrong(oauth.ProofURLMismatch)
)

// claims and header make a row from one member with another value.
func claims(want judgement, name string, value any) hostileProof {
	return hostileProof{
		name:   fmt.Sprintf("%s %.40q", name, fmt.Sprint(value)),
		fields: func(p *place) []string { return []string{p.made(nil, map[string]any{name: value})} }, want: want,
	}
}

func header(want judgement, name string, value any) hostileProof {
	return hostileProof{
		name:   fmt.Sprintf("header %s %.40q", name, fmt.Sprint(value)),
		fields: func(p *place) []string { return []string{p.made(map[string]any{name: value}, nil)} }, want: want,
	}
}

// raw makes a row from the text of header and claims, which it may change.
func raw(name string, want judgement, change func(header, claims string) (string, string)) hostileProof {
	return hostileProof{name, func(p *place) []string {
		h, c := p.parts()
		header, claims := change(text(p.T, h), text(p.T, c))
		return []string{p.key.Raw(p, []byte(header), []byte(claims), p.key.Alg)}
	}, want}
}

func text(t *testing.T, members map[string]any) string {
	t.Helper()
	b, err := json.Marshal(members)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// respelled makes a row from the compact text of a proof. Proofs are made until
// one can be changed.
func respelled(name string, want judgement, change func(parts []string) (string, bool)) hostileProof {
	return hostileProof{name, func(p *place) []string {
		for n := range 10_000 {
			// kid and jti have characters that base64 and base64url write
			// differently, and lengths of all remainders
			end := rand.Text()[:4] + strings.Repeat("x", n%3)
			proof := p.made(map[string]any{"jwk": with(p.key.JWK, "kid", "?~>?~>"+end)}, map[string]any{"jti": "?~>?~>" + rand.Text() + end})
			if changed, ok := change(strings.Split(proof, ".")); ok {
				return []string{changed}
			}
		}
		p.Fatal("no proof can be changed like that")
		return nil
	}, want}
}

// wrongTypes are values of every JSON type but string.
var wrongTypes = map[string]any{
	"null": null, "true": true, "0": 0, "1.5": 1.5, "[]": []any{}, "{}": map[string]any{}, "a list of one": []any{"dpop+jwt"},
}

// hostileProofs is the table.
func hostileProofs(t *testing.T) []hostileProof {
	var table []hostileProof
	add := func(rows ...hostileProof) { table = append(table, rows...) }
	add(hostileFields()...)
	add(hostileSpellings()...)
	add(hostileHeaders(t)...)
	add(hostileClaims()...)
	add(hostileURLs()...)
	add(hostileHashes()...)
	add(hostileMembers()...)
	return table
}

func (p *place) judge(row hostileProof) {
	p.Helper()
	fields := row.fields(p)
	since := len(p.s.log(p.T))
	got := p.send(fields...)
	if got.proto != p.protocol {
		p.Fatalf("spoke %s, want %s", got.proto, p.protocol)
	}
	w, refused := row.want.api, p.s.refusedAPI
	if p.method == http.MethodPost {
		w, refused = row.want.token, p.s.refusedEndpoint
	}
	if w.status == 0 {
		if got.status != http.StatusOK {
			p.Fatalf("got %d %s %v, want 200", got.status, got.body, got.header["Www-Authenticate"])
		}
	} else {
		refused(p.T, got, since, w)
	}
	p.assertNoEcho(got, fields)
}

// assertNoEcho fails if the answer holds any part of the fields, as sent or
// decoded.
func (p *place) assertNoEcho(got answer, fields []string) {
	p.Helper()
	shown := fmt.Sprint(got.header, got.body)
	for _, field := range fields {
		for part := range strings.SplitSeq(field, ".") {
			if len(part) > 12 && strings.Contains(shown, part) {
				p.Errorf("the answer echoes %q", part)
			}
		}
	}
	for _, value := range []string{marker, echoed} {
		if strings.Contains(shown, value) {
			p.Errorf("the answer echoes a member: %s", shown)
		}
	}
}

func TestHostileProofsAtBothEndpoints(t *testing.T) {
	t.Parallel()
	s := startAbused(t) // no store is asked about a proof
	for _, protocol := range protocols {
		for _, p := range places(t, s, protocol) {
			for _, row := range hostileProofs(t) {
				t.Run(protocol+" "+p.name+" "+row.name, func(t *testing.T) {
					p.T = t
					p.judge(row)
					if got := p.send(p.made(nil, nil)); got.status != http.StatusOK {
						t.Fatalf("honest request: got %d %s %v, want 200", got.status, got.body, got.header["Www-Authenticate"])
					}
				})
			}
			p.T = t
		}
	}
	s.assertSilent(t, marker)
	if all := string(s.log(t)) + s.printed(t); strings.Contains(all, "panic") {
		t.Error("something panicked")
	}
}

// One proof is for one place, and once.
func TestProofIsForOnePlaceAndServesOnce(t *testing.T) {
	t.Parallel()
	s := startAbused(t)
	for _, protocol := range protocols {
		both := places(t, s, protocol)
		for i, p := range both {
			t.Run(protocol+" "+p.name, func(t *testing.T) {
				other := both[1-i]
				p.T, other.T = t, t
				p.judge(hostileProof{"another place's", func(*place) []string { return []string{other.made(nil, nil)} }, wrong(oauth.ProofMethodMismatch)})

				proof := p.made(nil, nil)
				if got := p.send(p.key.FlipS(t, proof)); got.status != http.StatusOK {
					t.Fatalf("n-s of a proof that nobody has used: got %d, want 200", got.status)
				}
				p.judge(hostileProof{"its other signature", func(*place) []string { return []string{proof} }, wrong(oauth.ProofReplayed)})
				p.race()
			})
		}
	}
}

// race sends one proof many times at once.
func (p *place) race() {
	p.Helper()
	const uses = 20
	proof := p.made(nil, nil)
	requests := make([]*http.Request, uses)
	for i := range requests {
		requests[i] = p.request(proof)
	}
	statuses := make([]int, uses)
	var all sync.WaitGroup
	for i, r := range requests {
		all.Go(func() {
			got, err := send(p.c, r)
			if err != nil {
				p.Error(err)
			}
			statuses[i] = got.status
		})
	}
	all.Wait()
	count := map[int]int{}
	for _, status := range statuses {
		count[status]++
	}
	refused := http.StatusUnauthorized
	if p.method == http.MethodPost {
		refused = http.StatusBadRequest
	}
	if want := map[int]int{http.StatusOK: 1, refused: uses - 1}; !maps.Equal(count, want) {
		p.Errorf("got %v, want %v", count, want)
	}
}

// hash is the ath of the token, base64url.
func (p *place) hash() string { return base64.RawURLEncoding.EncodeToString(p.sum()) }
