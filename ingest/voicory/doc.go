// Package voicory owns what is peculiar about pulling the rows of one tenant from the Voicory API: its pages, its limits and
// its faults.
//
// # How a listing is read
//
// The API sorts a listing by created_at, newest first, bounds it by from and to, both inclusive, and numbers its pages. Pages
// by number slip: a row that is inserted or deleted above moves all others. So each request asks for page 1 of the rows created
// no later than the oldest one read so far; whatever happens above that bound cannot move what is below. Times are shown in
// milliseconds and may be kept finer, therefore the bound is one millisecond later than the oldest row, and the rows of that
// time are read twice: about one in a hundred. The first request has no upper bound, so that no clock can hide the newest rows.
//
// More rows in one millisecond than fit on a page (an import in one transaction) are a knot, which has to be read by page numbers.
// Where the API sorts rows of one time by id, each page is chosen to begin with a row that has been read: what follows it there
// cannot have a gap before it. Where it keeps them in no order, the rows of that millisecond alone are read, and again until as
// many are known as the API counts, before and after; that is one step, which an interruption begins anew, and the one place
// where a row could hide: if another is deleted from that millisecond and yet another added to it between the same two requests.
//
// # What a pass finds, and what it cannot
//
// A pass reads everything created since the one before and, again, the window before that: costs, transcripts and statuses
// are written late and show in no filter. Time is told by the rows: a pass has come as far as the newest created_at it saw, or
// the API's own Date if that is earlier, so that neither a clock that differs nor a row from the future opens a gap. Rows that
// appear later than the window with an older created_at, and changes to calls and messages older than it, are not seen.
//
// Customers are edited at any age, and updated_at is no filter, so that all customers are read again from time to time: at
// most once an hour, and for no more than a tenth of the time. An edit of an old customer shows up that late.
//
// Rows that are deleted upstream stay: the API does not tell, and a source does not know which rows there are.
//
// # Details
//
// stt_minutes and tts_characters are only in the details of a call, at one request each. Those of the window are asked for
// first, newest first, and again when the listed row has changed or the process is a new one; then, with a cursor of their own,
// those of older calls: every call once more when it has left the window. Wherever they take long, passes go on in between.
//
// # Pace
//
// A request counts at the moment it arrives, which lies between sending it and the first byte of its answer. A request that is
// sent a whole window after the answer to the tenth, or sixtieth, before it cannot be one too many, however the network
// jitters; that costs one round trip a minute and next to nothing else. A token bucket would let a burst through that a sliding
// window refuses. The state says when the last requests were made, so that a process that follows another within a minute keeps
// its distance; of requests by others the headers tell. Where answers name no limits there are none.
package voicory
