// SPDX-License-Identifier: Apache-2.0

package store

import (
	"os"
	"syscall"
	"testing"
)

// FailWrites makes all writing to the file fail until heal is called, and
// reading go on.
func (f *File) FailWrites(t testing.TB) (heal func()) {
	t.Helper()
	readOnly, err := os.Open(f.space.file.Name())
	if err != nil {
		t.Fatal(err)
	}
	defer readOnly.Close()
	fd := int(f.space.file.Fd())
	saved, err := syscall.Dup(fd)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Dup3(int(readOnly.Fd()), fd, syscall.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := syscall.Dup3(saved, fd, syscall.O_CLOEXEC); err != nil {
			t.Error(err)
		}
		_ = syscall.Close(saved)
	}
}
