// SPDX-License-Identifier: Apache-2.0

package command

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// interruptedDir makes the test binary a child that writes until it is
// interrupted and then removes that folder.
const interruptedDir = "POPAUTH_TEST_INTERRUPTED_DIR"

// TestInterruptedChild is the child of TestInterruptsLeaveNoFolder.
func TestInterruptedChild(t *testing.T) {
	dir := os.Getenv(interruptedDir)
	if dir == "" {
		t.Skip("this is for a child process")
	}
	ctx, out, release := interruptible(context.Background(), os.Stdout)
	for ctx.Err() == nil {
		fmt.Fprintln(out, "once upon a time")
	}
	s := &stage{dir: dir}
	err := s.strike(ctx, errors.New("reading: context canceled"))
	release()
	fmt.Fprint(os.Stderr, err)
	os.Exit(1)
}

func TestInterruptsLeaveNoFolder(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("processes can't be signalled here")
	}
	for name, c := range map[string]struct {
		interrupt func(child *os.Process, story io.Closer) error
		want      string
	}{
		"nobody reads on": {func(_ *os.Process, story io.Closer) error { return story.Close() }, errUnread.Error()},
		"interrupt":       {func(child *os.Process, _ io.Closer) error { return child.Signal(os.Interrupt) }, "interrupt signal received"},
		"terminate":       {func(child *os.Process, _ io.Closer) error { return child.Signal(syscall.SIGTERM) }, "terminated signal received"},
		"hang up":         {func(child *os.Process, _ io.Closer) error { return child.Signal(syscall.SIGHUP) }, "hangup signal received"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "demo")
			if err := os.MkdirAll(filepath.Join(dir, "storage"), 0o700); err != nil {
				t.Fatal(err)
			}
			child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestInterruptedChild$")
			child.Env = append(os.Environ(), interruptedDir+"="+dir)
			var stderr bytes.Buffer
			child.Stderr = &stderr
			story, err := child.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := child.Start(); err != nil {
				t.Fatal(err)
			}
			// once there is a first line, the child is ready for anything
			if _, err := io.ReadFull(story, make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
			if err := c.interrupt(child.Process, story); err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, story)
			exit, ok := errors.AsType[*exec.ExitError](child.Wait())
			if !ok || exit.ExitCode() != 1 || stderr.String() != c.want {
				t.Errorf("the child ended with %v and said %q, want status 1 and %q", exit, stderr.String(), c.want)
			}
			if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the folder is left behind: %v", err)
			}
		})
	}
}

func TestDemoKeepsTheLogOnlyWhenItWentWrong(t *testing.T) {
	t.Parallel()
	interrupted, cancel := context.WithCancelCause(t.Context())
	cancel(errUnread)
	wrong := errors.New("3 of 13 checks went otherwise than they must")
	for name, c := range map[string]struct {
		ctx       context.Context
		err, want error
		kept      bool
	}{
		"all went well":        {t.Context(), nil, nil, false},
		"something went wrong": {t.Context(), wrong, wrong, true},
		"nobody reads on":      {interrupted, wrong, errUnread, false},
		"ended while serving":  {interrupted, nil, nil, false},
	} {
		s := &stage{dir: filepath.Join(t.TempDir(), "demo")}
		if err := os.MkdirAll(filepath.Join(s.dir, "storage"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(s.logFile(), []byte("{}\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		err := s.strike(c.ctx, c.err)
		if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
			t.Errorf("%s: error = %v, want %v", name, err, c.want)
		}
		if h, ok := errors.AsType[*hinted](err); ok != c.kept || ok && !strings.Contains(h.hint, s.logFile()) {
			t.Errorf("%s: error = %v, hinted: %t; want a hint at the log: %t", name, err, ok, c.kept)
		}
		if _, err := os.Stat(s.logFile()); (err == nil) != c.kept {
			t.Errorf("%s: the log: %v; want it kept: %t", name, err, c.kept)
		}
		if _, err := os.Stat(filepath.Join(s.dir, "storage")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: the storage, which has keys, is left behind", name)
		}
	}
}

func TestGateLetsWhatHasBegunFinish(t *testing.T) {
	t.Parallel()
	ctx, interrupt := context.WithCancelCause(t.Context())
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		interrupt(errUnread)
		_, _ = io.WriteString(w, "finished")
	}))
	t.Cleanup(server.Close)
	client := &http.Client{Transport: gate{ctx: ctx, Transport: server.Client().Transport.(*http.Transport)}}
	for attempt, want := range []error{nil, errUnread} {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		e, err := trade(client, r, nil)
		if !errors.Is(err, want) {
			t.Errorf("attempt %d: error = %v, want %v", attempt, err, want)
		}
		if err == nil && string(e.got) != "finished" {
			t.Errorf("attempt %d: got %q, want the whole answer", attempt, e.got)
		}
	}
}
