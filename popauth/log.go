// SPDX-License-Identifier: Apache-2.0

package popauth

import (
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/popauth/caddy-popauth/popauth/enforce"
	"github.com/popauth/caddy-popauth/popauth/oauth"
)

// logRefusal writes the one line that says why a request was refused. Caddy
// itself logs errors below 500 at DEBUG only, so without it a rejected proof
// would leave no trace. Never a token, a proof or a secret.
func logRefusal(logger *zap.Logger, r *http.Request, refusal *oauth.Refusal, more ...zap.Field) {
	level := zapcore.InfoLevel
	// a client that has hung up is nothing that an operator has to mend
	if refusal.Reason.Rule().Level == oauth.Error && r.Context().Err() == nil {
		level = zapcore.ErrorLevel
	}
	entry := logger.Check(level, "request refused")
	if entry == nil {
		return
	}
	method, _ := originalTarget(r)
	clientIP, _ := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string)
	fields := []zap.Field{
		zap.String("reason", string(refusal.Reason)),
		zap.String("client_ip", clientIP),
		zap.String("method", method),
		zap.String("host", r.Host),
		zap.String("path", originalPath(r)),
	}
	for _, f := range []struct{ name, value string }{
		{"detail", refusal.Detail},
		{"expected", refusal.Expected},
		{"got", refusal.Got},
		{"limit", refusal.Limit},
		{"option", refusal.Option},
		{"hint", refusal.Hint},
	} {
		// nothing at all is worth knowing, too, where something was expected
		if f.value != "" || f.name == "got" && refusal.Expected != "" {
			fields = append(fields, zap.String(f.name, f.value))
		}
	}
	if refusal.Cause != nil {
		fields = append(fields, zap.Error(refusal.Cause))
	}
	entry.Write(append(fields, more...)...)
}

// verdictFields says whose request it was, as far as that is known.
func verdictFields(v enforce.Verdict) []zap.Field {
	var fields []zap.Field
	if v.Claims != nil {
		fields = append(fields, zap.String("issuer", v.Claims.Issuer), zap.String("client_id", v.Claims.ClientID))
	}
	if v.Thumbprint != "" {
		fields = append(fields, zap.String("jkt", v.Thumbprint))
	}
	return fields
}

// The placeholders of an identity.
var identityPlaceholders = []string{
	"http.auth.user.id",
	"http.auth.user.client_id",
	"http.auth.user.scope",
	"http.auth.user.issuer",
	"http.auth.user.jkt",
	"http.auth.user.confirmation",
	"http.pop_auth.reason",
}

// clearIdentity empties the placeholders. An unset placeholder is printed as
// it stands by some handlers, and one that an earlier handler set would name
// somebody who has proven nothing here.
func clearIdentity(r *http.Request) {
	repl := replacer(r)
	for _, name := range identityPlaceholders {
		repl.Set(name, "")
	}
}

// setIdentity fills the placeholders from what was proven. The values are never
// expanded again, so that a claim such as {env.SECRET} stays what it is.
func setIdentity(r *http.Request, v enforce.Verdict) {
	repl := replacer(r)
	confirmation := "none"
	if members := v.Claims.Confirmation.Members(); len(members) == 1 {
		confirmation = members[0]
	}
	repl.Set("http.auth.user.id", v.Claims.Subject)
	repl.Set("http.auth.user.client_id", v.Claims.ClientID)
	repl.Set("http.auth.user.scope", v.Claims.Scope)
	repl.Set("http.auth.user.issuer", v.Claims.Issuer)
	repl.Set("http.auth.user.jkt", v.Thumbprint)
	repl.Set("http.auth.user.confirmation", confirmation)
}

// replacer is the one of the request.
func replacer(r *http.Request) *caddy.Replacer {
	return r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
}
