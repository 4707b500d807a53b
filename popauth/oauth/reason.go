// SPDX-License-Identifier: Apache-2.0

package oauth

// Reason says why a request was refused: a stable snake_case code that is the
// same in the log, in the placeholder {http.pop_auth.reason} and in the
// documentation. The zero Reason means that nothing was refused.
type Reason string

// The reasons. What each of them answers stands in the table below.
const (
	TokenMissing            Reason = "token_missing"
	TokenMalformed          Reason = "token_malformed"
	TokenTypeWrong          Reason = "token_type_wrong"
	TokenForged             Reason = "token_forged"
	TokenIssuerWrong        Reason = "token_issuer_wrong"
	TokenAudienceWrong      Reason = "token_audience_wrong"
	TokenExpired            Reason = "token_expired"
	TokenNotYetValid        Reason = "token_not_yet_valid"
	TokenUnknown            Reason = "token_unknown"
	TokenRevoked            Reason = "token_revoked"
	IssuedBeforeStore       Reason = "issued_before_store"
	TokenClientUnknown      Reason = "token_client_unknown"
	TokenUnbound            Reason = "token_unbound"
	ConfirmationUnsupported Reason = "confirmation_unsupported"
	BearerDowngrade         Reason = "bearer_downgrade"
	ScopeInsufficient       Reason = "scope_insufficient"

	ProofMissing            Reason = "proof_missing"
	ProofMalformed          Reason = "proof_malformed"
	ProofTypeWrong          Reason = "proof_type_wrong"
	ProofAlgorithmWrong     Reason = "proof_algorithm_wrong"
	ProofKeyInvalid         Reason = "proof_key_invalid"
	ProofKeyMismatch        Reason = "proof_key_mismatch"
	ProofMethodMismatch     Reason = "proof_method_mismatch"
	ProofURLMismatch        Reason = "proof_url_mismatch"
	ProofTokenMismatch      Reason = "proof_token_mismatch"
	ProofSignatureInvalid   Reason = "proof_signature_invalid"
	ProofReplayed           Reason = "proof_replayed"
	ProofExpired            Reason = "proof_expired"
	ProofFromFuture         Reason = "proof_from_future"
	NonceMissing            Reason = "nonce_missing"
	NonceInvalid            Reason = "nonce_invalid"
	NonceStale              Reason = "nonce_stale"
	NonceUsed               Reason = "nonce_used"
	Fenced                  Reason = "fenced"
	AmbiguousAuthorization  Reason = "ambiguous_authorization"
	AmbiguousProof          Reason = "ambiguous_proof"
	AmbiguousTokenInQuery   Reason = "ambiguous_token_in_query"
	AmbiguousMethod         Reason = "ambiguous_method"
	AmbiguousTarget         Reason = "ambiguous_target"
	AmbiguousConnection     Reason = "ambiguous_connection"
	AmbiguousHost           Reason = "ambiguous_host"
	CredentialsTooLarge     Reason = "credentials_too_large"
	HeadersTooLarge         Reason = "headers_too_large"
	EarlyData               Reason = "early_data"
	InsecureTransport       Reason = "insecure_transport"
	OriginForbidden         Reason = "origin_forbidden"
	Starting                Reason = "starting"
	KeysUnavailable         Reason = "keys_unavailable"
	StoreUnavailable        Reason = "store_unavailable"
	ReplayGuardFull         Reason = "replay_guard_full"
	ReplayShareExceeded     Reason = "replay_share_exceeded"
	MethodNotAllowed        Reason = "method_not_allowed"
	ContentTypeWrong        Reason = "content_type_wrong"
	FormMalformed           Reason = "form_malformed"
	FormTooLarge            Reason = "form_too_large"
	FormTooSlow             Reason = "form_too_slow"
	ParameterRepeated       Reason = "parameter_repeated"
	ParameterInQuery        Reason = "parameter_in_query"
	ParameterMissing        Reason = "parameter_missing"
	GrantUnsupported        Reason = "grant_unsupported"
	GrantUnauthorized       Reason = "grant_unauthorized"
	ClientUnauthenticated   Reason = "client_unauthenticated"
	ClientAuthRepeated      Reason = "client_authentication_repeated"
	AssertionReplayed       Reason = "assertion_replayed"
	AssertionBeforeStore    Reason = "assertion_before_store"
	TooManyFailures         Reason = "too_many_failures"
	ScopeInvalid            Reason = "scope_invalid"
	TargetInvalid           Reason = "target_invalid"
	ConfirmationKeyInvalid  Reason = "confirmation_key_invalid"
	ConfirmationKeyRequired Reason = "confirmation_key_required"
	ConfirmationKeyMismatch Reason = "confirmation_key_mismatch"
	BindingUnauthorized     Reason = "binding_unauthorized"
	TokenOfAnotherClient    Reason = "token_of_another_client"
)

// Codes of RFC 6749 §5.2, RFC 6750 §3.1, RFC 8707 §2 and RFC 9449 §5, §7.1
// and §12.2. There is no registered code for a server that cannot answer at
// these endpoints; temporarily_unavailable is that of RFC 6749 §4.1.2.1.
const (
	invalidRequest         = "invalid_request"
	invalidClient          = "invalid_client"
	invalidScope           = "invalid_scope"
	invalidTarget          = "invalid_target"
	invalidToken           = "invalid_token"
	invalidDPoPProof       = "invalid_dpop_proof"
	useDPoPNonce           = "use_dpop_nonce"
	insufficientScope      = "insufficient_scope"
	unauthorizedClient     = "unauthorized_client"
	unsupportedGrantType   = "unsupported_grant_type"
	temporarilyUnavailable = "temporarily_unavailable"
)

// Level is how loudly a refusal is logged. A client's mistake is INFO: an
// operator wants to see it without switching on debug logs, and must not be
// paged for it. ERROR is only for what the operator has to mend.
type Level int8

// The levels.
const (
	Info Level = iota
	Error
)

// String is the level as Caddy's log writes it.
func (l Level) String() string {
	if l == Error {
		return "error"
	}
	return "info"
}

// Rule is what a reason answers.
type Rule struct {
	// API is the HTTP status that pop_auth answers with, Endpoint the one of
	// the authorization server's endpoints. 0: the reason does not occur
	// there.
	API, Endpoint int

	// Code is the OAuth error code; empty where RFC 6750 §3.1 wants none,
	// because the request carried no credentials at all.
	Code string

	// EndpointCode is the code at the endpoints where it is another one than
	// Code.
	EndpointCode string

	// Challenge says that pop_auth's answer carries a WWW-Authenticate field.
	Challenge bool

	// Nonce says that pop_auth's answer carries a DPoP-Nonce field, unless
	// nonces are off.
	Nonce bool

	// Retry says that the answer carries a Retry-After field.
	Retry bool

	// Level is that of the log line.
	Level Level

	// Text is the error_description: a fixed sentence, never the client's
	// input (an echo is an injection into whoever displays it).
	Text string
}
