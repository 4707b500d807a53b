// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"bytes"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/popauth/caddy-popauth/popauth/store"
)

func firstPutWins(t *testing.T, f fixture) {
	if !f.put(t, token("1"), "first", life) {
		t.Error("the first put did not win")
	}
	if f.put(t, token("1"), "second", 2*life) {
		t.Error("the second put won")
	}
	f.want(t, token("1"), "first")
	f.clock.Advance(life + time.Second)
	f.wantNone(t, token("1")) // the loser must not have prolonged it
}

func differentKeys(t *testing.T, f fixture) {
	keys := []store.Key{token("1"), token("2"), revocation("1"), key("a", store.KindAssertion, "1"), key("b", store.KindToken, "1")}
	for i, k := range keys {
		f.wantNone(t, k)
		if !f.put(t, k, strconv.Itoa(i), life) {
			t.Errorf("key %d: the put did not win", i)
		}
	}
	if !f.consume(t, keys[0]) {
		t.Error("the first consume was not first")
	}
	for i, k := range keys {
		f.want(t, k, strconv.Itoa(i))
		if i > 0 && !f.consume(t, k) {
			t.Errorf("key %d was used by consuming another", i)
		}
	}
}

func ownValues(t *testing.T, f fixture) {
	value := []byte("value")
	if _, err := f.PutIfAbsent(t.Context(), revocation("1"), value, f.clock.Now().Add(life)); err != nil {
		t.Fatal(err)
	}
	value[0] = 'X'
	got, _, err := f.Get(t.Context(), revocation("1"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, []byte("value")) {
		t.Fatalf("Get = %q, want the value that was put", got)
	}
	got[0] = 'Y'
	all, _ := f.feed(t, "a", 0)
	if len(all) != 1 || string(all[0].Value) != "value" {
		t.Fatalf("feed = %v, want the value that was put", all)
	}
	all[0].Value[0] = 'Z'
	f.want(t, revocation("1"), "value")

	if !f.put(t, token("empty"), "", life) {
		t.Error("the put of an empty value did not win")
	}
	f.want(t, token("empty"), "")
}

func expiry(t *testing.T, f fixture) {
	f.put(t, token("1"), "value", 90*time.Second+500*time.Millisecond)
	f.clock.Advance(90*time.Second + 499*time.Millisecond)
	f.want(t, token("1"), "value")
	if f.put(t, token("1"), "other", life) {
		t.Error("a put won before the expiry")
	}
	f.clock.Advance(time.Second + time.Millisecond)
	f.wantNone(t, token("1"))
	if f.consume(t, token("1")) {
		t.Error("an expired record was consumed")
	}
	if !f.put(t, token("1"), "new", life) {
		t.Error("a put after the expiry did not win")
	}
	f.want(t, token("1"), "new")
}

func expiredPut(t *testing.T, f fixture) {
	for _, life := range []time.Duration{0, -time.Second, -100 * 365 * 24 * time.Hour} {
		if f.put(t, token("1"), "value", life) {
			t.Errorf("a put with an expiry of %v from now won", life)
		}
		f.wantNone(t, token("1"))
	}
	if !f.put(t, token("1"), "value", life) {
		t.Error("the first put that could be kept did not win")
	}
}

func consumeOnce(t *testing.T, f fixture) {
	f.put(t, token("1"), "value", life)
	for n := range 3 {
		if got, want := f.consume(t, token("1")), n == 0; got != want {
			t.Errorf("consume %d: first = %v, want %v", n, got, want)
		}
	}
}

func consumeNothing(t *testing.T, f fixture) {
	if f.consume(t, token("1")) {
		t.Error("what does not exist was consumed")
	}
	if !f.put(t, token("1"), "value", life) {
		t.Error("consuming nothing left a record")
	}
	if !f.consume(t, token("1")) {
		t.Error("consuming nothing left a mark")
	}
}

func consumedStays(t *testing.T, f fixture) {
	f.put(t, token("1"), "value", life)
	f.consume(t, token("1"))
	f.want(t, token("1"), "value")
	if f.put(t, token("1"), "other", life) {
		t.Error("a put won on a consumed record")
	}
	f.clock.Advance(life + time.Second)
	if !f.put(t, token("1"), "other", life) || !f.consume(t, token("1")) {
		t.Error("the mark outlived the record")
	}
}

// race counts how many of 32 concurrent calls return true.
func race(t *testing.T, call func() (bool, error)) int32 {
	t.Helper()
	var wins atomic.Int32
	var wg sync.WaitGroup
	begin := make(chan struct{})
	for range 32 {
		wg.Go(func() {
			<-begin
			won, err := call()
			if err != nil {
				t.Errorf("racing: %v", err)
			}
			if won {
				wins.Add(1)
			}
		})
	}
	close(begin)
	wg.Wait()
	return wins.Load()
}

func concurrentPuts(t *testing.T, f fixture) {
	for n := range 20 {
		k := key("a", store.KindAssertion, strconv.Itoa(n))
		if got := race(t, func() (bool, error) {
			return f.PutIfAbsent(t.Context(), k, nil, f.clock.Now().Add(life))
		}); got != 1 {
			t.Errorf("%d of 32 concurrent puts won, want 1", got)
		}
	}
}

func concurrentConsumes(t *testing.T, f fixture) {
	for n := range 20 {
		k := token(strconv.Itoa(n))
		f.put(t, k, "", life)
		if got := race(t, func() (bool, error) { return f.Consume(t.Context(), k) }); got != 1 {
			t.Errorf("%d of 32 concurrent consumes were first, want 1", got)
		}
	}
}
