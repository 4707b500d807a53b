// SPDX-License-Identifier: Apache-2.0

// Package e2e holds the end-to-end tests: real Caddys as child processes,
// driven over the network by real clients.
//
// The test binary re-runs itself as Caddy, so that the children are built once
// and with the race detector where the tests are. Caddy keeps its running
// config in a global, which is why each one needs a process of its own.
package e2e

import (
	"io"
	"os"
	"testing"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/popauth/caddy-popauth"
)

// asCaddy, when set, makes the test binary Caddy. With the value "child" it
// also dies with the process that holds the other end of its standard input:
// a test that is killed leaves no server behind.
const asCaddy = "POPAUTH_E2E_AS_CADDY"

func TestMain(m *testing.M) {
	switch os.Getenv(asCaddy) {
	case "":
		code := m.Run()
		if code == 0 && !everyRowIsCovered(os.Stdout) {
			code = 1
		}
		os.Exit(code)
	case "child":
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			os.Exit(3)
		}()
	}
	caddycmd.Main()
}
