package httpapi

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/warehouse"
)

const (
	defaultLimit = 25
	maxLimit     = 100
	// maxPage keeps page × limit within a JSON number; no list is that long.
	maxPage = 1 << 46
)

// listQuery is what a list was asked for.
type listQuery struct {
	page, limit int64
	cursor      string // "": none
	since       *int64 // nil: it is no feed that was asked for
	total       bool
	filter      warehouse.Filter
}

// parameters are all that lists and streams know.
var parameters = []string{"page", "limit", "cursor", "since", "include_total", "from", "to", "status", "direction", "assistant_id", "phone_number",
	"search", "source", "customer_id", "format", "columns", "bom", "escape_formulas"}

// parseListQuery reads the parameters of a list. page and limit are forgiving, as documented; a filter that cannot be
// understood is INVALID_FILTER; one the dataset does not have is not looked at.
func parseListQuery(raw string, dataset warehouse.Dataset) (q listQuery, err error) {
	values, err := url.ParseQuery(raw)
	if err != nil {
		return q, &problem{status: http.StatusBadRequest, code: "INVALID_FILTER", message: "The query is not properly escaped"}
	}
	q.page = parseCount(values.Get("page"), 1, maxPage)
	q.limit = parseCount(values.Get("limit"), defaultLimit, maxLimit)
	if n, err := strconv.Atoi(values.Get("limit")); err == nil && n == 0 {
		q.limit = defaultLimit
	}
	q.cursor = values.Get("cursor")
	total, parseErr := strconv.ParseBool(values.Get("include_total"))
	q.total = total || parseErr != nil
	fail := func(problem error) {
		if err == nil {
			err = problem
		}
	}
	text := func(name string) string {
		value := values.Get(name)
		if !utf8.ValidString(value) {
			fail(invalidFilter(name, "is not UTF-8"))
		}
		return value
	}
	id := func(name string) uuid.NullUUID {
		value := values.Get(name)
		if value == "" {
			return uuid.NullUUID{}
		}
		parsed, err := parseUUID(value)
		if err != nil {
			fail(invalidFilter(name, "is not a UUID"))
		}
		return uuid.NullUUID{UUID: parsed, Valid: true}
	}
	if since := values.Get("since"); since != "" {
		seq, parseErr := strconv.ParseInt(since, 10, 64)
		if parseErr != nil || seq < 0 {
			fail(invalidFilter("since", "is not a whole number from 0 on"))
		}
		q.since = &seq
	}
	if from := values.Get("from"); from != "" {
		var parseErr error
		if q.filter.From, _, parseErr = parseTime(from, time.UTC); parseErr != nil {
			fail(invalidFilter("from", "is not an ISO 8601 date or date-time"))
		}
	}
	if to := values.Get("to"); to != "" {
		var parseErr error
		if _, q.filter.Before, parseErr = parseTime(to, time.UTC); parseErr != nil {
			fail(invalidFilter("to", "is not an ISO 8601 date or date-time"))
		}
	}
	switch dataset.Name {
	case warehouse.Calls.Name:
		q.filter.Status, q.filter.Direction = text("status"), text("direction")
		q.filter.AssistantID, q.filter.PhoneNumber = id("assistant_id"), text("phone_number")
	case warehouse.Customers.Name:
		q.filter.Search, q.filter.Source = text("search"), text("source")
	case warehouse.Messages.Name:
		q.filter.Direction, q.filter.CustomerID, q.filter.PhoneNumber = text("direction"), id("customer_id"), text("phone_number")
	}
	return q, err
}

func invalidFilter(name, fault string) *problem {
	return &problem{status: http.StatusBadRequest, code: "INVALID_FILTER", message: fmt.Sprintf("The filter %s %s", name, fault)}
}

// parseCount reads a whole number; what is none gives the fallback, what is out of bounds the bound.
func parseCount(text string, fallback, most int64) int64 {
	n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	if err != nil && n == 0 { // out of range gives the largest number, with its sign
		return fallback
	}
	return min(max(n, 1), most)
}

// parseTime reads an ISO 8601 date or date-time, in the zone where it names none. before is where an inclusive upper bound
// ends: a date means its whole day, and a time its whole millisecond, which is all that answers show.
func parseTime(text string, zone *time.Location) (at, before time.Time, err error) {
	if strings.HasPrefix(text, "0000") {
		return at, at, errors.New("there is no year 0")
	}
	if day, err := time.Parse(time.DateOnly, text); err == nil {
		return startOfDay(day, zone), startOfDay(day.AddDate(0, 0, 1), zone), nil
	}
	// A plus sign that was not escaped in the URL arrives as a space.
	if n := len(text); n > 6 && text[n-6] == ' ' {
		text = text[:n-6] + "+" + text[n-5:]
	}
	for _, layout := range []string{
		"2006-01-02T15:04:05Z07:00", "2006-01-02T15:04:05", "2006-01-02 15:04:05Z07:00", "2006-01-02 15:04:05",
		"2006-01-02T15:04Z07:00", "2006-01-02T15:04", "2006-01-02T15:04:05Z0700",
	} { // fractions of a second are taken by each
		if at, err = time.ParseInLocation(layout, text, zone); err == nil {
			at = at.UTC()
			if at.Nanosecond()%int(time.Millisecond) != 0 {
				return at, at.Add(time.Microsecond), nil
			}
			return at, at.Add(time.Millisecond), nil
		}
	}
	return time.Time{}, time.Time{}, err
}

// startOfDay is when the day begins in the zone: at midnight, or, where clocks are set ahead then, at the first time after it. UTC.
func startOfDay(day time.Time, zone *time.Location) time.Time {
	at := time.Date(day.Year(), day.Month(), day.Day(), 0, 0, 0, 0, zone)
	for at.Day() != day.Day() {
		at = at.Add(15 * time.Minute)
	}
	return at.UTC()
}
