// SPDX-License-Identifier: Apache-2.0

package oauth

import (
	"cmp"
	"maps"
	"net/http"
	"slices"
)

// Rule is what the reason answers. An unknown reason is a server fault (500),
// never a success.
func (r Reason) Rule() Rule {
	if rule, ok := table[r]; ok {
		return rule
	}
	return Rule{
		API: http.StatusInternalServerError, Endpoint: http.StatusInternalServerError,
		Code: "server_error", Level: Error, Text: "the request could not be judged",
	}
}

// CodeAtEndpoint is the OAuth error code of the authorization server's
// endpoints.
func (r Rule) CodeAtEndpoint() string { return cmp.Or(r.EndpointCode, r.Code) }

// Undecided says that the reason is no verdict: somebody could not answer, or
// the reason is unknown. Who is asked next, or later, may still say yes.
func (r Reason) Undecided() bool {
	rule := r.Rule()
	return max(rule.API, rule.Endpoint) >= http.StatusInternalServerError
}

// Reasons lists all reasons in alphabetical order.
func Reasons() []Reason { return slices.Sorted(maps.Keys(table)) }

// The families of answers. A 401 of pop_auth has exactly one challenge and a
// nonce, because client libraries retry on nothing else (RFC 9449 §9). The
// token endpoint answers 400 to a proof it does not take (RFC 9449 §5, §8).
func token(text string) Rule {
	return Rule{API: 401, Code: invalidToken, Challenge: true, Nonce: true, Text: text}
}

func proof(text string) Rule {
	return Rule{API: 401, Endpoint: 400, Code: invalidDPoPProof, Challenge: true, Nonce: true, Text: text}
}

func nonce(text string) Rule {
	return Rule{API: 401, Endpoint: 400, Code: useDPoPNonce, Challenge: true, Nonce: true, Text: text}
}

func ambiguous(text string) Rule {
	return Rule{API: 400, Code: invalidRequest, Challenge: true, Text: text}
}

func request(text string) Rule {
	return Rule{Endpoint: 400, Code: invalidRequest, Text: text}
}

func endpoint(status int, code, text string) Rule {
	return Rule{Endpoint: status, Code: code, Text: text}
}

func unavailable(level Level, text string) Rule {
	return Rule{API: 503, Endpoint: 503, Code: temporarilyUnavailable, Retry: true, Level: level, Text: text}
}

// table is the one place that says what a refusal looks like from outside.
// The README prints it, and a test holds the two together.
var table = map[Reason]Rule{
	TokenMissing:            {API: 401, Challenge: true, Nonce: true, Text: "an access token is needed"},
	TokenMalformed:          token("the access token is not one of ours"),
	TokenTypeWrong:          token("the token is not an access token"),
	TokenForged:             token("the signature of the access token is not valid"),
	TokenIssuerWrong:        token("the access token is from another issuer"),
	TokenAudienceWrong:      token("the access token is for another audience"),
	TokenExpired:            token("the access token has expired"),
	TokenNotYetValid:        token("the access token is not valid yet"),
	TokenUnknown:            token("the access token is not known here"),
	TokenRevoked:            token("the access token has been revoked"),
	IssuedBeforeStore:       token("the access token is older than the record of what has been revoked: get a new one"),
	TokenClientUnknown:      token("the client of the access token is no longer registered"),
	TokenUnbound:            token("the access token is not bound to a key"),
	ConfirmationUnsupported: token("the access token is bound in a way that cannot be proven here"),
	BearerDowngrade:         token("the access token must be sent with the DPoP scheme"),

	ScopeInsufficient: {API: 403, Code: insufficientScope, Challenge: true, Text: "the access token lacks a scope"},

	// RFC 9449 §8: the token endpoint says use_dpop_nonce to a proof that lacks
	// a nonce. A client that sends none has more to mend than a nonce.
	ProofMissing:          {API: 401, Endpoint: 400, Code: useDPoPNonce, EndpointCode: invalidDPoPProof, Challenge: true, Nonce: true, Text: "a proof of possession is needed: sign a DPoP proof with the nonce from the DPoP-Nonce field"},
	NonceMissing:          nonce("the proof carries no nonce: sign a new one with the nonce from the DPoP-Nonce field"),
	NonceInvalid:          nonce("the nonce of the proof was not issued here: sign a new one with the nonce from the DPoP-Nonce field"),
	NonceStale:            nonce("the nonce of the proof is too old: sign a new one with the nonce from the DPoP-Nonce field"),
	NonceUsed:             {API: 401, Code: useDPoPNonce, Challenge: true, Nonce: true, Text: "the nonce of the proof was used before: sign a new one with the nonce from the DPoP-Nonce field"},
	ProofExpired:          nonce("the iat of the proof is too old: sign a new one with the nonce from the DPoP-Nonce field"),
	ProofFromFuture:       nonce("the iat of the proof is in the future: sign a new one with the nonce from the DPoP-Nonce field"),
	Fenced:                nonce("proofs without a nonce are not accepted just now: sign a new one with the nonce from the DPoP-Nonce field"),
	ProofMalformed:        proof("the DPoP proof is malformed"),
	ProofTypeWrong:        proof("the typ of the DPoP proof is not dpop+jwt"),
	ProofAlgorithmWrong:   proof("the alg of the DPoP proof is not acceptable"),
	ProofKeyInvalid:       proof("the jwk of the DPoP proof is not acceptable"),
	ProofMethodMismatch:   proof("the htm of the DPoP proof is not the method of this request"),
	ProofURLMismatch:      proof("the htu of the DPoP proof is not the URL of this request"),
	ProofTokenMismatch:    {API: 401, Code: invalidDPoPProof, Challenge: true, Nonce: true, Text: "the ath of the DPoP proof is not the hash of the access token"},
	ProofSignatureInvalid: proof("the signature of the DPoP proof is not valid"),
	ProofReplayed:         proof("the DPoP proof was used before: make a new one for every request, also for a retry"),
	ProofKeyMismatch:      token("the DPoP proof is signed by another key than the one the access token is bound to"),

	AmbiguousAuthorization: ambiguous("there must be exactly one Authorization field with a scheme and one token"),
	AmbiguousProof:         {API: 400, Endpoint: 400, Code: invalidRequest, EndpointCode: invalidDPoPProof, Challenge: true, Text: "there must be exactly one DPoP field with one proof"},
	AmbiguousTokenInQuery:  ambiguous("access tokens are not taken from the query"),
	AmbiguousMethod:        ambiguous("the method is a standard one in the wrong letter case"),
	AmbiguousTarget:        ambiguous("the request target can be read in several ways"),
	AmbiguousConnection:    ambiguous("the Connection field names a field that is needed end to end"),
	AmbiguousHost:          {API: 400, Endpoint: 400, Code: invalidRequest, Challenge: true, Text: "the Host field is not the authority of the request"},
	CredentialsTooLarge:    ambiguous("the Authorization or DPoP field is too large"),
	HeadersTooLarge:        {API: 431, Code: invalidRequest, Text: "the header fields are too large"},
	EarlyData:              {API: 425, Endpoint: 425, Code: temporarilyUnavailable, Text: "the request came as early data: send it again after the handshake"},
	InsecureTransport:      {API: 400, Endpoint: 400, Code: invalidRequest, Text: "the request came over plain HTTP"},
	OriginForbidden:        {API: 403, Endpoint: 403, Code: invalidRequest, Text: "pages of this origin may not send requests here"},

	Starting: {API: 503, Code: temporarilyUnavailable, Retry: true, Text: "the server is just starting"},
	// nobody knows, and the same client may be told yes a moment later
	AssertionBeforeStore: {Endpoint: 503, Code: temporarilyUnavailable, Retry: true, Text: "the store is new, and the client assertion may be older: make a new one in a moment"},

	KeysUnavailable:     unavailable(Error, "the signing keys cannot be had just now"),
	StoreUnavailable:    unavailable(Error, "the store cannot answer just now"),
	ReplayGuardFull:     unavailable(Error, "no further proof can be remembered just now"),
	ReplayShareExceeded: {API: 429, Endpoint: 429, Code: temporarilyUnavailable, Retry: true, Text: "this key has used too many proofs"},

	MethodNotAllowed:  endpoint(405, invalidRequest, "the method is not allowed here"),
	ContentTypeWrong:  request("the body must be application/x-www-form-urlencoded"),
	FormMalformed:     request("the form is malformed"),
	FormTooLarge:      endpoint(413, invalidRequest, "the form is too large"),
	FormTooSlow:       endpoint(408, invalidRequest, "the form took too long to arrive"),
	ParameterRepeated: request("a parameter is repeated"),
	ParameterInQuery:  request("parameters are not taken from the query"),
	ParameterMissing:  request("a required parameter is missing"),

	GrantUnsupported:      endpoint(400, unsupportedGrantType, "the grant type is not supported"),
	GrantUnauthorized:     endpoint(400, unauthorizedClient, "the client may not use this grant type"),
	ClientAuthRepeated:    request("the client must authenticate in exactly one way"),
	ScopeInvalid:          endpoint(400, invalidScope, "the scope is not acceptable"),
	TargetInvalid:         endpoint(400, invalidTarget, "the resource is not acceptable"),
	ClientUnauthenticated: endpoint(401, invalidClient, "client authentication failed"),
	AssertionReplayed:     endpoint(401, invalidClient, "the client assertion was used before: make a new one for every request, also for a retry"),
	TooManyFailures:       {Endpoint: 429, Code: temporarilyUnavailable, Retry: true, Text: "client authentication failed too often"},

	ConfirmationKeyInvalid:  request("Invalid cnf_key parameter"),
	ConfirmationKeyRequired: request("the client must bind its tokens to a key"),
	ConfirmationKeyMismatch: request("the DPoP proof is signed by another key than the one in cnf_key"),
	BindingUnauthorized:     request("the client may not bind its tokens in this way"),

	TokenOfAnotherClient: endpoint(400, unauthorizedClient, "the token was issued to another client"),
}
