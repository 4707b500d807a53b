// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bufio"
	"os"
	"testing"
)

// TestDemoLeavesNothingBehindInAPipe is `caddy pop demo | head -3`.
func TestDemoLeavesNothingBehindInAPipe(t *testing.T) {
	t.Parallel()
	s := &server{dir: t.TempDir()}
	tmp := t.TempDir()
	cmd := s.command(t.Context(), "pop", "demo")
	cmd.Env = append(cmd.Env, "TMPDIR="+tmp)
	story, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// not after the first lines: all of the story fits into the pipe, and the demo
	// may be over by then
	await(t, "the folder of the demo", func() bool {
		during, err := os.ReadDir(tmp)
		return err == nil && len(during) > 0
	})
	lines := bufio.NewScanner(story)
	for range 3 {
		if !lines.Scan() {
			t.Fatalf("the story is too short: %v", lines.Err())
		}
	}
	story.Close()
	_ = cmd.Wait() // it fails, unless all of the story fitted into the pipe before
	if left, err := os.ReadDir(tmp); err != nil || len(left) > 0 {
		t.Errorf("%v (%v) is left behind, want nothing", left, err)
	}
}
