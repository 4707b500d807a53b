// SPDX-License-Identifier: Apache-2.0

package strict_test

import (
	"encoding/base64"
	"testing"

	"github.com/popauth/caddy-popauth/popauth/strict"
)

func TestDecodeBase64(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"": "", "Zg": "f", "Zm8": "fo", "Zm9v": "foo", "Zm9vYg": "foob", "-_-_": "\xfb\xff\xbf",
	} {
		got, err := strict.DecodeBase64(text)
		if err != nil || string(got) != want {
			t.Errorf("DecodeBase64(%q) = %q, %v, want %q", text, got, err, want)
		}
	}
}

func TestDecodeBase64RefusesOtherSpellings(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"padding":                        "Zg==",
		"padding after a full quantum":   "Zm9v=",
		"padding alone":                  "=",
		"the standard alphabet":          "+/+/",
		"one character over":             "Zm9vY",
		"one character":                  "Z",
		"trailing bits, two characters":  "Zh",
		"trailing bits, three of them":   "Zm9",
		"a line feed inside":             "Zm\n9v",
		"a line feed at the end":         "Zm9v\n",
		"a carriage return at the start": "\rZm9v",
		"line ends alone":                "\r\n",
		"a space":                        "Zm 9v",
		"a tab":                          "Zm9v\t",
		"a NUL":                          "Zm9v\x00",
		"a dot":                          "Zm9v.Zm9v",
		"a letter that is not ASCII":     "Zm9\u00e9",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got, err := strict.DecodeBase64(text); err == nil {
				t.Errorf("DecodeBase64(%q) = %q, want an error", text, got)
			}
		})
	}
}

func FuzzDecodeBase64(f *testing.F) {
	for _, seed := range []string{"", "Zg", "Zh", "Zg==", "Zm9v", "Zm\n9v", "+/", "-_", "A"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		b, err := strict.DecodeBase64(text)
		if err != nil {
			if b != nil {
				t.Errorf("bytes %x beside the error %v", b, err)
			}
			checkError(t, err)
			return
		}
		if got := base64.RawURLEncoding.EncodeToString(b); got != text {
			t.Errorf("%q and %q both decode to %x", text, got, b)
		}
	})
}
