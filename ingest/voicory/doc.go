// Package voicory pulls the rows of one tenant from the Voicory API. It handles the API's pages, rate limits and
// faults.
//
// It never writes to the warehouse and never deletes a row. The caller of Source.Pull stores each portion together with
// its state. Pull reads the API in one goroutine of its own and hands the portions over in the caller's goroutine; it
// returns only after the former has ended. The mutexes of limiter and batchQueue are never held together.
//
// # How a listing is read
//
// The API sorts a listing by created_at, newest first, bounds it by from and to, both inclusive, and numbers its pages.
// Page numbers shift when a row is inserted or deleted above the page. Each request therefore asks for page 1 of the
// rows created no later than the oldest row read so far. Insertions and deletions above that bound cannot move the rows
// below it.
//
// The API shows times in milliseconds but may store them with a higher resolution. The bound is therefore one
// millisecond later than the oldest row, and the rows of that millisecond are read twice, about one row in a hundred.
// The first request has no upper bound, so that a wrong clock cannot hide the newest rows.
//
// Rows that share one millisecond and do not fit on a page form a tie, for example after an import in one transaction.
// A tie has to be read by page number. If the API sorts the rows of a tie by id, each page begins with a row that was
// already read. No row can then be missing between two pages. If the API does not sort them, the rows of that
// millisecond are read repeatedly. The readings end when the number of known ids equals the count of the API, both
// before and after one reading. They are one step, which starts again after an interruption. Only here can a row be
// missed: if, between the same two requests, another row of that millisecond is deleted and a third one inserted.
//
// # Passes
//
// A pass reads all rows created since the last pass. It also reads the window before that again, because costs,
// transcripts and statuses are written late and no filter finds such changes. Progress is measured by the rows: a pass
// is complete up to the newest created_at that it saw, or up to the API's Date header if that is earlier. Neither a
// wrong clock nor a row with a future time can therefore cause a gap. A pass does not find rows that appear later than
// the window with an older created_at, nor changes to calls and messages older than the window.
//
// Customers may be edited at any age, and the API has no filter for updated_at. All customers are therefore read again
// from time to time, at most once an hour and for at most a tenth of the time. An edit of an old customer arrives with
// that delay.
//
// Rows deleted upstream stay in the warehouse, because the API does not report deletions.
//
// # Details
//
// stt_minutes and tts_characters are only in the details of a call, which cost one request per call. Calls of the
// window are fetched first, newest first, and again if the listed row changed or the process restarted. Then, with a
// cursor of its own, each older call is fetched once more after it left the window. Passes continue in between.
//
// # Pace
//
// The API counts a request when it arrives, which is between sending it and receiving the first byte of the response. A
// request is sent a whole window after the response to the 10th (or 60th) request before it. It can therefore never
// exceed the limit, whatever the network delay, at a cost of about one round trip a minute. A token bucket would allow
// bursts that a sliding window refuses. The state holds the time of the last requests, so that a process that starts
// within a minute of another one keeps within the limits. Response headers report the requests of other clients. If
// responses have no rate limit headers, requests are not delayed.
//
// The platform also limits all requests of an address to 100 per 15 minutes, and does not say when the limit ends. A
// request that is refused without a time is repeated every minute. Such waits end after half an hour with ErrUpstream.
// They are not counted as faults.
package voicory
