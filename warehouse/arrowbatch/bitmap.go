package arrowbatch

import (
	"encoding/binary"
	"math/bits"
)

// bitmap has a bit for each value, the least significant bit of a byte first, and zeros past the last. A nil bitmap
// has all bits set.
type bitmap []byte

const (
	wordBits = 64
	allOnes  = ^uint64(0)
)

func newBitmap(n int) bitmap { return make(bitmap, bytesForBits(n)) }

func bytesForBits(n int) int { return (n + 7) / 8 }

func (b bitmap) has(i int) bool { return b == nil || b[i/8]>>(i%8)&1 == 1 }

// set sets the bits from from to before to.
func (b bitmap) set(from, to int) {
	for i := from; i < to; i++ {
		b[i/8] |= 1 << (i % 8)
	}
}

// word returns the 64 bits from i on, a multiple of 64. Bits past the last are zero.
func (b bitmap) word(i int) uint64 {
	rest := b[i/8:]
	if len(rest) >= 8 {
		return binary.LittleEndian.Uint64(rest)
	}
	var word [8]byte
	copy(word[:], rest)
	return binary.LittleEndian.Uint64(word[:])
}

// and clears the bits that are not set in other, which has the same length.
func (b bitmap) and(other bitmap) {
	for i, bits := range other {
		b[i] &= bits
	}
}

// end clears the bits from n on.
func (b bitmap) end(n int) {
	if n%8 != 0 {
		b[n/8] &= 1<<(n%8) - 1
	}
}

// count returns how many bits are set.
func (b bitmap) count() (set int) {
	for i := 0; i < len(b)*8; i += wordBits {
		set += bits.OnesCount64(b.word(i))
	}
	return set
}

// ones returns how many of n bits are set.
func (b bitmap) ones(n int) int {
	if b == nil {
		return n
	}
	return b.count()
}

// eachHidden calls f for each of n bits that is zero.
func (b bitmap) eachHidden(n int, f func(i int)) {
	for from := 0; from < n && b != nil; from += wordBits {
		for hidden := ^b.word(from); hidden != 0; hidden &= hidden - 1 {
			i := from + bits.TrailingZeros64(hidden)
			if i >= n {
				break
			}
			f(i)
		}
	}
}

// repeated returns a bitmap with each of n bits size times.
func (b bitmap) repeated(n, size int) bitmap {
	if b == nil {
		return nil
	}
	all := newBitmap(n * size)
	for i := range n {
		if b.has(i) {
			all.set(i*size, (i+1)*size)
		}
	}
	return all
}
