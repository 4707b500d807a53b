// SPDX-License-Identifier: Apache-2.0

package store

import "os"

// writeZeros makes a file larger by writing to it, so that the disk gives all
// of its blocks. What is there already is believed to have them.
func writeZeros(file *os.File, size int64) error {
	info, err := file.Stat()
	if err != nil {
		return err
	}
	zeros := make([]byte, 1<<20)
	for at := info.Size(); at < size; at += int64(len(zeros)) {
		if _, err := file.WriteAt(zeros[:min(int64(len(zeros)), size-at)], at); err != nil {
			return err
		}
	}
	return file.Sync()
}
