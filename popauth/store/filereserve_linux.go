// SPDX-License-Identifier: Apache-2.0

package store

import (
	"errors"
	"os"
	"syscall"
)

// reserveBlocks makes a file that large, and the disk give all blocks from
// there on, those of holes too. Nothing is written for that, but where the file
// system knows no other way.
func reserveBlocks(file *os.File, from, size int64) error {
	for {
		err := syscall.Fallocate(int(file.Fd()), 0, from, size-from)
		switch {
		case err == nil:
			return file.Sync()
		case errors.Is(err, syscall.EINTR):
		case errors.Is(err, errors.ErrUnsupported):
			return writeZeros(file, size)
		default:
			return os.NewSyscallError("fallocate", err)
		}
	}
}
