// SPDX-License-Identifier: Apache-2.0

package popauth

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/popauth/caddy-popauth/popauth/client"
	"github.com/popauth/caddy-popauth/popauth/issue"
	"github.com/popauth/caddy-popauth/popauth/oauth"
)

func init() {
	caddy.RegisterModule(Server{})
}

// Server serves the endpoints of an issuer: the token endpoint, which binds
// every token to the client's key, introspection, which relays the binding,
// revocation, the published keys, and the metadata document (RFC 8414).
//
// The endpoints are at the paths the issuer says, compared byte for byte with
// the path that the client sent, before any rewrite. All other requests are
// passed on to the next handler.
type Server struct {
	// The id of the issuer. Default: the only issuer there is, or else the one
	// with the id "default".
	Issuer string `json:"issuer,omitempty"`

	// Serve only these endpoints: `token`, `introspect`, `revoke`, `jwks`,
	// `metadata`. Default: all.
	Only []string `json:"only,omitempty"`

	// What scripts of web pages on other origins may do. Default: nothing; a
	// preflight is then a request with a method that is not allowed.
	CORS *CORS `json:"cors,omitempty"`

	issuer *Issuer
	routes map[string]issue.Endpoint // by path
	logger *zap.Logger

	limiter *client.Limiter
}

// CaddyModule returns the Caddy module information.
func (Server) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.pop_server",
		New: func() caddy.Module { return new(Server) },
	}
}

// Provision finds the issuer and lays out its endpoints.
func (s *Server) Provision(ctx caddy.Context) error {
	s.logger = ctx.Logger()
	app, err := appOf(ctx, "pop_server")
	if err != nil {
		return err
	}
	var ids []string
	if s.Issuer != "" {
		ids = []string{s.Issuer}
	}
	issuers, err := app.issuersNamed(ids)
	if err != nil {
		return fmt.Errorf("pop_server: %w", err)
	}
	if err := s.CORS.resolve(); err != nil {
		return fmt.Errorf("pop_server: %w", err)
	}
	s.issuer = issuers[0]
	s.limiter = app.runtime.limiter
	s.routes = make(map[string]issue.Endpoint)
	for _, endpoint := range s.issuer.endpoints {
		if len(s.Only) == 0 || slices.Contains(s.Only, endpoint.Name) {
			s.routes[endpoint.Path] = endpoint
		}
	}
	return nil
}

// Validate checks the names of the endpoints and of the origins.
func (s *Server) Validate() error {
	for _, name := range s.Only {
		if _, ok := services[name]; !ok {
			return fmt.Errorf("pop_server: there is no endpoint %q, expected token, introspect, revoke, jwks or metadata", name)
		}
	}
	if s.CORS != nil && s.CORS.Upstream {
		return fmt.Errorf("pop_server: cors is upstream, but there is none behind the endpoints: expected origins")
	}
	if err := s.CORS.check(); err != nil {
		return fmt.Errorf("pop_server: %w", err)
	}
	return nil
}

// services are the endpoints by name.
var services = map[string]func(*Server, http.ResponseWriter, *http.Request) *failure{
	"token":      (*Server).token,
	"introspect": (*Server).introspect,
	"revoke":     (*Server).revoke,
	"jwks":       (*Server).jwks,
	"metadata":   (*Server).metadata,
}

// failure is a refusal of an endpoint, with what the answer and the log need.
type failure struct {
	refusal *oauth.Refusal

	// client is the one that authenticated, if one did.
	client *client.Client

	// thumbprint is that of the key that the request was about, if one is known.
	thumbprint string

	// authenticate adds a WWW-Authenticate field for client credentials.
	authenticate bool
}

// ServeHTTP serves the endpoints and passes everything else on.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	method, _ := originalTarget(r)
	endpoint, ok := s.routes[originalPath(r)]
	if !ok {
		return next.ServeHTTP(w, r)
	}
	s.CORS.amend(w.Header(), s.CORS.reader(r))
	failed := s.serve(w, r, method, endpoint)
	if failed != nil {
		s.refuse(w, r, endpoint, failed)
	}
	return nil
}

// serve judges what is common to the endpoints and calls the one that was asked.
func (s *Server) serve(w http.ResponseWriter, r *http.Request, method string, endpoint issue.Endpoint) *failure {
	oauth.LimitBody(w)
	if method != http.MethodPost || !slices.Contains(endpoint.Methods, method) {
		oauth.LeaveBody(w, r) // nobody reads a form
	}
	if refusal := transportRefusal(r); refusal != nil {
		oauth.LeaveBody(w, r)
		return &failure{refusal: refusal}
	}
	if asked, ok := s.CORS.preflight(r); ok {
		return s.servePreflight(w, asked, endpoint)
	}
	if !slices.Contains(endpoint.Methods, method) {
		allow := strings.Join(endpoint.Methods, ", ")
		w.Header().Set("Allow", allow)
		return &failure{refusal: &oauth.Refusal{Reason: oauth.MethodNotAllowed, Expected: allow, Got: method}}
	}
	return services[endpoint.Name](s, w, r)
}

// refuse writes the OAuth error and the log line. The JSON body is the
// protocol's answer, so handle_errors is not asked.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, endpoint issue.Endpoint, f *failure) {
	fields := []zap.Field{zap.String("endpoint", endpoint.Name), zap.String("issuer", s.issuer.url)}
	if f.client != nil {
		fields = append(fields, zap.String("client_id", f.client.ID()))
	}
	if f.thumbprint != "" {
		fields = append(fields, zap.String("jkt", f.thumbprint))
	}
	logRefusal(s.logger, r, f.refusal, fields...)
	oauth.WriteError(w, f.refusal, f.authenticate)
}

// caller reads the form of a request and authenticates the client that sent it.
//
// A failure is a 401 only if the client used the Authorization field: RFC 6749
// §5.2 wants that, and one that sent none would not know what to do with it.
func (s *Server) caller(w http.ResponseWriter, r *http.Request) (oauth.Form, client.Authentication, *failure) {
	form, refusal := oauth.ReadForm(w, r)
	if refusal != nil {
		return form, client.Authentication{}, &failure{refusal: refusal}
	}
	a, refusal := s.issuer.clients.Authenticate(r.Header, form)
	if refusal != nil {
		return form, a, &failure{refusal: s.limited(r, a, refusal), authenticate: a.UsedHeader}
	}
	return form, a, nil
}

// token is the token endpoint (RFC 6749 §3.2).
func (s *Server) token(w http.ResponseWriter, r *http.Request) *failure {
	form, a, failed := s.caller(w, r)
	if failed != nil {
		return failed
	}
	o := s.issuer.issuing.Token(r.Context(), issue.Request{Client: a.Client, Consume: a.Consume, Header: r.Header, Form: form})
	if o.Nonce != "" {
		w.Header().Set("DPoP-Nonce", o.Nonce)
	}
	if o.Refusal != nil {
		return &failure{refusal: s.limited(r, a, o.Refusal), client: a.Client, thumbprint: o.Thumbprint}
	}
	s.logger.Debug("token issued",
		zap.String("issuer", s.issuer.url), zap.String("client_id", a.Client.ID()),
		zap.String("jti", o.Claims.ID), zap.String("jkt", o.Thumbprint))
	return s.answer(w, o.Response)
}

// introspect is the introspection endpoint (RFC 7662). It never asks the caller
// for a proof: a resource server has none to show.
func (s *Server) introspect(w http.ResponseWriter, r *http.Request) *failure {
	form, a, failed := s.caller(w, r)
	if failed != nil {
		failed.authenticate = true // RFC 7662 §2.3: always a 401
		return failed
	}
	answer, refusal := s.issuer.answering.Answer(r.Context(), a.Client, form)
	if refusal == nil {
		refusal = a.Consume(r.Context())
	}
	if refusal != nil {
		return &failure{refusal: s.limited(r, a, refusal), client: a.Client, authenticate: true}
	}
	return s.answer(w, answer)
}

// revoke is the revocation endpoint (RFC 7009). Its 200 has no body (§2.2).
func (s *Server) revoke(w http.ResponseWriter, r *http.Request) *failure {
	form, a, failed := s.caller(w, r)
	if failed != nil {
		return failed
	}
	if refusal := s.issuer.issuing.Revoke(r.Context(), a, form); refusal != nil {
		return &failure{refusal: s.limited(r, a, refusal), client: a.Client}
	}
	s.logger.Debug("token revoked", zap.String("issuer", s.issuer.url), zap.String("client_id", a.Client.ID()))
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	return nil
}

// answer writes a 200.
func (s *Server) answer(w http.ResponseWriter, body any) *failure {
	if err := oauth.WriteJSON(w, body); err != nil {
		// nothing is written yet, and an empty 200 must not be; the zero
		// reason is a fault of the server
		return &failure{refusal: &oauth.Refusal{Cause: err}}
	}
	return nil
}

// jwks serves the published keys.
func (s *Server) jwks(w http.ResponseWriter, r *http.Request) *failure {
	document, err := s.issuer.keys.JWKS(r.Context())
	if err != nil {
		return &failure{refusal: oauth.Unavailable(oauth.KeysUnavailable, err)}
	}
	s.document(w, document)
	return nil
}

// metadata serves the document of RFC 8414.
func (s *Server) metadata(w http.ResponseWriter, _ *http.Request) *failure {
	s.document(w, s.issuer.metadata)
	return nil
}

// document writes a public JSON document. Five minutes of caching are a small
// part of the hour for which a new key is published before it signs.
func (s *Server) document(w http.ResponseWriter, body []byte) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "public, max-age=300")
	if _, err := w.Write(body); err != nil {
		s.logger.Debug("writing the document", zap.Error(err))
	}
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Server)(nil)
	_ caddy.Validator             = (*Server)(nil)
	_ caddyhttp.MiddlewareHandler = (*Server)(nil)
)
