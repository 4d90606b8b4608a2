// Package values reads single values of incoming rows: times, numbers and transcripts in the spellings that exports,
// data frames and other programs use.
//
// Each function depends on its argument only. It uses no clock, no locale and no state, so a value means the same in
// every row, format and batch. The package reads and writes no files, except the time zone database.
package values
