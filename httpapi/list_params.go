package httpapi

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/voicory/warehouse/httpapi/internal/web"
	"github.com/voicory/warehouse/warehouse/schema"
)

const (
	defaultLimit = 25
	maxLimit     = 100
	// maxPage keeps page × limit below 2^53, which JSON numbers hold exactly. No list is that long.
	maxPage = 1 << 46
)

// listParams holds the parameters of a list.
type listParams struct {
	page, limit int64
	cursor      string // "": not given
	since       *int64 // commit after which a feed starts; nil: a list
	total       bool
	filter      schema.Filter
}

// parameters are the query parameters of lists and streams. The log shows their values and hides those of all
// others.
var parameters = slices.Concat(
	[]string{"page", "limit", "cursor", "since", "include_total", "format", "columns", "bom", "escape_formulas"},
	schema.Calls.Filters(), schema.Customers.Filters(), schema.Messages.Filters())

// parseListParams returns the parameters of a list. Invalid values of page and limit are replaced by the nearest
// valid one or by the default, as documented. An invalid filter returns INVALID_FILTER. Filters that the dataset
// does not have are ignored.
func parseListParams(raw string, dataset schema.Dataset) (q listParams, err error) {
	values, err := parseParams(raw, append(dataset.Filters(), "page", "limit", "cursor", "since", "include_total"), false)
	if err != nil {
		return q, err
	}
	q.page = parseCount(values.Get("page"), 1, maxPage)
	q.limit = parseCount(values.Get("limit"), defaultLimit, maxLimit)
	if n, err := strconv.Atoi(values.Get("limit")); err == nil && n == 0 {
		q.limit = defaultLimit
	}
	q.cursor = values.Get("cursor")
	total, parseErr := strconv.ParseBool(values.Get("include_total"))
	q.total = total || parseErr != nil
	if since := values.Get("since"); since != "" {
		seq, err := strconv.ParseInt(since, 10, 64)
		if err != nil || seq < 0 {
			return q, invalidFilter("since", "is not a whole number from 0 on")
		}
		q.since = &seq
	}
	q.filter, err = parseFilter(values, dataset, time.UTC)
	return q, err
}

// parseFilter returns the filter of the dataset's list. Times without a zone are in zone.
func parseFilter(values url.Values, dataset schema.Dataset, zone *time.Location) (schema.Filter, error) {
	filter, err := dataset.ParseFilter(values.Get, zone)
	if wrong := (*schema.FilterError)(nil); errors.As(err, &wrong) {
		return filter, invalidFilter(wrong.Name, wrong.Fault)
	}
	return filter, err
}

func invalidFilter(name, fault string) *web.Problem {
	return &web.Problem{Status: http.StatusBadRequest, Code: "INVALID_FILTER",
		Message: fmt.Sprintf("The filter %s %s", name, fault)}
}

// parseCount returns the whole number in text, limited to the range from 1 to most, or fallback if text is not a
// number.
func parseCount(text string, fallback, most int64) int64 {
	n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	if err != nil && n == 0 { // out of range, n is the largest number of that sign
		return fallback
	}
	return min(max(n, 1), most)
}
