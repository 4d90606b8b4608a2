// Package filereader reads Parquet and Arrow files of unknown origin in a child process that may crash.
//
// Parsers of these formats trust the lengths, offsets and nesting that a file declares. A hostile file can crash a
// parser, or make it take all memory or CPU time. The server's process therefore parses no such file. [Open] starts
// this program again as a file reader (see [Run]), which inherits the file as an open descriptor. The child limits
// its own memory and CPU time and confines itself with package sandbox. Then it writes the rows to a pipe as NDJSON,
// in the order of the file. The parent treats these lines like NDJSON of unknown origin. A child under the control of
// an attacker can therefore do no more than a push of NDJSON.
//
// The package owns the limits of such a file ([MaxDepth], [MaxColumns], [Memory], [TimeFor]) and the texts of their
// errors. It never types or refuses rows, and does not know tenants. It starts no goroutines that outlive [Rows.Close]
// or [Session.Close].
package filereader
