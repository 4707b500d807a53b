// SPDX-License-Identifier: Apache-2.0

package popauth

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"

	"go.uber.org/zap"

	"github.com/popauth/caddy-popauth/popauth/dpop"
	"github.com/popauth/caddy-popauth/popauth/jws"
	"github.com/popauth/caddy-popauth/popauth/oauth"
)

// ResourceMetadataPath is where the metadata of a protected resource stands:
// between host and path of the resource (RFC 9728 §3.1).
const ResourceMetadataPath = "/.well-known/oauth-protected-resource"

// The values of the metadata option.
const (
	metadataOn   = "on"
	metadataOff  = "off"
	metadataOnly = "only"
)

// resource is an audience of a pop_auth that is a URL, so that clients can find
// out from it where to get a token (RFC 9728).
type resource struct {
	id       string // as in the audience
	origin   string // normalised
	path     string // of the document
	document []byte
}

// url is where the document is.
func (s *resource) url() string { return s.origin + s.path }

// at says whether the document is at a path. Of an identifier with a path that
// ends in a slash, such as https://api.example.com/v1/, clients look for it with
// that slash or without: RFC 9728 §3.1 has only one after the host removed, and
// RFC 8414 §3.1, from which it comes, every one.
func (s *resource) at(path string) bool {
	return path == s.path || path == s.path+"/" && s.path != ResourceMetadataPath && strings.HasSuffix(s.id, "/")
}

// resourceMetadata is the document of RFC 9728 §2.
type resourceMetadata struct {
	Resource             string   `json:"resource"`
	AuthorizationServers []string `json:"authorization_servers"`
	ScopesSupported      []string `json:"scopes_supported,omitempty"`
	BearerMethods        []string `json:"bearer_methods_supported"`
	ProofAlgorithms      []string `json:"dpop_signing_alg_values_supported"`
	BoundTokensRequired  bool     `json:"dpop_bound_access_tokens_required"`
}

// provisionResources finds out which resources the handler may be. Which one it
// is depends on how clients reach it, see resource.
func (a *Auth) provisionResources() error {
	if a.Metadata == metadataOff {
		return nil
	}
	var servers []string
	for _, issuer := range a.policy.Issuers {
		servers = append(servers, issuer.Issuer())
	}
	for _, id := range a.policy.Audience {
		origin, path, ok := resourceParts(id)
		if !ok {
			continue
		}
		document, err := json.Marshal(resourceMetadata{
			Resource:             id,
			AuthorizationServers: servers,
			ScopesSupported:      a.policy.Scopes,
			BearerMethods:        []string{"header"},
			ProofAlgorithms:      jws.Algorithms,
			BoundTokensRequired:  !a.policy.AllowUnbound,
		})
		if err != nil {
			return err
		}
		a.resources = append(a.resources, &resource{id: id, origin: origin, path: ResourceMetadataPath + path, document: document})
	}
	return nil
}

// resourceParts takes a resource identifier apart (RFC 9728 §1.2: an https URL
// without a fragment; http is for this machine). One with a query is left out:
// its document would have to be told from others by the query.
func resourceParts(id string) (origin, path string, ok bool) {
	if strings.ContainsAny(id, "?#") {
		return "", "", false
	}
	normalized, err := dpop.Normalize(id)
	if err != nil {
		return "", "", false
	}
	u, err := url.Parse(id)
	if err != nil || u.Scheme != "https" && !isLocal(u.Hostname()) {
		return "", "", false
	}
	origin, _ = split(normalized)
	return origin, strings.TrimSuffix(u.EscapedPath(), "/"), true
}

// resource is the first audience that is a URL on the origin at which the client
// has reached this server. nil: there is none, or its document is not served.
func (a *Auth) resource(r *http.Request) *resource {
	if len(a.resources) == 0 {
		return nil
	}
	origins, refusal := a.origins(r)
	if refusal != nil || a.served.ids.Load() == nil && a.find() != nil {
		return nil
	}
	for _, s := range a.resources {
		for _, base := range origins {
			normalized, err := dpop.Normalize(base)
			if origin, _ := split(normalized); err == nil && origin == s.origin {
				if a.served.has(s) {
					return s
				}
				return nil
			}
		}
	}
	return nil
}

// serveMetadata answers a request for the metadata document. It needs no token:
// it is for those who have none yet.
func (a *Auth) serveMetadata(w http.ResponseWriter, r *http.Request) bool {
	path := originalPath(r)
	if !strings.HasPrefix(path, ResourceMetadataPath) {
		return false
	}
	method, _ := originalTarget(r)
	s := a.resource(r)
	if s == nil || !s.at(path) || method != http.MethodGet && method != http.MethodHead || transportRefusal(r) != nil {
		return false
	}
	h := w.Header()
	a.CORS.amend(h, a.CORS.reader(r))
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "public, max-age=300")
	if _, err := w.Write(s.document); err != nil {
		a.logger.Debug("writing the document", zap.Error(err))
	}
	return true
}

// challengeParams are the parameters of a challenge that depend on the place.
func (a *Auth) challengeParams(r *http.Request) []oauth.Param {
	if s := a.resource(r); s != nil {
		return []oauth.Param{{Name: "resource_metadata", Value: s.url()}} // RFC 9728 §5.1
	}
	return nil
}
