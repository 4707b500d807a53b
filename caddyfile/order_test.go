// SPDX-License-Identifier: Apache-2.0

package caddyfile

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

func TestDirectivesAreSortedWithoutAnOrderOption(t *testing.T) {
	t.Parallel()
	adapted, err := adapt(`http://api.example.com {
	respond ok
	forward_auth localhost:9000 {
		uri /check
	}
	pop_auth
	pop_introspect
	pop_token
	pop_server
	basic_auth {
		alice $2a$14$Zkx19XLiW6VYouLHR5NmfOFU0z2GTNmpkT/5qqR7hx4IjWJPDhjvG
	}
	rewrite /rewritten
}
`)
	if err != nil {
		t.Fatal(err)
	}
	var config struct {
		Apps struct {
			HTTP struct {
				Servers map[string]route `json:"servers"`
			} `json:"http"`
		} `json:"apps"`
	}
	if err := json.Unmarshal(adapted, &config); err != nil {
		t.Fatal(err)
	}
	got := config.Apps.HTTP.Servers["srv0"].handlers()
	want := []string{
		"rewrite",
		"authentication", // basic_auth
		"pop_server",
		"pop_server token",      // pop_token
		"pop_server introspect", // pop_introspect
		"pop_auth",
		"reverse_proxy", // forward_auth
		"static_response",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %s\nwant %s", strings.Join(got, ", "), strings.Join(want, ", "))
	}
}

// route is what servers, routes, subroutes and handlers have in common: things
// within, in the order in which they are called.
type route struct {
	Handler string   `json:"handler"`
	Only    []string `json:"only"`
	Routes  []route  `json:"routes"`
	Handle  []route  `json:"handle"`
}

// handlers lists the handlers within that are no subroutes.
func (r route) handlers() []string {
	var names []string
	if r.Handler != "" && r.Handler != "subroute" {
		names = append(names, strings.Join(append([]string{r.Handler}, r.Only...), " "))
	}
	for _, inner := range slices.Concat(r.Routes, r.Handle) {
		names = append(names, inner.handlers()...)
	}
	return names
}
