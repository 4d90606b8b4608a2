// Package journal keeps the facts of a data folder that must outlive the loss of any database file and the restore of
// any backup: API keys and their revocations, erased customers, deleted tenants, and the histories of tenants' files.
//
// It owns the form of the file: one JSON line per entry with a checksum, appended and synced, never changed. The
// control database has a second copy of the lines, and each of the two is completed from the other at the start.
// Package warehouse owns the place of the file, and the packages that append an entry own the content of its data. The
// package never interprets data and never removes an entry.
//
// It starts no goroutine. A journal has one lock, which is held during the write and the sync of an entry.
package journal
