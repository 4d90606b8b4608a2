// Package filereader reads Parquet and Arrow files of unknown origin in a child process that may die.
//
// Parsers of these formats trust what a file claims of itself: lengths, offsets, nesting. A hostile file can therefore crash one, or make
// it take all memory or time. So no such file is parsed in the server's process. [Open] starts this program again as a file reader (see
// [Run]), which inherits the file as an open descriptor, limits its own memory and processor time, confines itself with package sandbox
// and then writes the rows to a pipe as NDJSON, one JSON object a line in the order of the file. The parent reads these lines like NDJSON
// of unknown origin. A child that an attacker has taken over can therefore do no more than a push of NDJSON could.
//
// The package owns the limits of such a file ([MaxDepth], [MaxColumns], [Memory], [TimeFor]) and the words for a file that exceeds one.
// It does not type or refuse rows, and knows nothing of tenants.
package filereader
