// Package erasure recognizes the customers that were erased. It owns the form of their entries in the journal, the
// salted hashes in these entries, and the search for an erased id or phone number in a text.
//
// It never stores an id or a number in the clear, and never reads or changes a store. Package warehouse erases.
//
// It starts no goroutine. A list has one lock, which is held for one look-up or change.
package erasure
