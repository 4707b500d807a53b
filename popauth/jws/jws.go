// SPDX-License-Identifier: Apache-2.0

// Package jws reads signed messages in the compact form of RFC 7515 and
// verifies their signatures with the standard library.
//
// It is made for bytes that anybody may have sent. One message has one
// spelling; what a header could ask of the reader (extensions, compression,
// keys from elsewhere) is refused rather than ignored; there is no code for
// HMAC, so a public key can never serve as a secret.
//
// Neither form of JSON serialization is read, nothing is signed here, and no
// claim is judged: whose key it is and what the payload means is up to the
// callers. A signed text is no identity of a message: whoever holds an ECDSA
// signature (r, s) can make (r, n-s) from it.
//
// Errors name the rule that was broken and contain nothing of the input.
package jws

import (
	"errors"
	"fmt"
	"strings"

	"github.com/popauth/caddy-popauth/popauth/strict"
)

// Limits caps a message. Zero refuses everything.
type Limits struct {
	Size   int // bytes of the whole compact form
	Header int // bytes of its first part, the encoded header
}

// Message is a parsed, NOT yet verified, compact JWS.
type Message struct {
	// Header is the protected header, with no member that Parse refuses.
	Header strict.Object

	// Payload is the decoded payload. Nothing in it can be believed before
	// Verify.
	Payload []byte

	algorithm string
	typ       string
	keyID     string
	input     string
	signature []byte
}

// Parse reads a compact JWS: exactly three non-empty parts in base64url, the
// first a JSON object with a string alg. It accepts any alg, so that the
// caller can say which one was wrong; Verify does not. The signature is not
// looked at.
func Parse(compact string, l Limits) (*Message, error) {
	if len(compact) > l.Size {
		return nil, fmt.Errorf("JWS is longer than %d bytes", l.Size)
	}
	// cut, not split: a megabyte of dots is as many parts
	header, rest, _ := strings.Cut(compact, ".")
	payload, signature, ok := strings.Cut(rest, ".") // without a first dot there is no second
	if !ok || strings.Contains(signature, ".") {
		return nil, errors.New("JWS does not have three parts")
	}
	if header == "" || payload == "" || signature == "" {
		return nil, errors.New("JWS has an empty part")
	}
	if len(header) > l.Header {
		return nil, fmt.Errorf("JWS header is longer than %d bytes", l.Header)
	}
	m := &Message{input: compact[:len(header)+1+len(payload)]}
	if err := m.readHeader(header); err != nil {
		return nil, err
	}
	var err error
	if m.Payload, err = strict.DecodeBase64(payload); err != nil {
		return nil, fmt.Errorf("JWS payload: %w", err)
	}
	if m.signature, err = strict.DecodeBase64(signature); err != nil {
		return nil, fmt.Errorf("JWS signature: %w", err)
	}
	return m, nil
}

func (m *Message) readHeader(encoded string) error {
	raw, err := strict.DecodeBase64(encoded)
	if err != nil {
		return fmt.Errorf("JWS header: %w", err)
	}
	m.Header, err = strict.ParseObject(raw, strict.Limits{Size: len(raw), Depth: 4, Members: 64})
	if err != nil {
		return fmt.Errorf("JWS header: %w", err)
	}
	// extensions that we would have to understand (RFC 7515 §4.1.11; an empty
	// list is malformed), another signing input (RFC 7797), compression, and
	// keys to be fetched or trusted because the message says so
	for _, name := range []string{"crit", "b64", "zip", "jku", "x5u", "x5c"} {
		if m.Header.Has(name) {
			return fmt.Errorf("JWS header has '%s', which is not supported", name)
		}
	}
	for _, p := range []struct {
		name string
		into *string
	}{{"alg", &m.algorithm}, {"typ", &m.typ}, {"kid", &m.keyID}, {"cty", new(string)}} {
		v, ok := m.Header.Get(p.name)
		if !ok {
			continue
		}
		if *p.into, ok = v.Text(); !ok {
			return fmt.Errorf("JWS header has a '%s' that is not a string", p.name)
		}
	}
	if m.algorithm == "" {
		return errors.New("JWS header has no 'alg'")
	}
	return nil
}

// Algorithm is the alg of the header, which may be anything.
func (m *Message) Algorithm() string { return m.algorithm }

// Type is the typ of the header, "" when absent.
func (m *Message) Type() string { return m.typ }

// KeyID is the kid of the header, "" when absent.
func (m *Message) KeyID() string { return m.keyID }
