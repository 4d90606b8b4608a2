// Package postgres is the source that reads all tenants in one pass from the platform's own database: [Source].
//
// A pass is one read-only transaction with one snapshot (REPEATABLE READ), which a replica serves as well. It takes, in this order,
// the API keys, the customers, the customers that were deleted, the calls and the messages, and ends with the time from which the
// next pass goes on. A pass that fails is repeated as a whole: the merge tells rows that it has.
//
// # Order, and how rows are paged
//
// A server-side cursor over (user_id, created_at, id) is fetched page by page, so that a batch of rows holds few tenants, and the
// server, not the client, keeps the place. Asking for "the next rows after this key" instead needs an index on just that key, or
// sorts the table again for each page, and no deployment is known to have one: an index on user_id alone lets the cursor begin at
// once and sort one tenant at a time, and without any the server sorts once.
//
// # What a next pass reads
//
// Rows that were created or updated since the last pass began, and in the window before that (72 hours unless told otherwise). The
// window catches what updated_at does not tell (costs and transcripts that are written back without it, messages, which have none)
// and what was committed later than its time says; it must be longer than the longest transaction that writes. The bound belongs
// to the window, so equal times are read twice rather than never. When a deployment has got a column that it lacked, everything is
// read again.
//
// # How rows become JSON
//
// PostgreSQL hands over plain columns, and this package writes the JSON around them, straight from the connection's buffer:
// documents and numbers as they stand, texts escaped, times in UTC. Having PostgreSQL build the JSON (row_to_json) costs the server
// about as much again as reading the rows does.
//
// # Deleted customers
//
// Customers are deleted from the platform's table without a trace. Those that the warehouse knows ([Options.Known]) are compared with
// those that are there, both in order and page by page; one that is there no more is handed out as deleted at the time of the
// snapshot. For the tenants of this database, it alone says which customers there are, also of those that came another way. Of a
// tenant that the database does not know at all, nothing is said to be deleted: an empty or a wrong database deletes nothing. And
// since rows that row level security hides would look deleted, it is an error if any are.
//
// # Deployments differ
//
// Columns are looked up first. One that is lacking, may not be read, or is of a type that cannot be meant, is named
// ([Source.Missing]) and null; so is a table without which the rest still makes sense. This package reads nothing else, writes
// nothing, and knows nothing of the warehouse but the names of the datasets and the types of key.
package postgres
