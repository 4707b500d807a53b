// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package store

// networkFileSystem can't tell on this system.
func networkFileSystem(string) string { return "" }
