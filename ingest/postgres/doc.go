// Package postgres reads the rows of all tenants from the platform's own PostgreSQL database: [Source].
//
// It reads only the tables listed in this package, and writes nothing. Of the warehouse it uses the names of the
// datasets and the types of keys. A Source runs one pull at a time, in the goroutine of its caller, and holds no locks.
//
// # One pull is one transaction
//
// A pull is a read-only transaction with one snapshot (REPEATABLE READ), which also works on a replica. It reads, in
// this order, the API keys, the customers that were deleted, the customers, the calls and the messages. It ends with
// the time from which the next pull continues. A pull that fails is repeated as a whole; the merge recognises rows that
// it has already stored.
//
// # Order and paging
//
// A server-side cursor over (user_id, created_at, id) is fetched page by page. A batch of rows therefore holds few
// tenants, and the server keeps the position. Asking for the rows after a key instead needs an index on exactly that
// key, or else the server sorts the table again for each page; no known deployment has such an index. With an index on
// user_id alone, the cursor starts at once and sorts one tenant at a time. Without any index the server sorts once.
//
// # Incremental pulls
//
// A pull reads the rows that were created or updated since the last pull began, and those of the window before that (72
// hours by default). The window covers changes without a new updated_at, such as costs and transcripts that are written
// later, and messages, which have no updated_at. It also covers rows committed later than their time, so it must be
// longer than the longest writing transaction. The lower bound is inclusive: equal times are read twice rather than
// missed. If a deployment has a column that was missing before, everything is read again.
//
// # Rows become JSON
//
// PostgreSQL returns plain columns. This package writes the JSON around them, straight from the connection's buffer.
// JSON and numbers are copied, texts are escaped, and times are in UTC. Letting PostgreSQL build the JSON (row_to_json)
// costs the server about as much again as reading the rows.
//
// # Deleted customers
//
// The platform deletes customers without a trace. The customers that the warehouse has ([Options.Known]) are therefore
// compared with those in the database, both sorted and page by page. A customer that is missing in the database is
// emitted as deleted, even if it was loaded from another source. The deletion is inferred: a row that the database has
// is alive, so a customer that comes back is read again whatever its times are. Customers of a tenant that the database
// does not know are never emitted as deleted, so that an empty database deletes nothing. If more customers are missing
// than [Options.MaxDeleted] allows, the pull fails before it emits anything. Rows hidden by row level security would
// look deleted; therefore it is an error if there are any.
//
// # Rows that change their tenant
//
// Each row has one owner. The warehouse removes a row from its former tenant when the row arrives for another one
// (ingest.Portion.MovedBefore). Messages have no column of their own that changes with their tenant. The state
// therefore holds the tenant of each WhatsApp number, and all messages of a number that changed its tenant are read
// again.
//
// # Deployments differ
//
// The columns are inspected first. Ids may be of the type uuid or text, and types may be domains. A column that is
// missing, not readable, or of an unsuitable type is reported ([Source.Missing]) and read as NULL. The same applies to
// a table if the other tables are of use without it. It is an error if the table of a dataset exists and its rows
// cannot be read. It is also an error if a table that an earlier pull read is missing. Columns that are not read are
// named once ([Source.Unread]).
//
// # What a call costs
//
// The cost of a call is what the customer is charged: credits_charged of call_costs, each 0.01 USD, or the cost of the
// call, or total_cost of call_costs. Columns whose names end in _usd are costs of the platform's providers. They are
// read for the cost_breakdown only.
//
// # No wait is endless
//
// A statement waits for a lock for at most 30 seconds and takes at most 15 minutes, unless the DSN, the user or the
// server sets other timeouts. The error names the table and the remedy.
package postgres
