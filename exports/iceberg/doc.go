// Package iceberg presents the exports of a tenant as tables of Apache Iceberg, format version 2.
//
// A table consists of the published Parquet files, by reference. Its metadata is not stored. [Tables.Load] derives the
// history of a table from the manifest of published files. The metadata, manifest lists and manifests follow from that
// history and from the footers of the files. The same history always gives the same bytes under the same names, so a
// crash or a lost file cannot leave metadata that disagrees with the files. [Tables] keeps the statistics of footers
// and the latest manifests in memory.
//
// Each publication that changed the files of an export is one snapshot of its table. The identifier and the sequence
// number of a snapshot are the time of its publication in microseconds. A snapshot is listed while it is current, and
// for one hour after the next publication, as long as its files are kept.
//
// A [Union] is the table of an export with the rows of all tenants. It keeps its history in memory.
//
// The package never writes files, runs SQL or speaks HTTP. The lock of Tables guards its maps and is not held while a
// file is read. A Union starts goroutines that read the stores of tenants, and waits for them. Its lock is held until
// they are read.
package iceberg
