// SPDX-License-Identifier: Apache-2.0

package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"syscall"
)

// errUnread is that what is printed goes nowhere any more, as in `| head`.
var errUnread = errors.New("nobody reads on")

// interruptible returns a context that ends when the process is told to, or
// when something that is written to the returned writer can't be. Its cause
// says which. Until release, no signal that can be caught ends the process, so
// that it can clear away what it made.
func interruptible(ctx context.Context, out io.Writer) (_ context.Context, _ io.Writer, release func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	ends := []os.Signal{os.Interrupt, syscall.SIGTERM}
	// nohup ignores it for us, which catching it would undo
	if !signal.Ignored(syscall.SIGHUP) {
		ends = append(ends, syscall.SIGHUP)
	}
	ctx, stop := signal.NotifyContext(ctx, ends...)
	// without this, writing to a closed pipe ends the process (os/signal, SIGPIPE)
	signal.Ignore(syscall.SIGPIPE)
	return ctx, &watched{out: out, fail: cancel}, func() {
		stop()
		cancel(nil)
		signal.Reset(syscall.SIGPIPE)
	}
}

// watched tells of the first write that goes wrong.
type watched struct {
	out  io.Writer
	fail context.CancelCauseFunc
}

func (w *watched) Write(b []byte) (int, error) {
	n, err := w.out.Write(b)
	switch {
	case errors.Is(err, syscall.EPIPE):
		w.fail(errUnread)
	case err != nil:
		w.fail(fmt.Errorf("writing the story: %w", err))
	}
	return n, err
}

// gate lets requests through until ctx ends. One that is let through is not
// interrupted any more.
type gate struct {
	*http.Transport
	ctx context.Context
}

func (g gate) RoundTrip(r *http.Request) (*http.Response, error) {
	if cause := context.Cause(g.ctx); cause != nil {
		return nil, cause
	}
	return g.Transport.RoundTrip(r.WithContext(context.WithoutCancel(r.Context())))
}
