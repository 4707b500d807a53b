// SPDX-License-Identifier: Apache-2.0

package issue

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/popauth/caddy-popauth/popauth/accesstoken"
	"github.com/popauth/caddy-popauth/popauth/client"
	"github.com/popauth/caddy-popauth/popauth/clock"
	"github.com/popauth/caddy-popauth/popauth/oauth"
	"github.com/popauth/caddy-popauth/popauth/store"
)

// two are the clients reports and billing, of which the first has opaque
// tokens if it is told so.
func two(format string) []client.Config {
	first, second := reports(), reports()
	first.TokenFormat, second.ID = format, "billing"
	return []client.Config{first, second}
}

func token(t *testing.T, i *Issuer, a client.Authentication) string {
	t.Helper()
	response, _, refusal := ask(t, i, by(a, form(t, nil)))
	if refusal != nil {
		t.Fatalf("Token: %v", refusal)
	}
	return response.AccessToken
}

func reasonOf(refusal *oauth.Refusal) oauth.Reason {
	if refusal == nil {
		return ""
	}
	return refusal.Reason
}

func TestRevoke(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"jwt", "opaque"} {
		for name, test := range map[string]struct {
			by    string
			form  func(token string) map[string][]string
			want  oauth.Reason
			valid oauth.Reason // what the token is afterwards
		}{
			"its own": {
				"reports", func(token string) map[string][]string { return map[string][]string{"token": {token}} },
				"", oauth.TokenRevoked,
			},
			"a right hint": {
				"reports", func(token string) map[string][]string {
					return map[string][]string{"token": {token}, "token_type_hint": {"access_token"}}
				}, "", oauth.TokenRevoked,
			},
			"a wrong hint": {
				"reports", func(token string) map[string][]string {
					return map[string][]string{"token": {token}, "token_type_hint": {"refresh_token"}}
				}, "", oauth.TokenRevoked,
			},
			"another client's": {
				"billing", func(token string) map[string][]string { return map[string][]string{"token": {token}} },
				oauth.TokenOfAnotherClient, "",
			},
			"an unknown one": {
				"reports", func(string) map[string][]string {
					return map[string][]string{"token": {"pop_at_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}}
				}, "", "",
			},
			"nonsense": {
				"reports", func(string) map[string][]string { return map[string][]string{"token": {"x"}} }, "", "",
			},
			"none": {
				"reports", func(string) map[string][]string { return nil }, oauth.ParameterMissing, "",
			},
			"an empty one": {
				"reports", func(string) map[string][]string { return map[string][]string{"token": {""}} },
				oauth.ParameterMissing, "",
			},
		} {
			t.Run(format+", "+name, func(t *testing.T) {
				t.Parallel()
				i, registry := issuer(t, two(format)...)
				sent := token(t, i, as(t, registry, "reports"))
				refusal := i.Revoke(t.Context(), as(t, registry, test.by), oauth.NewForm(test.form(sent)))
				if reasonOf(refusal) != test.want {
					t.Errorf("Revoke = %v, want %q", refusal, test.want)
				}
				if refusal != nil && refusal.Reason.Rule().Endpoint != 400 {
					t.Errorf("status %d, want 400", refusal.Reason.Rule().Endpoint)
				}
				if _, refusal := i.Tokens.Verify(t.Context(), sent); reasonOf(refusal) != test.valid {
					t.Errorf("Verify = %v afterwards, want %q", refusal, test.valid)
				}
			})
		}
	}
}

// outage is a store that is not always open.
type outage struct {
	accesstoken.Store
	down bool
}

func (o *outage) err() error {
	if o.down {
		return fmt.Errorf("%w: it is not open", store.ErrUnavailable)
	}
	return nil
}

func (o *outage) Revoked(ctx context.Context, issuer, id [32]byte) (bool, error) {
	if err := o.err(); err != nil {
		return false, err
	}
	return o.Store.Revoked(ctx, issuer, id)
}

func (o *outage) PutIfAbsent(ctx context.Context, key store.Key, value []byte, expires time.Time) (bool, error) {
	if err := o.err(); err != nil {
		return false, err
	}
	return o.Store.PutIfAbsent(ctx, key, value, expires)
}

// Without a store there is neither a token, in whichever format, nor a success.
func TestStoreOutage(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"jwt", "opaque"} {
		c := clock.NewFake(time.Unix(1_700_000_000, 0))
		state := &outage{Store: store.NewMirror(store.NewMemory(c), c)}
		i, registry := issuerOn(t, c, state, two(format)...)
		reports := as(t, registry, "reports")
		sent := oauth.NewForm(map[string][]string{"token": {token(t, i, reports)}})

		state.down = true
		response, claims, refusal := ask(t, i, by(reports, form(t, nil)))
		if response != nil || claims != nil || reasonOf(refusal) != oauth.StoreUnavailable {
			t.Errorf("%s: Token = %v, %v, %v, want %s", format, response, claims, refusal, oauth.StoreUnavailable)
		}
		if refusal := i.Revoke(t.Context(), reports, sent); reasonOf(refusal) != oauth.StoreUnavailable {
			t.Errorf("%s: Revoke = %v, want %s", format, refusal, oauth.StoreUnavailable)
		}

		state.down = false
		token(t, i, reports)
		if refusal := i.Revoke(t.Context(), reports, sent); refusal != nil {
			t.Errorf("%s: Revoke = %v after the outage", format, refusal)
		}
	}
	if rule := oauth.StoreUnavailable.Rule(); rule.Endpoint != 503 || rule.Code != "temporarily_unavailable" || !rule.Retry {
		t.Errorf("the answer is %d %s, Retry-After %v, want 503 temporarily_unavailable with it", rule.Endpoint, rule.Code, rule.Retry)
	}
}
