// SPDX-License-Identifier: Apache-2.0

package command

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/popauth/caddy-popauth/popauth/clock"
	"github.com/popauth/caddy-popauth/popauth/oauth"
)

// explain adds to an error of the transport what can be done about it.
func explain(err error, u *url.URL) error {
	// *url.Error says the method and the URL again
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err
	}
	err = fmt.Errorf("reaching %s: %w", u.Host, err)
	if _, ok := errors.AsType[*hinted](err); ok {
		return err
	}
	if h := transportHint(err, u); h != "" {
		return hint(err, "%s", h)
	}
	return err
}

func transportHint(err error, u *url.URL) string {
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		if loopback(u.Hostname()) {
			return "for a certificate of Caddy's own authority: --cacert " +
				quote(filepath.Join(caddy.AppDataDir(), "pki", "authorities", "local", "root.crt"))
		}
		return "name the authority that signed the certificate with --cacert <file>"
	}
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return "the certificate is for other names: is the host in the URL right?"
	}
	if e, ok := errors.AsType[x509.CertificateInvalidError](err); ok && e.Reason == x509.Expired {
		return "the certificate is not valid at this time: is the clock of this machine right? It says " +
			clock.System.Now().Format(time.RFC3339)
	}
	// crypto/tls has no exported type for an alert from the other side
	if e, ok := errors.AsType[*net.OpError](err); ok && e.Op == "remote error" {
		return "the server ended the TLS handshake: does it have a certificate for " + u.Hostname() + "?"
	}
	if e, ok := errors.AsType[*net.DNSError](err); ok && e.IsNotFound {
		return "there is no such host: is the name right?"
	}
	if e, ok := errors.AsType[net.Error](err); ok && e.Timeout() {
		return "the server does not answer: is it running, and does a firewall let you through?"
	}
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "nothing listens there: is the server running, and is the port right?"
	case u.Scheme == "https" && strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return "that port speaks plain HTTP"
	case u.Scheme == "http" && errors.Is(err, syscall.ECONNRESET):
		return "does that port speak HTTPS?"
	}
	return ""
}

// misdirected asks whether a URL is what it was taken for, after an answer
// that does not come from such a place.
func misdirected(err error, u, what string, resp *http.Response) error {
	switch location := resp.Header.Get("Location"); {
	case resp.StatusCode/100 == 3 && location != "":
		return hint(err, "is %q %s? It answered %d to %q", u, what, resp.StatusCode, location)
	case resp.StatusCode >= 500:
		// that a server has trouble says nothing of where it is
		return err
	}
	return hint(err, "is %q %s?", u, what)
}

// refused is the error for an answer that is not a success, with a hint from
// the challenge in it.
func (c call) refused(resp *http.Response) error {
	challenge, _ := findChallenge(resp)
	code, _ := challenge.Param("error")
	text, _ := challenge.Param("error_description")
	err := answerError(resp.StatusCode, code, text)
	if h := c.refusedHint(resp, code, text); h != "" {
		return hint(err, "%s", h)
	}
	return err
}

// answerError puts the three parts of an OAuth error into one line. The code
// and the text are the server's, so they are quoted.
func answerError(status int, code, text string) error {
	line := fmt.Sprintf("the answer is %d %s", status, http.StatusText(status))
	if code != "" {
		line += fmt.Sprintf(", %q", code)
	}
	if text != "" {
		line += fmt.Sprintf(": %q", text)
	}
	return errors.New(line)
}

func (c call) refusedHint(resp *http.Response, code, text string) string {
	switch code {
	case "invalid_token":
		if text == oauth.TokenClientUnknown.Rule().Text {
			return "tokens end with the registration of their client: register it again, or get a token for another one"
		}
		for _, over := range []oauth.Reason{oauth.TokenRevoked, oauth.TokenExpired, oauth.IssuedBeforeStore} {
			if text == over.Rule().Text {
				return "get a new one with caddy pop token"
			}
		}
		return tokenHint(c.token, c.prover)
	case "use_dpop_nonce":
		if resp.Header.Get("DPoP-Nonce") == "" {
			return "the server asks for a nonce but gives none"
		}
		return "the server does not take the nonce that it gave just before: are there several nodes without sticky balancing?"
	case "invalid_dpop_proof":
		if h := clockHint(resp); h != "" {
			return h
		}
		return "the proof is for " + c.method + " " + c.url.Scheme + "://" + c.url.Host + c.url.EscapedPath() +
			": if the server stands behind a proxy, it may take itself for another URL; its log says what it expected"
	case "insufficient_scope":
		challenge, _ := findChallenge(resp)
		if scope, ok := challenge.Param("scope"); ok {
			return fmt.Sprintf("ask for the scope when getting the token: caddy pop token --scope %q", scope)
		}
	}
	switch {
	case resp.StatusCode/100 == 3:
		return fmt.Sprintf("redirects are not followed, since a proof is for one URL; it leads to %q", resp.Header.Get("Location"))
	case resp.StatusCode == http.StatusBadGateway:
		return "the server itself answered, but not the one behind it"
	}
	return ""
}

// tokenHint looks into the token for why it may have been refused.
func tokenHint(token string, p prover) string {
	t, ok := peek(token)
	now := clock.System.Now()
	switch {
	case !ok:
		return "get a new token with caddy pop token; the server's log has the reason"
	case !t.expires.IsZero() && !now.Before(t.expires):
		return fmt.Sprintf("the token expired %s ago: get a new one with caddy pop token", now.Sub(t.expires).Round(time.Second))
	case !t.bound:
		return "the token is not bound to a key: caddy pop token --key gets one that is"
	case t.thumbprint != p.key.Thumbprint():
		return fmt.Sprintf("the token is bound to the key with the thumbprint %q, and --key has the thumbprint %q",
			t.thumbprint, p.key.Thumbprint())
	}
	return "the token is bound to the key and has not expired: is it from an issuer, and for an audience, that the server takes?"
}

// clockHint compares the clock of this machine with the server's Date field.
func clockHint(resp *http.Response) string {
	theirs, err := http.ParseTime(resp.Header.Get("Date"))
	if err != nil {
		return ""
	}
	ahead := clock.System.Now().Sub(theirs).Round(time.Second)
	switch {
	case ahead > 30*time.Second:
		return fmt.Sprintf("the clock of this machine is %s ahead of the server's", ahead)
	case ahead < -30*time.Second:
		return fmt.Sprintf("the clock of this machine is %s behind the server's", -ahead)
	}
	return ""
}
