// SPDX-License-Identifier: Apache-2.0

package strict

import (
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// str reads a string of RFC 8259 §7, from the opening quote on. The text is
// known to be valid UTF-8.
func (p *parser) str() (string, error) {
	p.at++
	start := p.at
	for p.at < len(p.text) {
		switch c := p.text[p.at]; {
		case c == '"':
			p.at++
			return p.text[start : p.at-1], nil
		case c == '\\':
			return p.escaped(start)
		case c < ' ':
			return "", p.broken("control character in a JSON string")
		}
		p.at++
	}
	return "", p.broken("JSON string is not closed")
}

// escaped goes on with a string that began at start, from its first
// backslash on.
func (p *parser) escaped(start int) (string, error) {
	var b strings.Builder
	b.WriteString(p.text[start:p.at])
	for p.at < len(p.text) {
		c := p.text[p.at]
		switch {
		case c == '"':
			p.at++
			return b.String(), nil
		case c == '\\':
			r, err := p.escape()
			if err != nil {
				return "", err
			}
			b.WriteRune(r)
			continue
		case c < ' ':
			return "", p.broken("control character in a JSON string")
		}
		b.WriteByte(c)
		p.at++
	}
	return "", p.broken("JSON string is not closed")
}

// escape reads one escape, or the two of a surrogate pair.
func (p *parser) escape() (rune, error) {
	p.at++
	c := p.peek()
	p.at++
	switch c {
	case '"', '\\', '/':
		return rune(c), nil
	case 'b':
		return '\b', nil
	case 'f':
		return '\f', nil
	case 'n':
		return '\n', nil
	case 'r':
		return '\r', nil
	case 't':
		return '\t', nil
	case 'u':
		return p.codepoint()
	}
	p.at--
	return 0, p.broken("unknown escape in a JSON string")
}

// codepoint reads what follows \u. A surrogate that is not half of a pair
// has no UTF-8 form: readers replace, drop or keep it, so two names that
// differ here may be one elsewhere.
func (p *parser) codepoint() (rune, error) {
	r, ok := p.hex()
	if !ok {
		return 0, p.broken("unknown escape in a JSON string")
	}
	if !utf16.IsSurrogate(r) {
		return r, nil
	}
	if p.literal(`\u`) {
		if low, ok := p.hex(); ok {
			if pair := utf16.DecodeRune(r, low); pair != utf8.RuneError {
				return pair, nil
			}
		}
	}
	return 0, p.broken("lone surrogate in a JSON string")
}

// hex reads four hexadecimal digits.
func (p *parser) hex() (rune, bool) {
	if len(p.text)-p.at < 4 {
		return 0, false
	}
	var r rune
	for range 4 {
		c := p.text[p.at]
		switch {
		case isDigit(c):
			r = r<<4 | rune(c-'0')
		case 'a' <= c && c <= 'f':
			r = r<<4 | rune(c-'a'+10)
		case 'A' <= c && c <= 'F':
			r = r<<4 | rune(c-'A'+10)
		default:
			return 0, false
		}
		p.at++
	}
	return r, true
}

// number reads a number of RFC 8259 §6. The grammar is checked here because
// strconv knows more: hexadecimal, underscores, Inf, leading zeros.
func (p *parser) number() (float64, error) {
	start := p.at
	p.take('-')
	if !p.take('0') && !p.digits() {
		return 0, p.broken("malformed JSON number")
	}
	if p.take('.') && !p.digits() {
		return 0, p.broken("malformed JSON number")
	}
	if p.take('e') || p.take('E') {
		if !p.take('+') {
			p.take('-')
		}
		if !p.digits() {
			return 0, p.broken("malformed JSON number")
		}
	}
	n, err := strconv.ParseFloat(p.text[start:p.at], 64)
	if err != nil {
		return 0, p.broken("JSON number is out of range")
	}
	return n, nil
}

// digits skips digits and says whether there was one.
func (p *parser) digits() bool {
	start := p.at
	for isDigit(p.peek()) {
		p.at++
	}
	return p.at > start
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
