// SPDX-License-Identifier: Apache-2.0

package store

import (
	"crypto/sha256"
	"encoding/binary"
	"time"
)

// The buckets of a file. Each value in them but the format ends with a
// checksum, since bbolt has none of its own for what it keeps. All numbers are
// big-endian, and all times milliseconds since 1970, rounded up.
//
//	records  issuer ‖ kind ‖ id  → version ‖ flags ‖ expires ‖ number ‖ length ‖ value
//	expiry   expires ‖ number    → key of the record
//	feed     issuer ‖ number     → id ‖ expires
//	meta     "format"            → number of the format
//	         "state"             → created ‖ complete since ‖ generation ‖ id
//
// Records are numbered as they are made, so that a transaction with many of
// them appends to the index and the feed, and does not write all over them.
//
// What a single fault takes from one bucket is still in another: the index has
// the key of each record, and the feed that of each revocation.
var (
	recordsBucket = []byte("records")
	expiryBucket  = []byte("expiry")
	feedBucket    = []byte("feed")
	metaBucket    = []byte("meta")
)

const (
	idSize        = sha256.Size
	timeSize      = 8
	numberSize    = 8
	recordKeySize = sha256.Size + 1 + idSize
	expiryKeySize = timeSize + numberSize
	feedKeySize   = sha256.Size + numberSize
	checksumSize  = 16
	storeIDSize   = 16
)

// seal appends the checksum to body. It covers the place too, so that a value
// counts nowhere else.
func seal(bucket, key, body []byte) []byte {
	sum := checksum(bucket, key, body)
	return append(body, sum[:]...)
}

// unseal returns the body of a value, or not ok if it is damaged or its key is.
func unseal(bucket, key, sealed []byte) (body []byte, ok bool) {
	if len(sealed) < checksumSize {
		return nil, false
	}
	body = sealed[:len(sealed)-checksumSize]
	return body, checksum(bucket, key, body) == [checksumSize]byte(sealed[len(body):])
}

// checksum is a truncated SHA-256: not against an attacker, who could make one
// as well, but as it is fast and nothing slips through it.
func checksum(bucket, key, body []byte) [checksumSize]byte {
	text := make([]byte, 0, 1024)
	text = append(append(append(text, bucket...), key...), body...)
	sum := sha256.Sum256(text)
	return [checksumSize]byte(sum[:])
}

// stored is a record as it is in the file.
type stored struct {
	used    bool
	expires uint64
	number  uint64
	value   []byte
}

const (
	recordVersion = 1
	flagUsed      = 1
	headerSize    = 1 + 1 + timeSize + numberSize + 4
)

// seal returns the record as the value under its key.
func (s stored) seal(key []byte) []byte {
	body := make([]byte, 2, headerSize+len(s.value)+checksumSize)
	body[0] = recordVersion
	if s.used {
		body[1] = flagUsed
	}
	body = binary.BigEndian.AppendUint64(body, s.expires)
	body = binary.BigEndian.AppendUint64(body, s.number)
	body = binary.BigEndian.AppendUint32(body, uint32(len(s.value)))
	return seal(recordsBucket, key, append(body, s.value...))
}

// unsealRecord returns the record under key, or not ok if it is damaged. Its
// value is a part of sealed.
func unsealRecord(key, sealed []byte) (s stored, ok bool) {
	body, ok := unseal(recordsBucket, key, sealed)
	if !ok || len(body) < headerSize || body[0] != recordVersion || body[1]&^flagUsed != 0 {
		return stored{}, false
	}
	s = stored{
		used:    body[1]&flagUsed != 0,
		expires: binary.BigEndian.Uint64(body[2:]),
		number:  binary.BigEndian.Uint64(body[2+timeSize:]),
		value:   body[headerSize:],
	}
	return s, uint64(binary.BigEndian.Uint32(body[headerSize-4:])) == uint64(len(s.value))
}

func recordKey(k Key) []byte {
	key := make([]byte, 0, recordKeySize)
	key = append(append(key, k.Issuer[:]...), byte(k.Kind))
	return append(key, k.ID[:]...)
}

// kindOf returns the kind in a record's key.
func kindOf(key []byte) Kind { return Kind(key[sha256.Size]) }

func (s stored) place() []byte {
	place := binary.BigEndian.AppendUint64(make([]byte, 0, expiryKeySize), s.expires)
	return binary.BigEndian.AppendUint64(place, s.number)
}

// sealPlace returns the value of a place in the index, for the record with key.
func sealPlace(place, key []byte) []byte {
	return seal(expiryBucket, place, append(make([]byte, 0, recordKeySize+checksumSize), key...))
}

// unsealPlace returns the key of the record at a place. It may be a wrong one
// if it is not intact, and nil.
func unsealPlace(place, sealed []byte) (key []byte, intact bool) {
	_, intact = unseal(expiryBucket, place, sealed)
	if len(sealed) != recordKeySize+checksumSize {
		return nil, false
	}
	return sealed[:recordKeySize], intact
}

// feedKey takes an issuer, alone or at the beginning of a record's key.
func feedKey(issuer []byte, number uint64) []byte {
	key := append(make([]byte, 0, feedKeySize), issuer[:sha256.Size]...)
	return binary.BigEndian.AppendUint64(key, number)
}

// listed is an entry of the feed.
type listed struct {
	id      [idSize]byte
	expires uint64
}

func (l listed) seal(key []byte) []byte {
	body := append(make([]byte, 0, idSize+timeSize+checksumSize), l.id[:]...)
	return seal(feedBucket, key, binary.BigEndian.AppendUint64(body, l.expires))
}

func unsealListed(key, sealed []byte) (l listed, ok bool) {
	body, ok := unseal(feedBucket, key, sealed)
	if !ok || len(body) != idSize+timeSize {
		return listed{}, false
	}
	return listed{[idSize]byte(body), binary.BigEndian.Uint64(body[idSize:])}, true
}

// state is what a file says of itself.
type state struct {
	created    time.Time
	since      time.Time // when its revocations begin to be complete
	generation uint64
	id         [storeIDSize]byte
}

func (s state) seal() []byte {
	var body []byte
	body = binary.BigEndian.AppendUint64(body, uint64(s.created.UnixNano()))
	body = binary.BigEndian.AppendUint64(body, uint64(s.since.UnixNano()))
	body = binary.BigEndian.AppendUint64(body, s.generation)
	return seal(metaBucket, stateKey, append(body, s.id[:]...))
}

func unsealState(sealed []byte) (s state, ok bool) {
	body, ok := unseal(metaBucket, stateKey, sealed)
	if !ok || len(body) != 3*8+storeIDSize {
		return state{}, false
	}
	return state{
		created:    time.Unix(0, int64(binary.BigEndian.Uint64(body))),
		since:      time.Unix(0, int64(binary.BigEndian.Uint64(body[8:]))),
		generation: binary.BigEndian.Uint64(body[16:]),
		id:         [storeIDSize]byte(body[24:]),
	}, true
}

var (
	formatKey = []byte("format")
	stateKey  = []byte("state")
)

// format is the number of the layout of all this. A file with a higher one was
// written by a version that knows better.
const format = 1

// milliseconds is the time as a file has it. A time before 1970 has passed,
// and counts as 0.
func milliseconds(t time.Time) uint64 {
	ms := t.UnixMilli()
	if t.Nanosecond()%int(time.Millisecond) != 0 {
		ms++
	}
	return uint64(max(ms, 0))
}

func timeOf(ms uint64) time.Time { return time.UnixMilli(int64(ms)) }

// expired says whether a time in the file has passed.
func expired(ms uint64, now time.Time) bool { return !now.Before(timeOf(ms)) }
