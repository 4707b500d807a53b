// SPDX-License-Identifier: Apache-2.0

package oauth

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
)

const formType = "application/x-www-form-urlencoded"

// post builds a POST with a Content-Type field for each of the types.
func post(target, body string, types ...string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, target, strings.NewReader(body))
	r.Header["Content-Type"] = types
	return r
}

func TestReadFormReadsParameters(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, body string
		want       map[string][]string
	}{
		{"nothing", "", nil},
		{"a plain one", "grant_type=client_credentials", map[string][]string{"grant_type": {"client_credentials"}}},
		{"plus is a space", "scope=a+b", map[string][]string{"scope": {"a b"}}},
		{"an encoded plus is a plus", "cnf_key=a%2Bb", map[string][]string{"cnf_key": {"a+b"}}},
		{"an encoded name", "%67rant_type=x", map[string][]string{"grant_type": {"x"}}},
		{"a value with equals signs", "cnf_key=e30==", map[string][]string{"cnf_key": {"e30=="}}},
		{"a semicolon does not separate", "a=1;b=2", map[string][]string{"a": {"1;b=2"}, "b": nil}},
		{"an empty value counts as absent", "scope=&grant_type=x", map[string][]string{"scope": nil, "grant_type": {"x"}}},
		{"no equals sign counts as absent", "scope", map[string][]string{"scope": nil}},
		{"empty pairs", "&&a=1&&", map[string][]string{"a": {"1"}}},
		{"resource may be repeated", "resource=u1&resource=&resource=u2", map[string][]string{"resource": {"u1", "u2"}}},
		{"bytes that are not UTF-8", "client_id=%FF%00%0D%0A", map[string][]string{"client_id": {"\xff\x00\r\n"}}},
		{"a placeholder stays as it is", "scope={env.HOME}", map[string][]string{"scope": {"{env.HOME}"}}},
		{"64 parameters", numbered(64), map[string][]string{"p63": {"1"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f, refusal := ReadForm(httptest.NewRecorder(), post("/", tt.body, formType))
			if refusal != nil {
				t.Fatalf("ReadForm(%q) refused: %s", tt.body, refusal.Reason)
			}
			for name, want := range tt.want {
				if got := f.All(name); !slices.Equal(got, want) {
					t.Errorf("All(%q) = %q, want %q", name, got, want)
				}
				first := ""
				if len(want) > 0 {
					first = want[0]
				}
				if got := f.Get(name); got != first {
					t.Errorf("Get(%q) = %q, want %q", name, got, first)
				}
			}
			if got := f.All("not sent"); len(got) != 0 {
				t.Errorf("All of a name that was not sent = %q", got)
			}
		})
	}
}

func numbered(n int) string {
	pairs := make([]string, n)
	for i := range pairs {
		pairs[i] = fmt.Sprintf("p%d=1", i)
	}
	return strings.Join(pairs, "&")
}

func TestReadFormRefuses(t *testing.T) {
	t.Parallel()
	big := "a=" + strings.Repeat("x", maxFormBytes-2)
	tests := []struct {
		name    string
		request *http.Request
		want    Reason
	}{
		{"JSON", post("/", `{"grant_type":"client_credentials"}`, "application/json"), ContentTypeWrong},
		{"no content type", post("/", "a=1"), ContentTypeWrong},
		{"an empty content type", post("/", "a=1", ""), ContentTypeWrong},
		{"two content types", post("/", "a=1", formType, formType), ContentTypeWrong},
		{"two content types in one field", post("/", "a=1", formType+", application/json"), ContentTypeWrong},
		{"a type that only begins like ours", post("/", "a=1", formType+"2"), ContentTypeWrong},
		{"multipart", post("/", "a=1", "multipart/form-data; boundary=x"), ContentTypeWrong},
		{"a parameter in the query", post("/?scope=a", "a=1", formType), ParameterInQuery},
		{"a bare question mark", post("/?", "a=1", formType), ParameterInQuery},
		{"64 KiB and a byte", post("/", big+"x", formType), FormTooLarge},
		{"65 parameters", post("/", numbered(65), formType), FormMalformed},
		{"a percent sign at the end of a value", post("/", "a=%", formType), FormMalformed},
		{"a percent sign with one digit", post("/", "a=%4", formType), FormMalformed},
		{"a percent sign with other letters", post("/", "a=%zz", formType), FormMalformed},
		{"a bad percent sign in a name", post("/", "%g0=1", formType), FormMalformed},
		{"a name twice", post("/", "scope=a&scope=b", formType), ParameterRepeated},
		{"a name and value twice", post("/", "scope=a&scope=a", formType), ParameterRepeated},
		{"a name twice, first empty", post("/", "scope=&scope=b", formType), ParameterRepeated},
		{"a name twice, then empty", post("/", "scope=b&scope", formType), ParameterRepeated},
		{"a name twice, both empty", post("/", "scope&scope", formType), ParameterRepeated},
		{"a name twice, once encoded", post("/", "scope=a&%73cope=b", formType), ParameterRepeated},
		{"an unknown name twice", post("/", "x=1&x=2", formType), ParameterRepeated},
		{"an empty name twice", post("/", "=1&=2", formType), ParameterRepeated},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f, refusal := ReadForm(httptest.NewRecorder(), tt.request)
			if refusal == nil {
				t.Fatal("ReadForm refused nothing")
			}
			if refusal.Reason != tt.want {
				t.Errorf("ReadForm refused with %s, want %s", refusal.Reason, tt.want)
			}
			if f.values != nil {
				t.Errorf("the form beside a refusal is %v, want none", f.values)
			}
		})
	}

	t.Run("but not 64 KiB", func(t *testing.T) {
		t.Parallel()
		if _, refusal := ReadForm(httptest.NewRecorder(), post("/", big, formType)); refusal != nil {
			t.Errorf("ReadForm refused 64 KiB: %s", refusal.Reason)
		}
	})
}

func TestReadFormTakesMediaTypeParametersAndAnyCase(t *testing.T) {
	t.Parallel()
	for _, contentType := range []string{
		formType + ";charset=UTF-8",
		formType + "; charset=\"utf-8\"",
		formType + "; charset=iso-8859-1; x=y",
		"Application/X-WWW-Form-URLencoded",
	} {
		f, refusal := ReadForm(httptest.NewRecorder(), post("/", "a=1", contentType))
		if refusal != nil {
			t.Errorf("Content-Type %q refused: %s", contentType, refusal.Reason)
		}
		if got := f.Get("a"); got != "1" {
			t.Errorf("Content-Type %q: Get = %q, want 1", contentType, got)
		}
	}
}

// statusError stands for the error of Caddy's request_body, which wraps the
// one of http.MaxBytesReader.
type statusError struct{ cause error }

func (e statusError) Error() string { return "413" }
func (e statusError) Unwrap() error { return e.cause }

type brokenBody struct{ err error }

func (b brokenBody) Read([]byte) (int, error) { return 0, b.err }
func (b brokenBody) Close() error             { return nil }

func TestReadFormTellsALimitInFrontOfItFromABrokenBody(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		err   error
		want  Reason
		limit string
	}{
		{"a limit of the server", &http.MaxBytesError{Limit: 7}, FormTooLarge, "7 bytes"},
		{"a limit of a middleware", statusError{&http.MaxBytesError{Limit: 8}}, FormTooLarge, "8 bytes"},
		{"a broken connection", io.ErrUnexpectedEOF, FormMalformed, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := post("/", "", formType)
			r.Body = brokenBody{tt.err}
			_, refusal := ReadForm(httptest.NewRecorder(), r)
			if refusal == nil {
				t.Fatal("ReadForm refused nothing")
			}
			if refusal.Reason != tt.want || refusal.Limit != tt.limit {
				t.Errorf("refused with %s, limit %q; want %s, %q", refusal.Reason, refusal.Limit, tt.want, tt.limit)
			}
			if !errors.Is(refusal, tt.err) {
				t.Errorf("the cause %v is lost", tt.err)
			}
		})
	}
}

// Only the writer of net/http itself can be told by http.MaxBytesReader to
// close; a middleware in front of us hides it.
func TestReadFormClosesTheConnectionOfATooLargeBody(t *testing.T) {
	t.Parallel()
	for major, want := range map[int]string{1: "close", 2: ""} {
		r := post("/", strings.Repeat("x", maxFormBytes+1), formType)
		r.ProtoMajor = major
		w := httptest.NewRecorder()
		if _, refusal := ReadForm(w, r); refusal == nil {
			t.Fatal("ReadForm refused nothing")
		}
		if got := w.Header().Get("Connection"); got != want {
			t.Errorf("HTTP/%d: Connection = %q, want %q", major, got, want)
		}
	}
}

func TestRepeatedParameterIsNamedOnlyIfItIsOurs(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]string{
		"scope=a&scope=b":       "a parameter is repeated: scope",
		"hunter2=a&hunter2=b":   "a parameter is repeated",
		"%3Cscript&%3Cscript=1": "a parameter is repeated",
	} {
		_, refusal := ReadForm(httptest.NewRecorder(), post("/", body, formType))
		if refusal == nil {
			t.Fatalf("ReadForm(%q) refused nothing", body)
		}
		if got := refusal.Description(); got != want {
			t.Errorf("ReadForm(%q): description %q, want %q", body, got, want)
		}
	}
}

func TestFormDoesNotShareItsValues(t *testing.T) {
	t.Parallel()
	pairs := map[string][]string{"resource": {"u1", "", "u2"}, "scope": {""}}
	f := NewForm(pairs)
	pairs["resource"][0] = "changed"
	f.All("resource")[1] = "changed"
	if got, want := f.All("resource"), []string{"u1", "u2"}; !slices.Equal(got, want) {
		t.Errorf("All = %q, want %q", got, want)
	}
	if got := f.Get("scope"); got != "" {
		t.Errorf("Get of an empty parameter = %q", got)
	}
	if got := (Form{}).Get("scope"); got != "" {
		t.Errorf("Get of the zero Form = %q", got)
	}
}

// What we take, net/url must read as we do: it is what most of those around
// us use.
func FuzzReadForm(f *testing.F) {
	for _, body := range []string{
		"", "grant_type=client_credentials&scope=a+b", "a=1;b=2", "resource=a&resource=b&resource=",
		"a=%", "a=%00%ff", "=&", "a&a", "%61=1&a=2", numbered(65),
	} {
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body string) {
		form, refusal := ReadForm(httptest.NewRecorder(), post("/", body, formType))
		if refusal != nil {
			if form.values != nil {
				t.Errorf("a form beside the refusal %s", refusal.Reason)
			}
			if status := refusal.Reason.Rule().Endpoint; status != 400 && status != 413 {
				t.Errorf("refused with %s, status %d", refusal.Reason, status)
			}
			return
		}
		if len(form.values) > maxFormParameters {
			t.Errorf("%d parameters", len(form.values))
		}
		if strings.Contains(body, ";") {
			return // net/url refuses it
		}
		want, err := url.ParseQuery(body)
		if err != nil {
			t.Fatalf("we take %q and net/url does not: %v", body, err)
		}
		if len(want) != len(form.values) {
			t.Errorf("%d names, net/url has %d", len(form.values), len(want))
		}
		for name, values := range want {
			values = slices.DeleteFunc(values, func(v string) bool { return v == "" })
			if got := form.All(name); !slices.Equal(got, values) {
				t.Errorf("All(%q) = %q, net/url has %q", name, got, values)
			}
			if len(values) > 1 && name != "resource" {
				t.Errorf("%q was taken twice", name)
			}
		}
	})
}
