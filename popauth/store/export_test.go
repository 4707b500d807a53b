// SPDX-License-Identifier: Apache-2.0

package store

// Held counts the records that are in memory, and the places in the feeds.
func (m *Memory) Held() (records, listed int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, j := range m.feeds {
		listed += len(j.records)
	}
	return len(m.records), listed
}
