// SPDX-License-Identifier: Apache-2.0

package popauth

import (
	"github.com/caddyserver/caddy/v2"

	"github.com/popauth/caddy-popauth/popauth/client"
	"github.com/popauth/caddy-popauth/popauth/clock"
	"github.com/popauth/caddy-popauth/popauth/replay"
)

// runtime is what the process remembers from one config to the next: which
// proofs were used, the key of the nonces, and who has failed to authenticate.
// It is lost with the process, and then the nonces it covered are void too.
type runtime struct {
	memory  *replay.Memory
	limiter *client.Limiter
}

// Destruct is called when no config refers to the runtime any more.
func (*runtime) Destruct() error { return nil }

// runtimes holds at most one value. A reload provisions the new config before
// it cleans up the old one, so the value passes from one to the other.
var runtimes = caddy.NewUsagePool()

// runtimeKey is a constant: client libraries keep one nonce per origin, so all
// sites and issuers of a process must share the key of the nonces, and with it
// the memory that covers them.
const runtimeKey = "runtime"

// acquireRuntime takes a reference, which releaseRuntime gives back.
func acquireRuntime(c clock.Clock, capacity int) (*runtime, error) {
	value, _, err := runtimes.LoadOrNew(runtimeKey, func() (caddy.Destructor, error) {
		return &runtime{memory: replay.New(c, capacity), limiter: client.NewLimiter(c)}, nil
	})
	if err != nil {
		return nil, err
	}
	return value.(*runtime), nil
}

// releaseRuntime gives one reference back.
func releaseRuntime() error {
	_, err := runtimes.Delete(runtimeKey)
	return err
}
