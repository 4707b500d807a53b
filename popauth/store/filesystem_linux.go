// SPDX-License-Identifier: Apache-2.0

package store

import "syscall"

// networkFileSystem returns the name of the network file system that a
// directory is on, or nothing if it is on none that is known.
func networkFileSystem(directory string) string {
	var s syscall.Statfs_t
	if syscall.Statfs(directory, &s) != nil {
		return ""
	}
	// statfs(2)
	switch uint32(s.Type) {
	case 0x6969:
		return "nfs"
	case 0x517b, 0xff534d42, 0xfe534d42:
		return "smb"
	}
	return ""
}
