// SPDX-License-Identifier: Apache-2.0

package strict_test

import (
	"fmt"
	"math"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/popauth/caddy-popauth/popauth/strict"
)

var wide = strict.Limits{Size: 1 << 20, Depth: 100, Members: 1 << 16}

func TestParseObjectAccepts(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"nothing in it":                       `{}`,
		"blanks everywhere":                   " \t\r\n{ \"a\" : [ 1 , { } , [ ] ] , \"b\" : null } \n",
		"all kinds":                           `{"a":null,"b":true,"c":false,"d":-0.5e+3,"e":"x","f":[],"g":{}}`,
		"names that differ in case":           `{"alg":1,"Alg":2,"ALG":3}`,
		"an empty name":                       `{"":1}`,
		"one name on two levels":              `{"a":{"a":{"a":1}}}`,
		"every escape":                        `{"a":"\"\\\/\b\f\n\r\t\u00e9\uD83D\uDE00"}`,
		"an escaped NUL":                      `{"a":"\u0000"}`,
		"a literal replacement character":     "{\"a\":\"\ufffd\"}",
		"an escaped replacement character":    `{"a":"\ufffd"}`,
		"a blank in a string":                 `{"a":"b c"}`,
		"a blank after an escape":             `{"a":"\n c"}`,
		"DEL and C1 in a string":              "{\"a\":\"\x7f\u0085\"}",
		"the largest float64":                 `{"a":1.7976931348623157e308}`,
		"a number that rounds to nothing":     `{"a":1e-999}`,
		"names that differ in unicode form":   "{\"\u00e9\":1,\"e\u0301\":2}",
		"characters that JavaScript dislikes": "{\"a\":\"\u2028\u2029\"}",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := strict.ParseObject([]byte(text), wide); err != nil {
				t.Errorf("ParseObject(%s) = %v, want no error", text, err)
			}
		})
	}
}

func TestParseObjectRefuses(t *testing.T) {
	t.Parallel()
	many := func(last string) string { // enough for the map
		var b strings.Builder
		for i := range 40 {
			fmt.Fprintf(&b, `"m%d":0,`, i)
		}
		return "{" + b.String() + last + "}"
	}
	for _, c := range []struct{ name, text, want string }{
		{"nothing", ``, "not an object"},
		{"blanks only", "  ", "not an object"},
		{"an array", `[{}]`, "not an object"},
		{"a string", `"{}"`, "not an object"},
		{"null", `null`, "not an object"},
		{"a byte order mark", "\ufeff{}", "not an object"},
		{"UTF-16", "\xff\xfe{\x00}\x00", "not valid UTF-8"},
		{"a blank of Unicode", "\u00a0{}", "not an object"},
		{"a form feed before it", "\f{}", "not an object"},
		{"a second object", `{}{}`, "something follows"},
		{"a comma after it", `{},`, "something follows"},
		{"a NUL after it", "{}\x00", "something follows"},
		{"a comment", `{/**/}`, "no JSON member name"},
		{"an object left open", `{`, "no JSON member name"},
		{"a member left open", `{"a"`, "no colon"},
		{"a value missing", `{"a":}`, "no JSON value"},
		{"a value cut off", `{"a":`, "no JSON value"},
		{"a trailing comma", `{"a":1,}`, "no JSON member name"},
		{"a leading comma", `{,"a":1}`, "no JSON member name"},
		{"no comma", `{"a":1 "b":2}`, "object is not closed"},
		{"a trailing comma in an array", `{"a":[1,]}`, "no JSON value"},
		{"an array left open", `{"a":[1`, "array is not closed"},
		{"an array closed as an object", `{"a":[1}`, "array is not closed"},
		{"a bare name", `{a:1}`, "no JSON member name"},
		{"a name in single quotes", `{'a':1}`, "no JSON member name"},
		{"a number as name", `{1:1}`, "no JSON member name"},
		{"a literal in another case", `{"a":True}`, "no JSON value"},
		{"half a literal", `{"a":tru}`, "no JSON value"},
		{"a literal with a tail", `{"a":nullx}`, "object is not closed"},
		{"an object left open after a literal", `{"a":true`, "object is not closed"},
		{"a string left open", `{"a":"b`, "string is not closed"},
		{"an escape left open", `{"a":"\`, "unknown escape"},
		{"a string open after an escape", `{"a":"\n`, "string is not closed"},
		{"a line end in a string", "{\"a\":\"\n\"}", "control character"},
		{"a tab after an escape", "{\"a\":\"\\n\t\"}", "control character"},
		{"a NUL in a string", "{\"a\":\"\x00\"}", "control character"},
		{"an unknown escape", `{"a":"\x41"}`, "unknown escape"},
		{"an escaped single quote", `{"a":"\'"}`, "unknown escape"},
		{"an escape in capitals", `{"a":"\U0041"}`, "unknown escape"},
		{"too few digits", `{"a":"\u041"}`, "unknown escape"},
		{"digits that are none", `{"a":"\u00g0"}`, "unknown escape"},
		{"digits cut off", `{"a":"\u00`, "unknown escape"},
		{"the last digit cut off", `{"a":"\u004`, "unknown escape"},
		{"a string open after digits", `{"a":"\u0041`, "string is not closed"},
		{"a high surrogate alone", `{"a":"\ud83d"}`, "lone surrogate"},
		{"a low surrogate alone", `{"a":"\ude00"}`, "lone surrogate"},
		{"surrogates the wrong way round", `{"a":"\ude00\ud83d"}`, "lone surrogate"},
		{"two high surrogates", `{"a":"\ud83d\ud83d"}`, "lone surrogate"},
		{"a high surrogate and a letter", `{"a":"\ud83d\u0041"}`, "lone surrogate"},
		{"a high surrogate and half an escape", `{"a":"\ud83d\u00"}`, "lone surrogate"},
		{"a high surrogate and bare digits", `{"a":"\ud83dde00"}`, "lone surrogate"},
		{"a lone surrogate in a name", `{"\ud800":1}`, "lone surrogate"},
		{"a stray continuation byte", "{\"a\":\"\x80\"}", "not valid UTF-8"},
		{"an overlong slash", "{\"a\":\"\xc0\xaf\"}", "not valid UTF-8"},
		{"a surrogate in UTF-8", "{\"a\":\"\xed\xa0\x80\"}", "not valid UTF-8"},
		{"beyond Unicode", "{\"a\":\"\xf4\x90\x80\x80\"}", "not valid UTF-8"},
		{"the same name twice", `{"a":1,"a":2}`, "duplicate"},
		{"the same name and value twice", `{"a":1,"a":1}`, "duplicate"},
		{"the same name, once escaped", `{"alg":1,"\u0061lg":2}`, "duplicate"},
		{"the same name in two escapes", `{"\u002f":1,"\/":2}`, "duplicate"},
		{"the same empty name", `{"":1,"":2}`, "duplicate"},
		{"a duplicate below", `{"a":{"b":1,"b":2}}`, "duplicate"},
		{"a duplicate in an array", `{"a":[{"b":1,"b":2}]}`, "duplicate"},
		{"a duplicate of the first of many", many(`"m0":1`), "duplicate"},
		{"a duplicate of the last of many", many(`"m39":1`), "duplicate"},
		{"a duplicate among the later ones", many(`"x":1,"x":1`), "duplicate"},
		{"a leading zero", `{"a":01}`, "object is not closed"},
		{"a negative leading zero", `{"a":-01}`, "object is not closed"},
		{"a leading plus", `{"a":+1}`, "no JSON value"},
		{"a lone minus", `{"a":-}`, "malformed JSON number"},
		{"no digit before the point", `{"a":.5}`, "no JSON value"},
		{"no digit after the point", `{"a":1.}`, "malformed JSON number"},
		{"no digit after the exponent", `{"a":1e}`, "malformed JSON number"},
		{"no digit after its sign", `{"a":1e+}`, "malformed JSON number"},
		{"two signs of the exponent", `{"a":1e+-1}`, "malformed JSON number"},
		{"hexadecimal", `{"a":0x10}`, "object is not closed"},
		{"an underscore", `{"a":1_0}`, "object is not closed"},
		{"infinity", `{"a":Infinity}`, "no JSON value"},
		{"negative infinity", `{"a":-Infinity}`, "malformed JSON number"},
		{"not a number", `{"a":NaN}`, "no JSON value"},
		{"beyond float64", `{"a":1e309}`, "out of range"},
		{"beyond float64 below zero", `{"a":-1e309}`, "out of range"},
		{"Arabic digits", "{\"a\":\u0661}", "no JSON value"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, err := strict.ParseObject([]byte(c.text), wide)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("ParseObject(%s) = %v, want an error with %q", c.text, err, c.want)
			}
		})
	}
}

func TestParseObjectHoldsLimits(t *testing.T) {
	t.Parallel()
	const text = `{"a":[1,{"b":2}],"c":3}` // 23 bytes, 3 deep, 5 members and elements
	for _, c := range []struct {
		name   string
		limits strict.Limits
		want   string
	}{
		{"just enough", strict.Limits{Size: 23, Depth: 3, Members: 5}, ""},
		{"a byte too long", strict.Limits{Size: 22, Depth: 3, Members: 5}, "longer than 22 bytes"},
		{"a level too deep", strict.Limits{Size: 23, Depth: 2, Members: 5}, "nested too deeply"},
		{"a member too many", strict.Limits{Size: 23, Depth: 3, Members: 4}, "too many members"},
		{"no depth", strict.Limits{Size: 23, Members: 5}, "nested too deeply"},
		{"no members", strict.Limits{Size: 23, Depth: 3}, "too many members"},
		{"no limits at all", strict.Limits{}, "longer than 0 bytes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, err := strict.ParseObject([]byte(text), c.limits)
			if got := fmt.Sprint(err); (c.want == "") != (err == nil) || !strings.Contains(got, c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}

	siblings := `{"a":[[],[],[]],"b":{},"c":{},"d":{},"e":{}}`
	if _, err := strict.ParseObject([]byte(siblings), strict.Limits{Size: 99, Depth: 3, Members: 8}); err != nil {
		t.Errorf("depth of siblings adds up: %v", err)
	}
	if _, err := strict.ParseObject([]byte(siblings), strict.Limits{Size: 99, Depth: 2, Members: 8}); err == nil || !strings.Contains(err.Error(), "nested too deeply") {
		t.Errorf("an array too deep: got %v", err)
	}
	if _, err := strict.ParseObject([]byte(siblings), strict.Limits{Size: 99, Depth: 3, Members: 2}); err == nil || !strings.Contains(err.Error(), "too many members at byte 9") {
		t.Errorf("an element too many: got %v", err)
	}
}

// The search for duplicates changes its way when there are many members, and
// must not find any where there are none.
func TestParseObjectTakesManyMembers(t *testing.T) {
	t.Parallel()
	for _, count := range []int{15, 16, 17, 18, 100} {
		var b strings.Builder
		for i := range count {
			fmt.Fprintf(&b, `,"m%d":%d`, i, i)
		}
		o, err := strict.ParseObject([]byte("{"+b.String()[1:]+"}"), wide)
		if err != nil || o.Len() != count {
			t.Errorf("%d members became %d, %v", count, o.Len(), err)
		}
	}
}

// The place is what somebody with a text of a thousand lines looks for.
func TestParseObjectSaysWhere(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`{"a":x}`:           "no JSON value at byte 5",
		`{"a":"\x"}`:        "unknown escape in a JSON string at byte 7",
		`{"a":1,"a":2}`:     "duplicate JSON member at byte 10",
		`{} x`:              "something follows the JSON object at byte 3",
		"{\"a\":\"b\x00\"}": "control character in a JSON string at byte 7",
	} {
		if _, err := strict.ParseObject([]byte(text), wide); err == nil || err.Error() != want {
			t.Errorf("ParseObject(%s) = %v, want %s", text, err, want)
		}
	}
}

func TestEscapesOfHexadecimalDigits(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`\u0123\u4567`: "\u0123\u4567", `\u89ab\ucdef`: "\u89ab\ucdef", `\u89AB\uCDEF`: "\u89ab\ucdef",
		`\uaAfF`: "\uaaff", `\uD83D\uDE00`: "\U0001f600", `\udbff\udfff`: "\U0010ffff", `\ud7ff\ue000`: "\ud7ff\ue000",
	} {
		o, err := strict.ParseObject([]byte(`{"a":"`+text+`"}`), wide)
		if got, _ := o.Text("a"); err != nil || got != want {
			t.Errorf("%s = %q, %v, want %q", text, got, err, want)
		}
	}
}

// The text of a stranger must not cost more memory than its size suggests,
// nor a stack as deep as it is long. It runs alone, since it reads the
// counters of the whole process.
func TestParseObjectBoundsMemory(t *testing.T) {
	limits := strict.Limits{Size: 1 << 20, Depth: 4, Members: 64}
	for name, text := range map[string]string{
		"deep arrays":   `{"a":` + strings.Repeat("[", 1<<19),
		"deep objects":  strings.Repeat(`{"a":`, 1<<17),
		"many elements": `{"a":[` + strings.Repeat("0,", 1<<18),
	} {
		data := []byte(text)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := strict.ParseObject(data, limits)
		runtime.ReadMemStats(&after)
		if err == nil {
			t.Errorf("%s: got no error", name)
		}
		if got, most := after.TotalAlloc-before.TotalAlloc, uint64(len(data)+64<<10); got > most {
			t.Errorf("%s: allocated %d bytes for %d, want at most %d", name, got, len(data), most)
		}
	}
}

func TestValues(t *testing.T) {
	t.Parallel()
	text := []byte(`{"n":null,"t":true,"f":false,"num":-1.5,"s":"a\u00e9\ud83d\ude00b","list":["x",2],"o":{"in":"side"}}`)
	o, err := strict.ParseObject(text, wide)
	if err != nil {
		t.Fatal(err)
	}
	clear(text) // nothing may refer to the bytes that were read

	if got, want := o.Names(), []string{"n", "t", "f", "num", "s", "list", "o"}; !slices.Equal(got, want) || o.Len() != len(want) {
		t.Errorf("names = %q (%d), want %q", got, o.Len(), want)
	}
	kinds := map[string]strict.Kind{
		"n": strict.Null, "t": strict.Bool, "f": strict.Bool, "num": strict.Number,
		"s": strict.String, "list": strict.Array, "o": strict.ObjectKind,
	}
	for name, want := range kinds {
		v, ok := o.Get(name)
		if !ok || !o.Has(name) || v.Kind() != want {
			t.Errorf("kind of %s = %d, want %d", name, v.Kind(), want)
		}
		_, isText := v.Text()
		_, isBool := v.Bool()
		_, isNumber := v.Number()
		_, isArray := v.Array()
		_, isObject := v.Object()
		got := []bool{want == strict.Null, isBool, isNumber, isText, isArray, isObject}
		for kind, is := range got {
			if is != (strict.Kind(kind) == want) {
				t.Errorf("%s passes as kind %d: %v", name, kind, is)
			}
		}
	}
	if got, ok := o.Text("s"); !ok || got != "aé😀b" {
		t.Errorf("text = %q, %v", got, ok)
	}
	if got, ok := o.Text("num"); ok || got != "" {
		t.Errorf("text of a number = %q, %v, want none", got, ok)
	}
	if got, ok := o.Text("S"); ok || got != "" || o.Has("S") {
		t.Errorf("text of a name in another case = %q, %v, want none", got, ok)
	}
	v, _ := o.Get("t")
	if got, _ := v.Bool(); !got {
		t.Error("true is false")
	}
	v, _ = o.Get("num")
	if got, _ := v.Number(); got != -1.5 {
		t.Errorf("number = %v, want -1.5", got)
	}
	v, _ = o.Get("o")
	inner, _ := v.Object()
	if got, _ := inner.Text("in"); got != "side" {
		t.Errorf("inner text = %q", got)
	}
}

func TestArrayIsACopy(t *testing.T) {
	t.Parallel()
	o, err := strict.ParseObject([]byte(`{"a":["x"]}`), wide)
	if err != nil {
		t.Fatal(err)
	}
	v, _ := o.Get("a")
	list, _ := v.Array()
	list[0] = strict.Value{}
	again, _ := v.Array()
	if got, ok := again[0].Text(); !ok || got != "x" {
		t.Errorf("element = %q, %v, want x: the caller changed the object", got, ok)
	}
}

func TestNumberKeepsIntegers(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]float64{
		"0": 0, "-0": 0, "1": 1, "-1": -1, "1e3": 1000, "1E-2": .01, "0.25": .25,
		"9007199254740992": 1 << 53, "1700000000.5": 1700000000.5, "1.7976931348623157e308": math.MaxFloat64,
	} {
		o, err := strict.ParseObject([]byte(`{"a":`+text+`}`), wide)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		v, _ := o.Get("a")
		if got, ok := v.Number(); !ok || got != want {
			t.Errorf("%s = %v, want %v", text, got, want)
		}
	}
}

func TestZeroValuesAreEmpty(t *testing.T) {
	t.Parallel()
	var o strict.Object
	v, ok := o.Get("a")
	if ok || o.Has("a") || o.Len() != 0 || len(o.Names()) != 0 || v.Kind() != strict.Null {
		t.Errorf("the zero object has something: %v %v", o, v)
	}
}
