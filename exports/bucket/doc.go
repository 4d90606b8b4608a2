// Package bucket replicates the tables of all tenants to a bucket of an object store with the API of S3.
//
// The objects of a table are below <prefix>/<tenant>/<export>. data/ has the published Parquet files, and metadata/ has
// the metadata of the current snapshot as [iceberg.Tables.Objects] returns it. The names of these objects contain
// digests of their contents. They are created with If-None-Match and never change. metadata/version-hint.text is the
// pointer of the table: it names the metadata of the current snapshot, and is replaced with If-Match. It is written
// after all objects that it leads to. So a crash at any moment leaves a table that can be read, and objects that no
// pointer leads to.
//
// A [Replicator] compares the manifest of published files with the objects of a tenant whenever the manifest has
// changed. It keeps no state that a restart must find again. Publications never wait for it. Objects that the current
// snapshot does not name are removed after one hour. If the history of the table was ended by an erasure or a
// retention, they are removed at once, as are all objects of a deleted tenant.
//
// The package never writes files of the data folder. [Replicator.Run] starts one goroutine for each of at most
// maxTenants tenants that are replicated at a time, and maxUploads for each of them. Fields of Replicator that several
// goroutines use are guarded by its lock, which is not held during requests.
package bucket
