// SPDX-License-Identifier: Apache-2.0

package popauth

import (
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/popauth/caddy-popauth/popauth/enforce"
	"github.com/popauth/caddy-popauth/popauth/oauth"
	"github.com/popauth/caddy-popauth/popauth/replay"
)

func init() {
	caddy.RegisterModule(Auth{})
}

// Auth lets a request through only when the client proves, there and then,
// that it holds the key its access token is bound to. Put it in front of an
// API.
//
// The client sends its access token in the Authorization field (`DPoP` or,
// for tokens with a `cnf.jwk`, `Bearer`) and in the `DPoP` field a proof as of
// RFC 9449: a small JWT, made for this one request, signed with its key. A
// client that sends no proof is challenged with a 401 that carries a nonce to
// be signed. Every proof passes once.
//
// A request that was let through has these placeholders. On every refusal they
// are emptied, and only the reason is set. Before this handler, and where it
// does not run, they are not set at all:
//
// Placeholder | Description
// ------------|-------------
// `{http.auth.user.id}` | The subject of the token
// `{http.auth.user.client_id}` | The client the token was issued to
// `{http.auth.user.scope}` | The scopes of the token, separated by spaces
// `{http.auth.user.issuer}` | The issuer of the token
// `{http.auth.user.jkt}` | The RFC 7638 thumbprint of the proven key
// `{http.auth.user.confirmation}` | What was proven: `jwk`, `jkt`, or `none` for an unbound token that was allowed
// `{http.pop_auth.reason}` | Why the request was refused
//
// A refusal is an error of the handler, with all its header fields set, and
// can be rendered with `handle_errors`. Request bodies are never read.
type Auth struct {
	// The ids of the issuers whose tokens are accepted. Default: the only
	// issuer there is, or else the one with the id "default".
	Issuers []string `json:"issuers,omitempty"`

	// One of these must be in the token's `aud`. Default: the audience of the
	// issuers. Accepts placeholders.
	Audience []string `json:"audience,omitempty"`

	// All of these must be in the token's scope. Default: none. Accepts
	// placeholders.
	Scopes []string `json:"scopes,omitempty"`

	// `required`: a proof must carry a nonce of ours, which is at most two
	// minutes old. `single_use`: and every nonce serves for one request.
	// `off`: a proof without one is judged by its `iat`, the time at which
	// the client says it was made. Default: required.
	Nonce string `json:"nonce,omitempty"`

	// How old a proof without a nonce may be, 24h at most. It is remembered for
	// as long, beside those of all other places. Default: 5m.
	ProofMaxAge caddy.Duration `json:"proof_max_age,omitempty"`

	// How far ahead of this clock the `iat` of a proof without a nonce may
	// be, 24h at most. Default: 1m.
	ClockSkew caddy.Duration `json:"clock_skew,omitempty"`

	// How clients reach this site: one or more URLs such as
	// `https://api.example.com`, of which a proof must name one. A path in it
	// is put in front of the path of the request, for a proxy in front that
	// strips a prefix. The Host field and what proxies say of the original
	// host are then not looked at. Without it, scheme and host are those of
	// the request, or those that a proxy in the server's `trusted_proxies`
	// names, and the site must have a host matcher. Accepts placeholders.
	PublicURLs []string `json:"public_urls,omitempty"`

	// What the handlers behind see of the credentials. In each case the
	// `DPoP` field is removed. `bearer`: the token with the scheme Bearer.
	// `keep`: the Authorization field as it came. `strip`: no Authorization
	// field. Default: bearer.
	UpstreamToken string `json:"upstream_token,omitempty"`

	// Accept paths with an encoded slash (%2F). They are refused by default,
	// because programs differ on whether it separates segments.
	AllowEncodedSlashes bool `json:"allow_encoded_slashes,omitempty"`

	// Let tokens without a `cnf` pass as bearer tokens, which a thief can
	// use. Bound tokens must still be proven.
	AllowUnboundTokens bool `json:"allow_unbound_tokens,omitempty"`

	// The metadata of the API for clients that have no token yet (RFC 9728):
	// where to get one, and for which scopes. `on`: if one of the audiences is
	// a URL on the origin of this site, the document is served at its
	// well-known place, to anybody, and challenges name it. `off`: it is not.
	// `only`: it is, and all other requests are passed on as they are; this is
	// for a route beside one that has a path matcher. Default: on.
	Metadata string `json:"metadata,omitempty"`

	// What scripts of web pages on other origins may do. Default: nothing; a
	// preflight is then a request like any other.
	CORS *CORS `json:"cors,omitempty"`

	policy     enforce.Policy
	publicURLs []string   // resolved
	site       *siteHosts // where it stands; nil if publicURLs say how clients reach it
	resources  []*resource
	served     *servedResources
	find       func() error // finds out what site and served don't know yet
	logger     *zap.Logger
}

// CaddyModule returns the Caddy module information.
func (Auth) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.pop_auth",
		New: func() caddy.Module { return new(Auth) },
	}
}

// Provision finds the issuers and sets the defaults.
func (a *Auth) Provision(ctx caddy.Context) error {
	a.logger = ctx.Logger()
	app, err := appOf(ctx, "pop_auth")
	if err != nil {
		return err
	}
	issuers, err := app.issuersNamed(a.Issuers)
	if err != nil {
		return fmt.Errorf("pop_auth: %w", err)
	}
	if err := a.resolve(issuers); err != nil {
		return fmt.Errorf("pop_auth: %w", err)
	}
	if err := a.CORS.resolve(); err != nil {
		return fmt.Errorf("pop_auth: %w", err)
	}
	for _, iss := range issuers {
		a.policy.Issuers = append(a.policy.Issuers, iss.tokens)
	}
	a.policy.Memory = app.runtime.memory
	if a.policy.Freshness.Mode == replay.Off {
		app.observeWindow(time.Duration(a.ProofMaxAge), time.Duration(a.ClockSkew))
	}
	if err := a.provisionResources(); err != nil {
		return fmt.Errorf("pop_auth: %w", err)
	}
	a.served = new(servedResources)
	if len(a.publicURLs) == 0 {
		a.site = new(siteHosts)
	}
	a.find = app.findAuths
	app.observeAuth(a)
	return nil
}

// resolve fills the policy with the values, defaults and placeholders.
func (a *Auth) resolve(issuers []*Issuer) error {
	audience, err := resolveAll("audience", a.Audience)
	if err != nil {
		return err
	}
	if len(audience) == 0 {
		for _, iss := range issuers {
			audience = append(audience, iss.audience...)
		}
		slices.Sort(audience)
		audience = slices.Compact(audience)
	}
	scopes, err := resolveAll("scope", a.Scopes)
	if err != nil {
		return err
	}
	if a.publicURLs, err = resolveAll("public_url", a.PublicURLs); err != nil {
		return err
	}
	if a.ProofMaxAge == 0 {
		a.ProofMaxAge = caddy.Duration(5 * time.Minute)
	}
	if a.ClockSkew == 0 {
		a.ClockSkew = caddy.Duration(time.Minute)
	}
	a.policy = enforce.Policy{
		Audience:            audience,
		Scopes:              scopes,
		AllowEncodedSlashes: a.AllowEncodedSlashes,
		AllowUnbound:        a.AllowUnboundTokens,
		Freshness: replay.Policy{
			Mode:   nonceModes[a.Nonce],
			MaxAge: time.Duration(a.ProofMaxAge),
			Skew:   time.Duration(a.ClockSkew),
		},
	}
	return nil
}

// nonceModes are the values of the nonce option. The empty one is the default
// and the strict one, so that a forgotten line never loosens anything.
var nonceModes = map[string]replay.Mode{
	"": replay.Required, "required": replay.Required, "single_use": replay.SingleUse, "off": replay.Off,
}

// The values of the upstream_token option.
const (
	upstreamBearer = "bearer"
	upstreamKeep   = "keep"
	upstreamStrip  = "strip"
)

// Validate checks what needs no other module.
func (a *Auth) Validate() error {
	if _, ok := nonceModes[a.Nonce]; !ok {
		return fmt.Errorf("pop_auth: nonce is %q, expected required, single_use or off", a.Nonce)
	}
	switch a.UpstreamToken {
	case "", upstreamBearer, upstreamKeep, upstreamStrip:
	default:
		return fmt.Errorf("pop_auth: upstream_token is %q, expected bearer, keep or strip", a.UpstreamToken)
	}
	switch a.Metadata {
	case "", metadataOn, metadataOff, metadataOnly:
	default:
		return fmt.Errorf("pop_auth: metadata is %q, expected on, off or only", a.Metadata)
	}
	if err := checkWindow("proof_max_age", a.ProofMaxAge); err != nil {
		return err
	}
	if err := checkWindow("clock_skew", a.ClockSkew); err != nil {
		return err
	}
	if len(a.policy.Audience) == 0 {
		return fmt.Errorf("pop_auth: there is no audience to compare with the token's")
	}
	for _, raw := range a.publicURLs {
		if err := checkPublicURL(raw); err != nil {
			return fmt.Errorf("pop_auth: %w", err)
		}
	}
	for _, scope := range a.policy.Scopes {
		if !oauth.ValidScopeToken(scope) {
			return fmt.Errorf("pop_auth: %q is not a scope (RFC 6749 section 3.3)", scope)
		}
	}
	if err := a.CORS.check(); err != nil {
		return fmt.Errorf("pop_auth: %w", err)
	}
	return nil
}

// ServeHTTP lets the request through, or refuses it.
func (a *Auth) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if a.serveMetadata(w, r) {
		return nil
	}
	if a.Metadata == metadataOnly {
		return next.ServeHTTP(w, r)
	}
	verdict, earlier := caddyhttp.GetVar(r.Context(), verdictVar).(enforce.Verdict)
	clearIdentity(r)
	if asked, ok := a.CORS.preflight(r); ok {
		return a.servePreflight(w, r, next, asked)
	}
	if earlier {
		// possession is proven once per request: the proof is used up, and its
		// fields are gone. What differs between two blocks is judged again.
		verdict = enforce.Recheck(verdict, a.policy)
	} else {
		verdict = a.judge(r)
	}
	if verdict.Refusal != nil {
		return a.refuse(w, r, verdict)
	}
	setIdentity(r, verdict)
	if earlier {
		return serveNext(w, r, next, "", a.CORS)
	}
	a.prepareUpstream(r, verdict.Token)
	// variables can be printed by a placeholder
	verdict.Token = ""
	caddyhttp.SetVar(r.Context(), verdictVar, verdict)
	nonce := ""
	if verdict.RenewNonce {
		nonce = a.policy.Memory.Nonce()
	}
	return serveNext(w, r, next, nonce, a.CORS)
}

// verdictVar is the variable of the request context in which the first
// pop_auth leaves its verdict for a second one. Never a header field: a client
// could send that.
const verdictVar = "popauth.verdict"

// judge asks enforce.
func (a *Auth) judge(r *http.Request) enforce.Verdict {
	if refusal := transportRefusal(r); refusal != nil {
		return enforce.Verdict{Refusal: refusal}
	}
	origins, refusal := a.origins(r)
	if refusal != nil {
		return enforce.Verdict{Refusal: refusal}
	}
	method, target := originalTarget(r)
	verdict := enforce.Check(r.Context(), enforce.Request{
		Method:  method,
		Target:  target,
		Origins: origins,
		Header:  r.Header,
	}, a.policy)
	if verdict.Refusal != nil && verdict.Refusal.Reason == oauth.ProofURLMismatch {
		a.explainURL(r, verdict.Refusal)
	}
	return verdict
}

// refuse sets the header fields of a refusal, logs it and returns it as an
// error of the handler.
func (a *Auth) refuse(w http.ResponseWriter, r *http.Request, verdict enforce.Verdict) error {
	refusal := verdict.Refusal
	rule := refusal.Reason.Rule()
	h := w.Header()
	a.CORS.amend(h, a.CORS.reader(r))
	h.Set("Cache-Control", "no-store")
	if challenge := enforce.Challenge(refusal, a.policy, a.challengeParams(r)...); challenge != "" {
		h.Set("WWW-Authenticate", challenge)
	}
	if enforce.WantsNonce(refusal, a.policy) {
		h.Set("DPoP-Nonce", a.policy.Memory.Nonce())
	}
	if rule.Retry {
		h.Set("Retry-After", refusal.RetryAfterSeconds())
	}
	oauth.LeaveBody(w, r)
	replacer(r).Set("http.pop_auth.reason", string(refusal.Reason))
	logRefusal(a.logger, r, refusal, verdictFields(verdict)...)
	return caddyhttp.Error(rule.API, refusal)
}

// prepareUpstream takes the proof out of the request and puts the token into
// the form the API behind expects. A proof must not travel on: whoever reads
// the upstream's logs could try it elsewhere.
func (a *Auth) prepareUpstream(r *http.Request, token string) {
	settleConnection(r.Header)
	r.Header.Del("DPoP")
	switch a.UpstreamToken {
	case upstreamKeep:
	case upstreamStrip:
		r.Header.Del("Authorization")
	default:
		r.Header.Set("Authorization", "Bearer "+token)
	}
}

// maxWindow bounds the window in which a proof without a nonce can pass. It may
// pass at any site of the process, so all have to remember theirs for as long as
// the longest window: one of months at one site would fill the guard for all.
const maxWindow = 24 * time.Hour

func checkWindow(name string, d caddy.Duration) error {
	switch d := time.Duration(d); {
	case d < 0:
		return fmt.Errorf("pop_auth: %s is %v, expected a positive duration", name, d)
	case d > maxWindow:
		return fmt.Errorf("pop_auth: %s is %v, expected %v at most", name, d, maxWindow)
	}
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Auth)(nil)
	_ caddy.Validator             = (*Auth)(nil)
	_ caddyhttp.MiddlewareHandler = (*Auth)(nil)
)
