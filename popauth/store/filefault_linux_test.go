// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/popauth/caddy-popauth/popauth/fixture"
	"github.com/popauth/caddy-popauth/popauth/store"
)

// Bbolt reads the whole file after a commit that failed, so no more than one a
// second may.
func TestFileRestsAfterACommitThatFailed(t *testing.T) {
	t.Parallel()
	c := newClock()
	p := newPlace(t, c)
	f := p.open(t)
	put(t, f, c, keyOf(store.KindRevocation, "before"), "")
	heal := f.FailWrites(t)
	for second := range 3 {
		before := f.PagesWritten()
		for n := range 100 {
			won, err := f.PutIfAbsent(t.Context(), keyOf(store.KindRevocation, strconv.Itoa(n)), nil, c.Now().Add(time.Hour))
			if won || !errors.Is(err, store.ErrUnavailable) {
				t.Fatalf("PutIfAbsent = %v, %v; want ErrUnavailable", won, err)
			}
		}
		// no more than one transaction, with one record
		if got := f.PagesWritten() - before; got == 0 || got > 10 {
			t.Errorf("second %d: %d pages were written, want those of one transaction", second, got)
		}
		c.Advance(time.Second)
	}
	if _, ok, err := f.Get(t.Context(), keyOf(store.KindRevocation, "before")); !ok || err != nil {
		t.Errorf("Get = %v, %v; want what is there", ok, err)
	}
	heal()
	for n := range 300 {
		put(t, f, c, keyOf(store.KindAssertion, strconv.Itoa(n)), "")
	}
	wantSaid(t, p, "cannot be written; writes are refused until it can", "can be written again (resolved)")
	closeStore(t, f)
	f = p.open(t)
	for n := range 300 {
		if put(t, f, c, keyOf(store.KindAssertion, strconv.Itoa(n)), "") {
			t.Errorf("assertion %d can be used again", n)
		}
	}
}

// Who is let in to try and is not tried must not keep others from it.
func TestDiskThatHangsAndFailsIsTriedAgain(t *testing.T) {
	t.Parallel()
	c := newClock()
	f := newPlace(t, c).open(t)
	write := func(ctx context.Context, id string) error {
		_, err := f.PutIfAbsent(ctx, keyOf(store.KindToken, id), nil, c.Now().Add(time.Hour))
		return err
	}
	release := f.HoldUp(t)
	first, answer := newQueued(t.Context()), make(chan error, 1)
	go func() { answer <- write(first, "1") }()
	<-first.in
	for !f.TakeTooLong() {
		runtime.Gosched()
	}
	wantStalled(t, <-answer)
	heal := f.FailWrites(t)
	release()
	err := write(t.Context(), "2")
	for ; err != nil && strings.Contains(err.Error(), "takes too long"); err = write(t.Context(), "2") {
		runtime.Gosched()
	}
	for n := range 10 {
		if err == nil || !strings.Contains(err.Error(), "could not be written") {
			t.Errorf("attempt %d: got %v, want it to say that the file could not be written", n, err)
		}
		err = write(t.Context(), "3")
	}
	heal()
	c.Advance(time.Second)
	if err := write(t.Context(), "4"); err != nil {
		t.Error(err)
	}
}

// smallDisk names the directory on which the test that it is set for mounts a
// small disk.
const smallDisk = "POPAUTH_SMALL_DISK"

// F03: TestFullDisk fills a disk of 4 MiB, in a child that may mount one.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	if directory := os.Getenv(smallDisk); directory != "" {
		if err := syscall.Mount("tmpfs", directory, "tmpfs", 0, "size=4m"); err != nil {
			t.Fatal(err)
		}
		fullDisk(t, directory)
		return
	}
	if _, err := exec.LookPath("unshare"); err != nil {
		const missing = "this test needs the program unshare: install util-linux"
		if os.Getenv("POPAUTH_REQUIRE_ALL") != "" {
			t.Fatal(missing)
		}
		t.Skip(missing)
	}
	if out, err := exec.Command("unshare", "-rm", "true").CombinedOutput(); err != nil {
		fixture.Figure(t, "F03", "disk=none, as user namespaces are refused")
		// what can be shown without is in TestFileWithoutRoomOnItsDiskIsFull
		t.Skipf("a disk can't be mounted here, allow user namespaces or run this as root: unshare: %v %s", err, out)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "unshare", "-rm", os.Args[0], "-test.run=^TestFullDisk$", "-test.v")
	cmd.Env = append(os.Environ(), smallDisk+"="+t.TempDir())
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestFullDisk") {
		t.Errorf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}

func fullDisk(t *testing.T, directory string) {
	t.Helper()
	c := newClock()
	p := newPlace(t, c)
	p.path = filepath.Join(directory, "store.db")
	f := p.openSmall(t, store.DefaultMaxSize, nil)
	tokens := fill(t, f, p, "", syscall.ENOSPC.Error())
	if tokens == 0 {
		t.Error("there was room for no token")
	}
	ballast := filepath.Join(directory, "ballast")
	fillDisk(t, ballast)
	if n := fill(t, f, p, "more", syscall.ENOSPC.Error()); n != 0 {
		t.Errorf("there was room for %d tokens on a full disk", n)
	}
	revoke(t, f, p, "", 1000)
	for n := range 10 {
		if first, err := f.Consume(t.Context(), keyOf(store.KindToken, strconv.Itoa(n))); !first || err != nil {
			t.Errorf("Consume = %v, %v; want it to be first", first, err)
		}
	}
	// no commit has failed
	wantSaid(t, p, saidFull)

	// a restart finds the disk full, too
	closeStore(t, f)
	f = p.openSmall(t, store.DefaultMaxSize, nil)
	if got := len(feedOf(t, f)); got != 1000 {
		t.Errorf("the feed has %d revocations, want 1000", got)
	}
	revoke(t, f, p, "more", 10)
	wantSaid(t, p, saidFull)
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", directory, "tmpfs", syscall.MS_REMOUNT, "size=8m"); err != nil {
		t.Fatal(err)
	}
	c.Advance(time.Second)
	more := fill(t, f, p, "more", syscall.ENOSPC.Error())
	if more == 0 {
		t.Error("there was room for no token when the disk had some again")
	}
	wantSaid(t, p, saidRoom, saidFull)
	fixture.Figure(t, "F03", "disk=tmpfs of 4 MiB tokens=%d revoked_when_full=1010, then of 8 MiB more_tokens=%d", tokens, more)
}

// fillDisk takes all that a disk has left.
func fillDisk(t *testing.T, path string) {
	t.Helper()
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for block := make([]byte, 4096); err == nil; {
		_, err = file.Write(block)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
}
