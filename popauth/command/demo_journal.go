// SPDX-License-Identifier: Apache-2.0

package command

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"
)

// journal reads the servers' log while it is being written.
type journal struct {
	file string
	at   int64 // what is before has been read
}

// entry is what interests us of a log line.
type entry struct {
	Logger string `json:"logger"`
	Reason string `json:"reason"`
}

// skip makes next look only at what is written from now on.
func (j *journal) skip() error {
	info, err := os.Stat(j.file)
	if err != nil {
		return err
	}
	j.at = info.Size()
	return nil
}

// reason waits for the next refusal by pop_auth and returns its reason.
func (j *journal) reason(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		e, found, err := j.next()
		if err != nil {
			return "", fmt.Errorf("reading the log: %w", err)
		}
		if found {
			return e.Reason, nil
		}
		select {
		case <-ctx.Done():
			return "nothing in the log", nil
		case <-tick.C:
		}
	}
}

// next reads on to the next refusal. A line that is not ended yet is left for
// the next time.
func (j *journal) next() (entry, bool, error) {
	f, err := os.Open(j.file)
	if err != nil {
		return entry{}, false, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.NewSectionReader(f, j.at, 1<<30))
	if err != nil {
		return entry{}, false, err
	}
	for {
		line, rest, ended := bytes.Cut(text, []byte("\n"))
		if !ended {
			return entry{}, false, nil
		}
		j.at += int64(len(line)) + 1
		text = rest
		var e entry
		if json.Unmarshal(line, &e) == nil && e.Logger == "http.handlers.pop_auth" && e.Reason != "" {
			return e, true, nil
		}
	}
}
