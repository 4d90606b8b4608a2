// Package backup keeps copies of data folders, in a folder or in one archive file.
//
// It owns the form of a backup: content-addressed objects, one manifest per backup, and the newest journal beside them.
// It never opens a database and knows nothing of the files that it keeps except their paths. Package warehouse decides
// which files are copied, in which state, and uses the files of a restore.
//
// # Folder
//
//	voicory-backup.json           mark
//	journal.ndjson                journal of the data folder, newer than every single backup
//	backups/<name>.json           manifest of a backup, with a checksum
//	objects/<2 digits>/<sha256>   content of a file
//	lock                          held by the process that writes a backup or removes one
//
// An object is written under a temporary name, synced, read back, and renamed. A manifest is written after the objects
// that it names are synced. So a process that is killed leaves all earlier backups whole, and the next backup uses the
// objects that are there.
//
// # Archive
//
// A file whose name ends in .tar or .tar.zst holds one backup: the files by their paths, the journal, and the manifest
// as the last entry. It replaces a file of that name when it is complete and was read back.
//
// The package starts no goroutine. It holds a lock of the file system on the folder while it writes.
package backup
