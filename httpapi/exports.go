package httpapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/gorilla/mux"

	"github.com/voicory/warehouse/exports"
	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/schema"
)

// registerExports registers the endpoints for bulk readers: the list of exports, the database of all exports, and
// for each export its stream, its list of files, and its files.
func (a *api) registerExports(router *mux.Router) {
	a.get(router, exportsPath, a.withSecret(Requests, a.listExports))
	a.get(router, exportsPath+"/"+exports.DatabaseFile,
		a.admitted(access{secret: true, work: Files, limited: a.limitedFile}, a.database))
	a.get(router, exportsPath+"/{dataset}", a.withSecret(Streams, a.stream))
	a.get(router, exportsPath+"/{dataset}/files", a.withSecret(Requests, a.listFiles))
	fileAccess := access{secret: true, work: Files, authenticate: a.authenticateFile, limited: a.limitedFile}
	a.get(router, exportsPath+"/{dataset}/files/{name}", a.admitted(fileAccess, a.file))
}

const exportsPath = "/api/v1/exports"

type exportItem struct {
	Name        string           `json:"name"`
	Description string           `json:"description"`
	Columns     []columnItem     `json:"columns"`
	Rows        int64            `json:"rows"`
	Bytes       int64            `json:"bytes"`
	Months      []string         `json:"months"` // months with a file; empty if the export has one file for all
	AsOf        *moment          `json:"as_of"`  // of the newest file; nil: no files
	Formats     []exports.Format `json:"formats"`
}

type columnItem struct {
	Name        string  `json:"name"`
	Type        string  `json:"type"`
	Description string  `json:"description"`
	Unit        *string `json:"unit"`
	TimeZone    *string `json:"time_zone"`
	Nullable    bool    `json:"nullable"`
	Null        *string `json:"null"` // meaning of null
}

type fileItem struct {
	Month        *string `json:"month"` // nil if the export has one file for all months
	Name         string  `json:"name"`
	Rows         int64   `json:"rows"`
	Bytes        int64   `json:"bytes"`
	SHA256       string  `json:"sha256"`
	MinCreatedAt moment  `json:"min_created_at"`
	MaxCreatedAt moment  `json:"max_created_at"`
	AsOf         moment  `json:"as_of"`
	URL          string  `json:"url"`        // path on this server, with a signature if requested
	ExpiresAt    *moment `json:"expires_at"` // of the URL; nil: not signed
}

// moment is a time in the format of the API.
type moment time.Time

func (m moment) String() string { return time.Time(m).UTC().Format("2006-01-02T15:04:05.000Z") }

// MarshalJSON returns the time as a string in UTC, with milliseconds.
func (m moment) MarshalJSON() ([]byte, error) { return []byte(`"` + m.String() + `"`), nil }

// orNull returns a pointer to text, or nil if it is empty.
func orNull(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}

// listExports answers with all exports: their columns, and the totals of their published files.
func (a *api) listExports(w http.ResponseWriter, r *http.Request, key warehouse.Key) error {
	files, err := a.Store.PublishedFiles(r.Context(), key.Tenant)
	if err != nil {
		return err
	}
	var items []exportItem
	for _, export := range schema.Exports {
		item := exportItem{Name: export.Name, Description: export.Description,
			Months: []string{}, Formats: exports.Formats}
		for _, c := range export.Columns {
			item.Columns = append(item.Columns, columnItem{c.Name, c.Type, c.Description,
				orNull(c.Unit), orNull(c.TimeZone), c.Nullable(), orNull(c.Null)})
		}
		for _, file := range files {
			if file.Export != export.Name {
				continue
			}
			item.Rows += file.Rows
			item.Bytes += file.Bytes
			if file.Month != "" {
				item.Months = append(item.Months, file.Month)
			}
			if item.AsOf == nil || file.AsOf.After(time.Time(*item.AsOf)) {
				asOf := moment(file.AsOf)
				item.AsOf = &asOf
			}
		}
		items = append(items, item)
	}
	return writeData(w, r, items)
}

// listFiles answers with the published files of an export, with signed URLs if they are requested.
func (a *api) listFiles(w http.ResponseWriter, r *http.Request, key warehouse.Key) error {
	export, err := schema.ExportNamed(mux.Vars(r)["dataset"])
	if err != nil {
		return err
	}
	lifetime, err := signedFor(r.URL.RawQuery)
	if err != nil {
		return err
	}
	files, err := a.Store.PublishedFiles(r.Context(), key.Tenant)
	if err != nil {
		return err
	}
	files = slices.DeleteFunc(files, func(f warehouse.PublishedFile) bool { return f.Export != export.Name })
	items := make([]fileItem, len(files))
	for i, f := range files {
		items[i] = fileItem{
			Month: orNull(f.Month), Name: f.Name, Rows: f.Rows, Bytes: f.Bytes, SHA256: f.SHA256,
			MinCreatedAt: moment(f.MinCreatedAt), MaxCreatedAt: moment(f.MaxCreatedAt), AsOf: moment(f.AsOf),
			URL: exportsPath + "/" + f.Export + "/files/" + f.Name,
		}
		if lifetime > 0 {
			until := a.Now().Add(lifetime).Truncate(time.Second)
			expires := moment(until)
			items[i].URL += "?" + a.signed(grant{key.Tenant, f.Export, f.Name, key.ID, until.Unix()}).Encode()
			items[i].ExpiresAt = &expires
		}
	}
	return writeData(w, r, items)
}

// writeData sends a list without pages.
func writeData(w http.ResponseWriter, r *http.Request, items any) error {
	body, err := json.Marshal(map[string]any{"data": items})
	if err != nil {
		return fmt.Errorf("write the list: %w", err)
	}
	return writeJSON(w, r, http.StatusOK, body)
}

// Lifetimes of signed URLs.
const (
	minSigned     = time.Minute
	defaultSigned = time.Hour
	maxSigned     = 7 * 24 * time.Hour
)

// signedFor returns the requested lifetime of signed URLs: expires_in in seconds, or one hour for signed=true. It
// returns 0 if the URLs are not to be signed.
func signedFor(raw string) (time.Duration, error) {
	values, err := url.ParseQuery(raw)
	if err != nil {
		return 0, &problem{status: http.StatusBadRequest, code: "INVALID_FILTER",
			message: "The query is not properly escaped"}
	}
	if text := values.Get("expires_in"); text != "" {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n < int64(minSigned/time.Second) || n > int64(maxSigned/time.Second) {
			return 0, &problem{status: http.StatusBadRequest, code: "INVALID_FILTER",
				message: "expires_in is not a number of seconds from 60 to 604800"}
		}
		return time.Duration(n) * time.Second, nil
	}
	if text := values.Get("signed"); text != "" {
		signed, err := strconv.ParseBool(text)
		if err != nil {
			return 0, &problem{status: http.StatusBadRequest, code: "INVALID_FILTER",
				message: "signed is neither true nor false"}
		}
		if signed {
			return defaultSigned, nil
		}
	}
	return 0, nil
}
