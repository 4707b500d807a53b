// SPDX-License-Identifier: Apache-2.0

package oauth

import (
	"go/ast"
	"go/parser"
	gotoken "go/token"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"testing"
)

// declaredReasons are the values of all constants of type Reason in reason.go.
func declaredReasons(t *testing.T) []Reason {
	t.Helper()
	file, err := parser.ParseFile(gotoken.NewFileSet(), "reason.go", nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	var reasons []Reason
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if kind, ok := spec.Type.(*ast.Ident); !ok || kind.Name != "Reason" {
			return true
		}
		for _, v := range spec.Values {
			literal, ok := v.(*ast.BasicLit)
			if !ok {
				t.Fatalf("the value of %s is not a literal", spec.Names[0])
			}
			value, err := strconv.Unquote(literal.Value)
			if err != nil {
				t.Fatal(err)
			}
			reasons = append(reasons, Reason(value))
		}
		return true
	})
	return reasons
}

func TestEveryReasonIsInTheTableAndOnlyOnce(t *testing.T) {
	t.Parallel()
	declared := declaredReasons(t)
	slices.Sort(declared)
	if len(declared) == 0 {
		t.Fatal("no reason was found in reason.go")
	}
	if unique := slices.Compact(slices.Clone(declared)); len(unique) != len(declared) {
		t.Errorf("two constants have one value: %q", declared)
	}
	if got := Reasons(); !slices.Equal(got, declared) {
		for _, reason := range declared {
			if !slices.Contains(got, reason) {
				t.Errorf("%s is not in the table", reason)
			}
		}
		for _, reason := range got {
			if !slices.Contains(declared, reason) {
				t.Errorf("%s is in the table and not a constant", reason)
			}
		}
	}
}

func TestRulesAreWhole(t *testing.T) {
	t.Parallel()
	snake := regexp.MustCompile(`^[a-z]+(_[a-z]+)*$`)
	// RFC 6749 §5.2: neither " nor \ nor anything outside printable ASCII
	description := regexp.MustCompile(`^[\x20-\x21\x23-\x5B\x5D-\x7E]+$`)
	for _, reason := range Reasons() {
		t.Run(string(reason), func(t *testing.T) {
			t.Parallel()
			rule := reason.Rule()
			if !snake.MatchString(string(reason)) {
				t.Error("the reason is not in snake_case")
			}
			if rule.API == 0 && rule.Endpoint == 0 {
				t.Error("no status")
			}
			for _, status := range []int{rule.API, rule.Endpoint} {
				if status != 0 && (status < 400 || http.StatusText(status) == "") {
					t.Errorf("status %d", status)
				}
			}
			if !description.MatchString(rule.Text) {
				t.Errorf("text %q", rule.Text)
			}
			if (rule.Code == "") != (reason == TokenMissing) {
				t.Errorf("code %q", rule.Code)
			}
			if rule.Code != "" && !snake.MatchString(rule.Code) {
				t.Errorf("code %q is not in snake_case", rule.Code)
			}
			if code := rule.EndpointCode; code != "" && (!snake.MatchString(code) || code == rule.Code || rule.API == 0 || rule.Endpoint == 0) {
				t.Errorf("code %q at the endpoints, %q elsewhere, with status %d, %d", code, rule.Code, rule.API, rule.Endpoint)
			}
			if rule.API == http.StatusUnauthorized && !(rule.Challenge && rule.Nonce) {
				t.Error("a 401 without a challenge or a nonce: client libraries would not retry")
			}
			if rule.Challenge && rule.API == 0 {
				t.Error("a challenge without an answer to put it in")
			}
			retry := slices.Contains([]int{http.StatusServiceUnavailable, http.StatusTooManyRequests}, max(rule.API, rule.Endpoint))
			if rule.Retry != retry {
				t.Errorf("Retry = %v with status %d, %d", rule.Retry, rule.API, rule.Endpoint)
			}
		})
	}
}

func TestUndecidedIsWhateverMayStillBecomeAYes(t *testing.T) {
	t.Parallel()
	undecided := []Reason{AssertionBeforeStore, KeysUnavailable, ReplayGuardFull, Starting, StoreUnavailable}
	for _, reason := range append(Reasons(), "", "nonsense") {
		want := slices.Contains(undecided, reason) || reason == "" || reason == "nonsense"
		if got := reason.Undecided(); got != want {
			t.Errorf("Reason(%q).Undecided() = %v, want %v", reason, got, want)
		}
	}
}

func TestUnknownReasonIsAServerFault(t *testing.T) {
	t.Parallel()
	for _, reason := range []Reason{"", "nonsense"} {
		rule := reason.Rule()
		if rule.API != 500 || rule.Endpoint != 500 || rule.Level != Error {
			t.Errorf("Reason(%q).Rule() = %+v, want a 500", reason, rule)
		}
	}
}

func TestLevelsAsCaddyWritesThem(t *testing.T) {
	t.Parallel()
	if Info.String() != "info" || Error.String() != "error" {
		t.Errorf("levels %q, %q; want info, error", Info, Error)
	}
}
