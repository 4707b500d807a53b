// SPDX-License-Identifier: Apache-2.0

package popauth

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// TestMain gives the tests a data directory of their own, and sees to it that
// only those that say so put a store there.
func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "popauth")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if err := os.Setenv("XDG_DATA_HOME", dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := m.Run()
	if left, err := filepath.Glob(filepath.Join(dir, "*", "popauth", "*.db")); err != nil || len(left) > 0 {
		fmt.Fprintf(os.Stderr, "a test put a store into the data directory: %v, %v\n", left, err)
		return 1
	}
	return code
}
