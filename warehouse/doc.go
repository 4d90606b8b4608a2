// Package warehouse stores the rows of tenants. It owns the data folder: the file of the control database, whose
// content package control owns, one DuckDB file per tenant, the quarantine, and the published Parquet files of the
// lake. It merges incoming rows, serves pages, the change feed and snapshots, and publishes changes. It also owns the
// kinds of errors that the whole program uses.
//
// It never reads a source, speaks HTTP or prints.
//
// One process owns a data folder. Tenants share one DuckDB instance with one memory limit and one thread pool. Each
// tenant's file is attached on demand as a database of its own. Every connection of a tenant has this database as its
// default, so no statement needs a tenant condition that could be forgotten.
//
// # Wrong bytes
//
// The file verifier opens published files. It compares their length at every open and their SHA-256 at the first open
// of each inode. [Warehouse.Scrub] reads all of them again from the disk, when its caller wants it. A damaged file is a
// [Condition], and is published again. DuckDB compares the checksums of the blocks of stores.
//
// # Goroutines
//
// Goroutines end before the method that started them returns, with three exceptions. The last waiting caller cancels
// the build of a DuckDB export (see [Warehouse.OpenDatabase]). The checkpointer, which bounds the memory of changes in
// WALs, runs from Open to Close. The healer has a goroutine for each database or folder with a failed write, until
// writing works again.
//
// # Lock order
//
// A goroutine takes locks in this order, and several locks of the same kind in the order of the tenants' ids:
//
//   - the lock of erasures, held by one erasure, deletion of a tenant or run of the retention
//   - the lock draining, held while the file of one tenant is detached to be replaced; its holder uses no store
//   - the publishing lock of a tenant
//   - the writing lock of a tenant, held from the comparison with existing rows to the commit
//   - the lock of the tenant pool, which is held for changes of its maps only
//
// The lock of the pool is never held during ATTACH or DETACH. An open of a tenant whose DETACH is under way waits for
// that DETACH without the lock of the pool. The goroutine that detaches needs no lock of a tenant, so this wait ends
// even if the waiting goroutine holds locks of other tenants.
//
// The checkpointer holds the writing lock of one tenant during its CHECKPOINT, and no other lock. A merge waits for the
// checkpointer before it takes the first lock.
//
// The gate of the list of erased identities is held for one write of refused rows, or while the list grows; within it,
// only the locks of the quarantine are taken. The other locks of this package are held alone. Package control has the
// locks of keys and of the request log.
package warehouse
